"""The boards' state over a window, from looks ten times a second and from counters of time held back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_tpf.measure.conditions import device_states
from pytest_tpf.meters.protocol import Status


def looks(start_s, end_s, domain="gpu:0", **figures):
    """A look every 0.1 s; a callable figure is a function of time."""
    times = [start_s + 0.1 * i for i in range(round((end_s - start_s) / 0.1) + 1)]
    return [Status(domain=domain, t=t, **{name: f(t) if callable(f) else f for name, f in figures.items()}) for t in times]


def test_temperature_and_clocks_at_both_ends_and_in_the_mean():
    (state,) = device_states(
        looks(0, 4, temperature_c=lambda t: 40 + 5 * t, sm_clock_mhz=lambda t: 2000 - 100 * t, memory_clock_mhz=3201.0), [(1.0, 3.0)]
    )
    assert (state.domain, state.source) == ("gpu:0", None)
    assert state.temperature_start_c == pytest.approx(45.0, abs=0.6)
    assert state.temperature_end_c == pytest.approx(55.0, abs=0.6)
    assert (state.sm_clock_start_mhz, state.sm_clock_end_mhz) == pytest.approx((1900.0, 1700.0), abs=11)
    assert state.sm_clock_mean_mhz == pytest.approx(1800.0, abs=6)
    assert state.memory_clock_mean_mhz == 3201.0


def test_time_held_back_is_counted_where_the_board_counts_it():
    """Held back for 50 ms of a second: looking ten times a second would miss it, or see twice as much."""
    held = {"sw_thermal_slowdown": 7.0, "sw_power_cap": 1.0, "hw_power_brake_slowdown": 0.0}
    rows = looks(0, 3, held_back_s=lambda t: {**held, "sw_thermal_slowdown": 7.0 + min(max(t - 1.2, 0.0), 0.05)})
    (state,) = device_states(rows, [(1.0, 2.0)])
    assert state.source == "counter"
    assert state.thermal_fraction == pytest.approx(0.05)
    assert (state.power_brake_fraction, state.power_cap_fraction) == (0.0, 0.0)


def test_a_last_look_before_the_end_does_not_dilute_the_share():
    rows = looks(0, 1.8, held_back_s=lambda t: {"thermal": 0.5 * t})
    (state,) = device_states(rows, [(1.0, 1.87)])
    assert state.thermal_fraction == pytest.approx(0.5)


def test_looks_that_cover_less_than_half_of_the_window_tell_no_share():
    (state,) = device_states(looks(0, 1.0, held_back_s=lambda t: {"thermal": 0.5 * t}, temperature_c=50.0), [(0.9, 1.5)])
    assert state.thermal_fraction is None


def test_without_counters_the_looks_are_counted():
    rows = looks(0, 1.95, clock_reasons=lambda t: ("hw_thermal_slowdown", "gpu_idle") if t < 0.45 else ("sw_power_cap",))
    (state,) = device_states(rows, [(0.0, 1.95)])
    assert state.source == "polled"
    assert state.thermal_fraction == pytest.approx(5 / 20)
    assert state.power_cap_fraction == pytest.approx(15 / 20)
    assert state.power_brake_fraction == 0.0


def test_a_board_that_names_no_reason_and_counts_nothing_has_unknown_shares():
    (state,) = device_states(looks(0, 1, temperature_c=50.0), [(0.2, 0.8)])
    assert (state.thermal_fraction, state.power_brake_fraction, state.power_cap_fraction, state.source) == (None, None, None, None)


def test_a_counter_that_says_more_than_there_was_time_is_not_believed():
    rows = looks(0, 2, held_back_s=lambda t: {"thermal": 1000 * t}, clock_reasons=("gpu_idle",))
    (state,) = device_states(rows, [(0.5, 1.5)])
    assert (state.thermal_fraction, state.source) == (0.0, "polled")


def test_a_counter_that_was_reset_is_not_believed():
    rows = looks(0, 2, held_back_s=lambda t: {"thermal": 10.0 if t < 1 else 0.0}, temperature_c=50.0)
    (state,) = device_states(rows, [(0.5, 1.5)])
    assert state.thermal_fraction is None


def test_each_board_has_its_state_and_a_board_that_says_nothing_has_none():
    rows = looks(0, 1, domain="gpu:1", temperature_c=60.0) + looks(0, 1, domain="gpu:0", temperature_c=50.0) + looks(0, 1, domain="gpu:2")
    states = device_states(rows, [(0.2, 0.8)])
    assert sorted((state.domain, state.temperature_end_c) for state in states) == [("gpu:0", 50.0), ("gpu:1", 60.0)]


def test_no_look_or_no_window_is_no_state():
    assert device_states([], [(0.0, 1.0)]) == ()
    assert device_states(looks(0, 1, temperature_c=50.0), []) == ()


def test_a_window_between_two_looks_takes_those_around_it():
    (state,) = device_states(
        [Status(domain="gpu:0", t=0.0, temperature_c=40.0), Status(domain="gpu:0", t=1.0, temperature_c=47.0)], [(0.4, 0.5)]
    )
    assert (state.temperature_start_c, state.temperature_end_c) == (40.0, 47.0)


@given(st.floats(0.0, 1.0), st.lists(st.tuples(st.floats(0, 9), st.floats(0.01, 1)), min_size=1, max_size=4))
def test_a_steady_share_is_that_share_in_any_union_of_spans(share, spans):
    rows = looks(0, 10.2, held_back_s=lambda t: {"sw_power_cap": 100.0 + share * t})
    (state,) = device_states(rows, [(start, start + length) for start, length in spans])
    assert state.power_cap_fraction == pytest.approx(share, abs=1e-6)
