"""The energy of a window from the edges of a counter, or from the readings of a gauge."""

from __future__ import annotations

import dataclasses
import itertools
import math
import random
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_tpf.measure.energy import energy_of_spans, shortest_window_s
from pytest_tpf.measure.trace import Edge, Fault, PowerSample, Trace, merged_spans
from tests.measure.simulated import channel, constant, gauge_trace, job, square, stepped_trace

instants = st.floats(min_value=0.0, max_value=3.5, allow_nan=False)
periods = st.sampled_from((0.02, 0.1))
phases = st.floats(min_value=0.0, max_value=0.1)
waves = st.builds(square, st.floats(0.0, 500.0), st.floats(0.0, 500.0), st.floats(0.01, 2.0), st.floats(0.0, 1.0))


def a_trace(period_s: float = 0.1, power_w: float = 300.0, **changes) -> Trace:
    return dataclasses.replace(stepped_trace(constant(power_w), period_s), **changes)


@given(st.floats(1.0, 700.0), periods, phases, instants, st.floats(0.25, 0.5))
def test_constant_power_is_exact_within_its_own_uncertainty(power_w, period_s, phase_s, start, length):
    trace = stepped_trace(constant(power_w), period_s, phase_s)
    energy = energy_of_spans(trace, [(start, start + length)])
    assert energy.valid
    assert energy.joules == pytest.approx(power_w * length, rel=0.005, abs=0.002)
    assert abs(energy.joules - power_w * length) <= 4 * energy.uncertainty_j


@given(waves, periods, phases, st.lists(instants, min_size=3, max_size=3, unique=True))
def test_energies_of_adjoining_windows_add_up(energy_j, period_s, phase_s, cuts):
    trace = stepped_trace(energy_j, period_s, phase_s)
    a, b, c = sorted(cuts)
    parts = [energy_of_spans(trace, [span]).joules for span in ((a, b), (b, c))]
    whole = energy_of_spans(trace, [(a, c)]).joules
    if whole is not None and None not in parts:
        assert sum(parts) == pytest.approx(whole, abs=1e-6)


@given(waves, periods, st.lists(instants, min_size=3, max_size=3, unique=True))
def test_a_shared_end_adds_no_uncertainty(energy_j, period_s, cuts):
    trace = stepped_trace(energy_j, period_s)
    a, b, c = sorted(cuts)
    assert energy_of_spans(trace, [(a, b), (b, c)]) == energy_of_spans(trace, [(a, c)]) == energy_of_spans(trace, [(b, c), (a, c)])


@given(waves, periods, phases, st.lists(st.tuples(instants, instants), min_size=1, max_size=6))
def test_energy_is_never_negative_and_never_more_than_the_whole(energy_j, period_s, phase_s, ends):
    trace = stepped_trace(energy_j, period_s, phase_s)
    spans = [(min(pair), max(pair)) for pair in ends]
    energy = energy_of_spans(trace, spans)
    if energy.joules is not None:
        whole = trace.edges[-1].joules - trace.edges[0].joules
        assert -1e-9 <= energy.joules <= whole + 1e-9
        assert energy.uncertainty_j >= 0
        assert energy.gain_uncertainty_j == pytest.approx(0.05 * energy.joules)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1 << 30), periods, st.sampled_from(("job", "square", "constant")))
def test_uncertainty_covers_the_truth(seed, period_s, kind):
    rng, covered = random.Random(seed), []
    for _ in range(60):
        start, length = rng.uniform(0, 1), rng.uniform(0.25, 2.0)
        energy_j = {
            "job": job(80.0, 450.0, start, start + length),
            "square": square(150.0, 300.0, rng.uniform(3, 9) * period_s, rng.random()),
            "constant": constant(rng.uniform(1, 700)),
        }[kind]
        trace = stepped_trace(energy_j, period_s, rng.random() * period_s, seed=rng.randrange(1 << 30))
        energy = energy_of_spans(trace, [(start, start + length)])
        covered.append(abs(energy.joules - (energy_j(start + length) - energy_j(start))) <= energy.half_width_j)
    assert statistics.mean(covered) >= 0.85  # 0.95 in the mean; 60 draws scatter


@pytest.mark.parametrize("period_s", [0.02, 0.1])
def test_a_job_that_starts_and_stops_inside_a_refresh_keeps_all_its_energy(period_s):
    rng = random.Random(3)
    errors = []
    for _ in range(200):
        start = rng.uniform(0.5, 1.5)
        energy_j = job(100.0, 400.0, start, start + 0.25)
        trace = stepped_trace(energy_j, period_s, rng.random() * period_s, seed=rng.randrange(1 << 30))
        errors.append(energy_of_spans(trace, [(start, start + 0.25)]).joules / 100.0 - 1.0)
    assert abs(statistics.mean(errors)) < 0.002  # a straight line between edges would miss 2 % (20 ms) and 10 % (100 ms)
    assert max(map(abs, errors)) < 0.01


