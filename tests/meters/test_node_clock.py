import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_tpf.meters._node_clock import Look, NodeClock, quickest

TIMES = st.floats(0.0, 1e5)
SHORT = st.floats(0.0, 0.5)


@given(TIMES, st.floats(-1e6, 1e6), st.lists(st.tuples(SHORT, SHORT), min_size=1, max_size=8))
def test_whatever_the_way_there_and_back_takes_the_offset_lies_within_the_half_width(start, ahead_s, ways):
    trips = [(start, start + there + ahead_s, start + there + back) for there, back in ways]
    look = quickest(trips)
    assert abs(look.ahead_s - ahead_s) <= look.half_width_s + 1e-9
    assert look.half_width_s == pytest.approx(min(there + back for there, back in ways) / 2, abs=1e-9)


@given(
    st.floats(-1e4, 1e4),
    st.floats(-500e-6, 500e-6),
    st.lists(st.tuples(st.floats(0.1, 100.0), st.floats(0.0, 0.01), st.floats(-1.0, 1.0)), min_size=2, max_size=20),
    st.data(),
)
def test_a_clock_that_drifts_steadily_is_within_what_the_looks_say(ahead_s, drift, looks, data):
    clock, times, t = NodeClock(), [], 0.0
    for pause_s, half_width_s, off in looks:
        t += pause_s
        times.append(t)
        clock.add(Look(t=t, ahead_s=ahead_s + drift * t + off * half_width_s, half_width_s=half_width_s))
    window = sorted(data.draw(st.tuples(*[st.floats(times[0], times[-1])] * 2)))
    known = clock.during(*window)
    for instant in window:
        assert abs(ahead_s + drift * instant - known.ahead_s) <= known.half_width_s + 1e-9


def test_only_looks_around_the_window_count():
    clock = NodeClock()
    for t, ahead_s in ((0.0, 9.0), (10.0, 1.0), (20.0, 1.002), (30.0, -9.0)):
        clock.add(Look(t=t, ahead_s=ahead_s, half_width_s=0.001))
    known = clock.during(12.0, 15.0)
    assert known.ahead_s == pytest.approx(1.001)
    assert known.half_width_s == pytest.approx(0.002)


def test_outside_all_looks_the_nearest_is_taken():
    clock = NodeClock()
    clock.add(Look(t=10.0, ahead_s=1.0, half_width_s=0.1))
    clock.add(Look(t=20.0, ahead_s=2.0, half_width_s=0.1))
    assert clock.during(1.0, 2.0).ahead_s == 1.0
    assert clock.during(30.0, 40.0).ahead_s == 2.0


def test_nobody_has_looked():
    with pytest.raises(ValueError, match="nobody"):
        NodeClock().during(0.0, 1.0)
