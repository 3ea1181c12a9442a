"""Power over a window: from energy where it is a mean, from gauges where it is a peak."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_tpf.measure.power import power_stats
from pytest_tpf.meters.protocol import Status
from tests.measure.simulated import constant, gauge_trace, job, square, stepped_trace


def status(t: float, domain: str = "gpu:0", **more) -> Status:
    return Status(domain=domain, t=t, **more)


@given(st.floats(10.0, 700.0), st.floats(0.0, 1.0), st.floats(0.5, 2.0))
def test_constant_power_is_its_own_mean_and_peak(power_w, start, length):
    power = power_stats([stepped_trace(constant(power_w), 0.02)], [], [(start, start + length)]).power
    assert (power.mean_w, power.p99_w) == (pytest.approx(power_w, rel=0.01), pytest.approx(power_w, rel=0.06))
    assert power.peak_w >= power.p99_w
    assert (power.limit_w, power.headroom, power.clock_reasons) == (None, None, {})


def test_a_peak_that_the_counter_smooths_over_is_seen_by_the_gauge():
    counter = stepped_trace(job(100.0, 600.0, 1.52, 1.56), 0.1)
    gauge = gauge_trace(lambda t: 600.0 if 1.52 <= t < 1.56 else 100.0, 0.02, energy=False)
    slopes = power_stats([counter], [], [(1.0, 2.0)]).power
    gauged = power_stats([counter, gauge], [], [(1.0, 2.0)]).power
    assert slopes.peak_w == pytest.approx(300.0, rel=0.05)
    assert gauged.peak_w == pytest.approx(600.0)
    assert gauged.mean_w == slopes.mean_w == pytest.approx(120.0, rel=0.01)


def test_a_gauge_that_averages_over_a_second_tells_no_peak_where_the_counter_does():
    energy_j = job(100.0, 600.0, 1.0, 1.5)
    gauge = gauge_trace(lambda t: energy_j(t) - energy_j(t - 1.0), 0.05, energy=False, averaging_s=1.0)
    power = power_stats([stepped_trace(energy_j, 0.1), gauge], [], [(1.0, 1.5)]).power
    assert (power.mean_w, power.peak_w) == (pytest.approx(600.0, rel=0.02), pytest.approx(600.0, rel=0.02))


def test_no_peak_lies_below_the_mean_where_the_gauges_scale_is_smaller():
    traces = [stepped_trace(constant(300.0), 0.1), gauge_trace(lambda t: 285.0, 0.02, energy=False)]
    power = power_stats(traces, [], [(0.5, 2.5)]).power
    assert (power.peak_w, power.p99_w) == (power.mean_w, 285.0)


def test_the_99th_percentile_is_weighted_by_time():
    gauge = gauge_trace(lambda t: 500.0 if 1.0 <= t < 1.02 else 100.0, 0.01)
    power = power_stats([gauge], [], [(0.0, 3.0)]).power
    assert (power.peak_w, power.p99_w) == (500.0, 100.0)
    assert power_stats([gauge], [], [(0.9, 1.1)]).power.p99_w == 500.0


def test_domains_are_added_instant_by_instant():
    first = gauge_trace(lambda t: 500.0 if t < 1.0 else 100.0, 0.02, domain="gpu:0")
    second = gauge_trace(lambda t: 100.0 if t < 1.0 else 500.0, 0.05, domain="gpu:1")
    power = power_stats([first, second], [], [(0.2, 0.9), (1.2, 1.9)]).power
    assert power.mean_w == pytest.approx(600.0)
    assert power.peak_w == pytest.approx(600.0)  # not 1000: the two peaks were never there together


def test_a_gauge_beside_the_counter_adds_nothing_to_the_mean():
    traces = [stepped_trace(constant(300.0), 0.02), gauge_trace(lambda t: 300.0, 0.02, energy=False)]
    assert power_stats(traces, [], [(0.0, 2.0)]).power.mean_w == pytest.approx(300.0, rel=0.01)


def test_an_unknown_energy_leaves_the_mean_unknown():
    known, short = stepped_trace(constant(300.0), 0.02), stepped_trace(constant(300.0), 0.02, end=0.5, domain="gpu:1")
    assert power_stats([known, short], [], [(0.0, 2.0)]).power.mean_w is None
    assert power_stats([], [], [(0.0, 2.0)]).power.mean_w is None
    assert power_stats([known], [], []).power.mean_w is None


def test_the_limit_and_headroom_are_those_of_the_boards_that_have_one():
    board, host = stepped_trace(constant(350.0), 0.02), stepped_trace(constant(150.0), 0.02, domain="cpu:0")
    rows = [status(0.5, power_limit_w=700.0), status(1.0, power_limit_w=500.0), status(1.5, power_limit_w=700.0)]
    power = power_stats([board, host], rows, [(0.2, 2.0)]).power
    assert power.mean_w == pytest.approx(500.0, rel=0.01)
    assert power.limit_w == 500.0  # the lowest that held in the window
    assert power.headroom == pytest.approx(1 - 350 / 500, abs=0.01)


def test_clock_reasons_are_fractions_of_the_window_of_the_board_that_had_them_longest():
    rows = [
        status(t / 10, f"gpu:{board}", clock_reasons=("sw_power_cap",) if t < 10 * (board + 1) else (), utilization=0.25 * (board + 1))
        for t in range(31)
        for board in (0, 1)
    ]
    stats = power_stats([], rows, [(0.0, 3.0)])
    assert stats.power.clock_reasons == {"sw_power_cap": pytest.approx(2 / 3, abs=0.03)}
    assert stats.utilization == pytest.approx(0.375)
    assert power_stats([], rows, [(2.5, 3.0)]).power.clock_reasons == {}


def test_utilization_counts_only_what_lies_in_the_spans():
    rows = [status(t / 10, utilization=float(1 <= t / 10 < 2)) for t in range(31)]
    assert power_stats([], rows, [(1.0, 1.9)]).utilization == pytest.approx(1.0, abs=0.1)
    assert power_stats([], rows, [(0.0, 0.9), (2.1, 3.0)]).utilization == pytest.approx(0.0, abs=0.1)
    assert power_stats([], [dataclasses.replace(row, utilization=None) for row in rows], [(1.0, 2.0)]).utilization is None


def test_a_swinging_load_peaks_at_its_top():
    power = power_stats([stepped_trace(square(150.0, 300.0, 0.8, 0.0), 0.02)], [], [(0.0, 3.2)]).power
    assert (power.mean_w, power.p99_w) == (pytest.approx(225.0, rel=0.01), pytest.approx(300.0, rel=0.06))