@pytest.mark.parametrize(
    ("span", "reason"), [((-2.0, 1.0), "not_bracketed"), ((1.0, 9.0), "not_bracketed"), ((1.0, 1.0002), "window_too_short")]
)
def test_a_window_that_cant_be_known_has_no_energy_but_a_reason(span, reason):
    trace = stepped_trace(square(100.0, 500.0, 0.25, 0.0), 0.1)
    energy = energy_of_spans(trace, [span])
    assert (energy.joules, energy.uncertainty_j, energy.valid, energy.reasons) == (None, None, False, (reason,))


def test_a_window_inside_one_refresh_of_a_changing_load_is_too_short():
    trace = stepped_trace(job(50.0, 500.0, 1.03, 2.0), 0.1)
    assert energy_of_spans(trace, [(1.02, 1.05)]).reasons == ("window_too_short",)


def test_a_counter_that_goes_down_gives_no_energy():
    trace = a_trace()
    edges = tuple(dataclasses.replace(edge, joules=edge.joules + 1e4 * (edge.t < 1.0)) for edge in trace.edges)
    reset = dataclasses.replace(trace, edges=edges)
    assert energy_of_spans(reset, [(0.5, 1.5)]).reasons == ("counter_reset",)
    assert energy_of_spans(reset, [(1.5, 2.5)]).valid
    assert energy_of_spans(reset, [(0.1, 0.8)]).valid


def test_a_counter_that_was_set_back_before_the_window_bends_nothing_inside_it():
    trace = stepped_trace(lambda t: 300.0 * t + 100.0 * max(0.0, t - 1.15), 0.1)
    edges = tuple(dataclasses.replace(edge, joules=edge.joules + 1e5 * (edge.t < 0.99)) for edge in trace.edges)
    energy = energy_of_spans(dataclasses.replace(trace, edges=edges), [(1.05, 1.6)])
    assert energy.joules == pytest.approx(300.0 * 0.55 + 100.0 * 0.45, rel=0.02)
    assert energy.half_width_j < 0.05 * energy.joules


def test_a_lost_board_is_named_wherever_the_window_lies_after_the_loss():
    trace = a_trace()
    lost = dataclasses.replace(
        trace, edges=tuple(e for e in trace.edges if e.t < 1.0), faults=(Fault(t=1.05, code="device_lost", text="gone"),)
    )
    assert energy_of_spans(lost, [(0.5, 1.5)]).reasons == ("not_bracketed", "device_lost")
    assert energy_of_spans(lost, [(2.0, 3.0)]).reasons == ("not_bracketed", "device_lost")
    assert energy_of_spans(lost, [(0.2, 0.8)]).valid


def test_faults_outside_the_window_are_no_reason():
    trace = a_trace(faults=(Fault(t=0.2, code="read_failed", text=""), Fault(t=3.0, code="read_failed", text="")))
    assert energy_of_spans(trace, [(1.0, 2.0)]).valid
    assert energy_of_spans(trace, [(2.5, 3.2)]).reasons == ("read_failed",)


def test_an_end_in_a_long_pause_of_sampling_is_a_gap_only_where_it_matters():
    trace = stepped_trace(job(50.0, 500.0, 1.0, 2.0), 0.02)
    gap = dataclasses.replace(trace, edges=tuple(e for e in trace.edges if not 0.7 < e.t < 1.3))
    assert energy_of_spans(gap, [(1.0, 1.1)]).reasons == ("sampling_gap",)
    assert energy_of_spans(gap, [(0.5, 2.5)]).valid  # a counter loses nothing in a pause


def test_the_empty_window_and_the_window_run_backwards():
    assert energy_of_spans(a_trace(), [(1.0, 1.0)]).reasons == ("no_window",)
    with pytest.raises(ValueError, match="before it starts"):
        energy_of_spans(a_trace(), [(2.0, 1.0)])


@given(st.lists(st.tuples(instants, instants), max_size=8))
def test_merged_spans_cover_the_same_instants_once(ends):
    spans = [(min(pair), max(pair)) for pair in ends]
    merged = merged_spans(spans)
    assert all(a[1] < b[0] for a, b in itertools.pairwise(merged))
    for t in (t + 1e-9 for span in spans for t in span):
        assert any(a <= t < b for a, b in spans) == any(a <= t < b for a, b in merged)


