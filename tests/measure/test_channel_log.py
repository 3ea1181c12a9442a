"""The sampler's memory of a channel is bounded, and forgets only what it may."""

from __future__ import annotations

from array import array

from hypothesis import given
from hypothesis import strategies as st

from pytest_tpf.measure.channel_log import ChannelLog


def filled(count: int, capacity: int = 1000) -> ChannelLog:
    log = ChannelLog(capacity)
    for n in range(count):
        log.add(float(n), n + 0.25, 10.0 * n)
    return log


def starts(log: ChannelLog, t0: float, t1: float) -> list[float]:
    return array("d", log.between(t0, t1)[0]).tolist()


@given(st.integers(0, 60), st.floats(-5, 70), st.floats(0, 20))
def test_a_window_comes_with_readings_on_both_sides(count, t0, length):
    found = starts(filled(count), t0, t0 + length)
    every = [float(n) for n in range(count)]
    assert [n for n in every if t0 <= n <= t0 + length] == [n for n in found if t0 <= n <= t0 + length]
    before = [n for n in every if n + 0.25 < t0]
    assert [n for n in found if n in before] == before[-4:]
    assert sum(n > t0 + length for n in found) >= min(2, sum(n > t0 + length for n in every))


@given(st.floats(-5, 70), st.floats(0, 70))
def test_forgetting_leaves_later_windows_as_they_were(forget, later):
    log, whole = filled(60), filled(60)
    log.forget_before(forget)
    assert starts(log, forget + later, 70.0) == starts(whole, forget + later, 70.0)


def test_memory_is_bounded_and_says_what_it_dropped():
    log = filled(5_500, capacity=1000)
    assert len(log) <= 1000
    assert {code for _, code, _ in log.faults} == {"history_dropped"}
    assert starts(log, 5_400.0, 5_450.0)[0] <= 5_400.0
    assert log.faults[-1][0] < starts(log, 0.0, 1e9)[0] + 1


def test_the_period_is_that_of_recent_readings():
    log = ChannelLog()
    assert log.period_and_jitter_s() == (None, None)
    for n in range(200):
        log.add(n * 0.1, n * 0.1 + 0.0004, 1.0)
    period_s, jitter_s = log.period_and_jitter_s()
    assert abs(period_s - 0.1) < 1e-9
    assert jitter_s < 1e-9
    assert log.count_after(19.5) == 5