@given(st.floats(1.0, 700.0), st.floats(0.005, 0.2), instants, st.floats(0.3, 0.5))
def test_constant_power_through_a_gauge_is_exact(power_w, every_s, start, length):
    energy = energy_of_spans(gauge_trace(lambda t: power_w, every_s, end=4.5), [(start, start + length)])
    assert energy.joules == pytest.approx(power_w * length, rel=1e-9)


@given(instants, instants, instants)
def test_gauge_energies_of_adjoining_windows_add_up(first, second, third):
    trace = gauge_trace(lambda t: 200 + 100 * (t % 0.7 < 0.3), 0.02)
    a, b, c = sorted((first, second, third))
    parts = [energy_of_spans(trace, [span]).joules for span in ((a, b), (b, c)) if span[1] > span[0]]
    whole = energy_of_spans(trace, [(a, c)]).joules if c > a else None
    if whole is not None and None not in parts:
        assert sum(parts) == pytest.approx(whole, abs=1e-6)


def test_a_gauge_that_averages_says_how_much_that_may_hide():
    step = gauge_trace(lambda t: 100.0 if t < 1.0 else 500.0, 0.02)
    averaging = dataclasses.replace(step, channel=dataclasses.replace(step.channel, averaging_s=1.0))
    plain, averaged = (energy_of_spans(trace, [(1.0, 3.0)]) for trace in (step, averaging))
    assert averaged.uncertainty_j > 50.0 > 25.0 > plain.uncertainty_j
    assert energy_of_spans(averaging, [(1.0, 1.5)]).reasons == ("window_too_short",)


def test_a_gauge_loses_what_happens_in_a_gap():
    trace = gauge_trace(lambda t: 300.0, 0.02)
    gap = dataclasses.replace(trace, powers=tuple(p for p in trace.powers if not 1.0 < p.t < 1.7))
    assert energy_of_spans(gap, [(0.5, 2.5)]).reasons == ("sampling_gap",)
    assert energy_of_spans(gap, [(1.8, 2.5)]).valid
    assert energy_of_spans(gap, [(3.0, 9.0)]).reasons == ("not_bracketed",)


def test_an_idle_counter_that_is_read_as_it_goes_used_nothing():
    edges = tuple(Edge(t_lo=t / 10, t_hi=t / 10 + 1e-4, joules=5.0) for t in range(30))
    trace = Trace(channel=channel(stepped=False), edges=edges)
    assert energy_of_spans(trace, [(0.5, 2.0)]).joules == 0.0


def test_the_shortest_window_grows_with_the_refresh_and_keeps_its_promise():
    fast, slow = (shortest_window_s(a_trace(period_s), 0.01) for period_s in (0.02, 0.1))
    assert 0.3 < fast < 0.7
    assert shortest_window_s(dataclasses.replace(a_trace(0.1), swing=0.0), 0.01) < slow
    assert 1.5 < slow < 3.0
    assert shortest_window_s(a_trace(0.1), 0.02) == pytest.approx(slow / 2)
    assert shortest_window_s(dataclasses.replace(a_trace(), period_s=None), 0.01) is None
    rng = random.Random(5)
    relative = []
    for _ in range(100):
        start = rng.uniform(0.1, 0.5)
        trace = stepped_trace(job(0.0, 400.0, start, start + slow), 0.1, rng.random() * 0.1)
        relative.append(energy_of_spans(trace, [(start, start + slow)]).half_width_j / (400.0 * slow))
    assert statistics.fmean(u * u for u in relative) ** 0.5 == pytest.approx(0.01, rel=0.25)
    with pytest.raises(ValueError, match="positive"):
        shortest_window_s(a_trace(), 0.0)


def test_readings_that_share_an_instant_do_no_harm():
    powers = tuple(PowerSample(t=t, watts=100.0) for t in (-2.0, -1.0, 0.0, 1.0, 1.0, 2.0, 3.0, 4.0))
    trace = Trace(channel=channel(stepped=False, quantity="power_w", poll_s=1.0), powers=powers)
    assert energy_of_spans(trace, [(0.5, 1.5)]).joules == pytest.approx(100.0)


def test_a_boards_scale_cancels_between_two_runs_on_it_and_not_between_two_boards():
    rng = random.Random(8)
    same, other, absolute = [], [], []
    for _ in range(300):
        power_w, gains = rng.uniform(100, 500), [1 + rng.gauss(0, 0.05 / 1.96) for _ in range(2)]
        first, again, elsewhere = (_seen(power_w, gain, rng) for gain in (gains[0], gains[0], gains[1]))
        same.append(_compatible(first, again, 0.0))
        other.append(_compatible(first, elsewhere, 0.0))
        absolute.append(_compatible(first, elsewhere, first.gain_uncertainty_j))
    assert statistics.fmean(same) >= 0.93
    assert statistics.fmean(other) < 0.5
    assert statistics.fmean(absolute) >= 0.93


def _seen(power_w, gain, rng):
    """One second of a swinging load, through a counter of that gain, at a random phase."""
    energy_j = square(power_w, 1.5 * power_w, 0.25, rng.random())
    trace = stepped_trace(lambda t: gain * energy_j(t), 0.1, rng.random() * 0.1, seed=rng.randrange(99))
    channel_ = dataclasses.replace(trace.channel, gain=0.05 / 1.96)
    return energy_of_spans(dataclasses.replace(trace, channel=channel_, swing=0.02), [(0.5, 1.5)])


def _compatible(one, two, gain_uncertainty_j):
    """Whether two energies agree within the 95 % interval of their difference."""
    return abs(one.joules - two.joules) <= math.hypot(one.half_width_j, two.half_width_j, 1.96 * math.sqrt(2) * gain_uncertainty_j)


def spans_of_work(length_s: float, pause_s: float, count: int, start: float = 0.5) -> list[tuple[float, float]]:
    return [(start + n * (length_s + pause_s), start + n * (length_s + pause_s) + length_s) for n in range(count)]


def works_in(spans, idle_w: float, load_w: float):
    return lambda t: idle_w * t + (load_w - idle_w) * sum(max(0.0, min(t, end) - start) for start, end in spans)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 1 << 30),
    st.floats(0.02, 0.6),
    st.floats(0.002, 0.4),
    st.integers(1, 12),
    st.floats(0.0, 300.0),
    st.sampled_from((None, 0.015)),
)
def test_load_that_comes_and_goes_with_the_spans_lies_within_the_interval_or_is_refused(seed, length_s, pause_s, count, idle_w, swing):
    """Short generations with pauses between them: the counter shows neither power, and spreads the one over the other."""
    rng, spans = random.Random(seed), spans_of_work(length_s, pause_s, count)
    trace = stepped_trace(works_in(spans, idle_w, 600.0), 0.1, rng.random() * 0.1, end=spans[-1][1] + 2.0, seed=seed)
    energy, true_j = energy_of_spans(dataclasses.replace(trace, swing=swing), spans), 600.0 * length_s * count
    if energy.joules is not None:
        # the interval is of 95 %: one case in twenty may lie outside, but none far
        assert abs(energy.joules - true_j) <= max(1.5 * energy.half_width_j, 0.02 * true_j)


def test_short_spans_of_a_steady_load_are_known_although_no_refresh_lies_wholly_inside():
    spans = spans_of_work(0.09, 0.01, 10)
    energy = energy_of_spans(dataclasses.replace(a_trace(), swing=0.015), spans)
    assert energy.joules == pytest.approx(300.0 * 0.9, rel=0.01)
    assert energy.half_width_j < 0.15 * energy.joules  # for all that the counter shows, the pauses may have been without power


def test_pauses_between_rounds_cost_nothing_where_the_counter_shows_the_same_power_throughout():
    energy = energy_of_spans(dataclasses.replace(a_trace(), swing=0.015), spans_of_work(0.5, 0.02, 5))
    assert energy.half_width_j < 0.005 * energy.joules


@pytest.mark.parametrize("averaging_s", [1.0, 0.1, 0.025])
@pytest.mark.parametrize(("length_s", "pause_s"), [(0.5, 0.5), (0.2, 0.8), (2.0, 0.5), (0.3, 0.05), (1.5, 1.5), (0.1, 0.02)])
def test_load_in_step_with_the_spans_lies_within_a_gauges_interval_or_is_refused(averaging_s, length_s, pause_s):
    spans = spans_of_work(length_s, pause_s, int(12 / (length_s + pause_s)), start=1.5)
    energy_j = works_in(spans, 100.0, 600.0)

    def shown_w(t):
        refreshed = math.floor((t - 0.037) / 0.1) * 0.1 + 0.037
        return (energy_j(refreshed) - energy_j(refreshed - averaging_s)) / averaging_s

    energy = energy_of_spans(gauge_trace(shown_w, 0.02, end=16.0, averaging_s=averaging_s), spans)
    if energy.joules is not None:
        assert abs(energy.joules - 600.0 * length_s * len(spans)) <= energy.half_width_j


def test_short_pauses_of_a_steady_load_cost_a_gauge_nothing():
    trace = gauge_trace(lambda t: 300.0, 0.1, end=16.0, averaging_s=1.0)
    energy = energy_of_spans(trace, spans_of_work(2.5, 0.05, 4, start=1.5))
    assert energy.joules == pytest.approx(3000.0, rel=1e-6)
    assert energy.half_width_j < 0.012 * energy.joules  # the unseen swing; the pauses' own energy would double it
