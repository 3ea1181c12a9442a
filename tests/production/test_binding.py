"""Ceilings and the binding constraint: by hand, and by what must hold for any numbers."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pytest_tpf.production.binding import evaluate, power_evidence
from pytest_tpf.production.ceilings import EXTENSION, ceilings
from pytest_tpf.production.inputs import Figure, ProductionInputs, best_figure
from pytest_tpf.records import Facility, Pue


def exact(value):
    return Figure(value=value, provenance="calibrated")


def unknown(reason):
    return Figure(value=None, reason=reason)


# One accelerator: 300 W at 50 tokens/s, 100 W idle, 700 W limit; memory allows 80 tokens/s, compute 1000.
BASE = ProductionInputs(
    achieved_tokens_per_second=50.0,
    flops_per_token=exact(1e10),
    bytes_per_token=exact(1e10),
    compute=exact(1e13),
    bandwidth=exact(8e11),
    joules_per_token=Figure(value=6.0, provenance="measured", relative_uncertainty=0.02),
    busy_fraction=0.9,
    mean_power_w=300.0,
    idle_power_w=100.0,
    device_mean_power_w=300.0,
    device_p99_power_w=350.0,
    device_limit_w=700.0,
)


def given_inputs(**changes):
    return dataclasses.replace(BASE, **changes)


def verdict(**changes):
    return evaluate(given_inputs(**changes))[1]


def budget(watts, boundary="it", pue=None):
    declared = Pue() if pue is None else Pue(value=pue, source="declared", kind="annual")
    return Facility(power_budget_w=watts, power_boundary=boundary, pue=declared)


# --- ceilings ---------------------------------------------------------------------------------------------------------


def test_the_published_ceilings_and_the_extension():
    production, binding = evaluate(BASE)
    rates = {name: ceiling.tokens_per_second for name, ceiling in production.ceilings.items()}
    # marginal: (700 - 100) W over (300 - 100) W / 50 tokens/s = 4 J/token
    assert rates == {"compute": 1000.0, "memory_bandwidth": 80.0, "power": 150.0, "cooling": None}
    assert production.ceilings["memory_bandwidth"].reason == EXTENSION
    assert production.ceilings["cooling"].reason == "no cooling_capacity_w is declared"
    assert (production.joules_per_token, production.flops_per_token, production.theta, production.utilization) == (6.0, 1e10, 1.0, 0.9)
    assert binding.value == "memory_bandwidth"
    assert binding.attainment == pytest.approx(50 / 80)
    assert binding.margin == pytest.approx(1000 / 80)  # power without evidence doesn't compete


def test_the_fleets_declared_utilization_wins():
    assert evaluate(given_inputs(facility=Facility(fleet_utilization=0.3)))[0].utilization == 0.3


def test_pue_is_applied_once_to_a_facility_budget():
    supply = ceilings(given_inputs(facility=budget(400, "facility", pue=1.6)))["power"]
    assert supply.ceiling.numerator == 400 / 1.6 - 100
    assert supply.ceiling.provenance == "declared budget"


def test_a_budget_above_the_devices_limit_delivers_no_more_than_the_limit():
    rated = ceilings(given_inputs(facility=budget(1e6)))["power"]
    assert (rated.ceiling.numerator, rated.ceiling.provenance, rated.declared) == (600.0, "enforced device limit", False)


def test_the_host_stays_as_it_was_when_only_accelerators_are_limited():
    rated = ceilings(given_inputs(mean_power_w=380.0, idle_power_w=150.0))["power"]
    assert rated.ceiling.numerator == 700 + 80 - 150
    assert ceilings(given_inputs(facility=budget(200, "accelerator")))["power"].ceiling.numerator == 100
    unmetered = ceilings(given_inputs(device_mean_power_w=None, facility=budget(200, "accelerator")))["power"]
    assert "host's power isn't known" in unmetered.ceiling.reason


def test_without_idle_power_a_limit_makes_no_ceiling_but_a_declared_budget_does():
    limited = ceilings(given_inputs(idle_power_w=None))["power"].ceiling
    assert limited.tokens_per_second is None
    assert "idle power is unknown" in limited.reason
    declared = ceilings(given_inputs(idle_power_w=None, facility=budget(240)))["power"].ceiling
    assert declared.tokens_per_second == 240 / 6.0
    assert "plain form" in declared.reason


def test_mean_power_below_idle_is_no_marginal_form():
    assert "isn't above idle" in ceilings(given_inputs(idle_power_w=300.0))["power"].ceiling.reason


def test_idle_power_that_takes_the_whole_budget_leaves_nothing():
    production, binding = evaluate(given_inputs(facility=budget(90)))
    assert production.ceilings["power"].tokens_per_second == 0
    assert "alone takes" in production.ceilings["power"].reason
    assert (binding.value, binding.attainment, binding.margin) == ("power", None, None)


def test_cooling_is_declared_capacity_in_marginal_form_and_knows_no_pue():
    facility = dataclasses.replace(budget(1e6, "facility", pue=2.0), cooling_capacity_w=260.0)
    production, binding = evaluate(given_inputs(facility=facility))
    assert production.ceilings["cooling"].tokens_per_second == pytest.approx(160 / 4)
    assert binding.value == "cooling"


def test_a_marginal_form_near_idle_is_uncertain():
    near, far = ceilings(given_inputs(idle_power_w=290.0))["power"], ceilings(BASE)["power"]
    assert near.relative_uncertainty == pytest.approx(0.02 * 30)
    assert far.relative_uncertainty == pytest.approx(0.02 * 1.5)


@given(st.floats(1, 1e4), st.floats(1e-3, 1e3))
def test_a_runs_own_power_over_its_own_energy_is_its_own_rate(mean, rate):
    """The identity that makes the naive power ceiling worthless: in either form the run's own power gives its own rate."""
    own = given_inputs(
        achieved_tokens_per_second=rate,
        joules_per_token=exact(mean / rate),
        mean_power_w=mean,
        device_mean_power_w=mean,
        facility=budget(mean),
        idle_power_w=mean / 3,
        device_limit_w=None,
    )
    for inputs in (own, dataclasses.replace(own, idle_power_w=None)):
        assert ceilings(inputs)["power"].ceiling.tokens_per_second == pytest.approx(rate)


def test_a_peak_comes_from_the_best_source():
    assert best_figure(1.0, 2.0, 3.0).provenance == "calibrated"
    assert best_figure(None, 2.0, 3.0).provenance == "configured"
    sheet = best_figure(None, None, 3.0)
    assert (sheet.value, sheet.provenance) == (3.0, "datasheet")
    assert sheet.relative_uncertainty > best_figure(1.0, None, None).relative_uncertainty
    assert best_figure(None, None, None, "no such board") == Figure(value=None, reason="no such board")


# --- evidence ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", ["sw_power_cap", "hw_power_brake_slowdown"])
def test_power_cap_clocks_for_most_of_the_busy_time_are_power_whatever_the_ceilings(reason):
    binding = verdict(clock_reasons={reason: 0.6})
    assert binding.value == "power"
    assert "60%" in binding.reason


def test_half_of_the_busy_time_is_enough():
    assert verdict(clock_reasons={"sw_power_cap": 0.3}, busy_fraction=0.5).value == "power"
    assert verdict(clock_reasons={"sw_power_cap": 0.3}, busy_fraction=0.7).value == "memory_bandwidth"
    assert verdict(clock_reasons={"sw_power_cap": 0.3}, busy_fraction=None).value == "memory_bandwidth"


@pytest.mark.parametrize("reason", ["sw_thermal_slowdown", "hw_thermal_slowdown"])
def test_thermal_clocks_are_cooling(reason):
    assert verdict(clock_reasons={reason: 0.2}).value == "cooling"


def test_of_heat_and_power_the_more_frequent_is_named():
    assert verdict(clock_reasons={"sw_thermal_slowdown": 0.2, "sw_power_cap": 0.7}).value == "power"
    assert verdict(clock_reasons={"sw_thermal_slowdown": 0.8, "sw_power_cap": 0.7}).value == "cooling"


def test_other_clock_reasons_are_no_evidence():
    assert verdict(clock_reasons={"gpu_idle": 1.0, "applications_clocks_setting": 1.0, "hw_slowdown": 1.0}).value == "memory_bandwidth"


def test_a_cap_that_is_merely_set_is_no_evidence():
    """A limit just above the draw makes power the lowest ceiling on paper, yet nothing says that it ever held."""
    close = {"device_limit_w": 310.0, "device_p99_power_w": 300.0}
    assert ceilings(given_inputs(**close))["power"].ceiling.tokens_per_second < 80
    assert verdict(**close).value == "memory_bandwidth"
    assert verdict(**{**close, "device_p99_power_w": 301.0}).value == "power"


def test_power_touched_for_an_instant_does_not_bind():
    assert verdict(clock_reasons={"sw_power_cap": 0.01}).value == "memory_bandwidth"
    seen = verdict(clock_reasons={"sw_power_cap": 0.2})
    assert seen.value == "memory_bandwidth"
    assert "more power would not help first" in seen.reason


def test_evidence_stands_alone_where_no_power_ceiling_can_be_computed():
    assert verdict(idle_power_w=None, device_p99_power_w=690.0).value == "power"
    assert verdict(idle_power_w=None).value == "memory_bandwidth"


def test_a_declared_budget_that_is_the_lowest_ceiling_is_evidence():
    binding = verdict(facility=budget(280))
    assert binding.value == "power"
    assert "declared budget" in binding.reason
    assert verdict(facility=budget(600)).value == "memory_bandwidth"


# --- operations and undetermined --------------------------------------------------------------------------------------


def test_far_below_every_ceiling_is_operations_with_the_busy_fraction():
    binding = verdict(achieved_tokens_per_second=8.0, busy_fraction=0.35)
    assert binding.value == "operations"
    assert binding.attainment == pytest.approx(0.1)
    assert "35%" in binding.reason
    assert "unknown" in verdict(achieved_tokens_per_second=8.0, busy_fraction=None).reason
    assert verdict(achieved_tokens_per_second=8.0, operations_threshold=0.05).value == "memory_bandwidth"


@pytest.mark.parametrize("rate", [None, 0.0])
def test_without_a_rate_nothing_binds(rate):
    binding = verdict(achieved_tokens_per_second=rate)
    assert (binding.value, binding.margin, binding.attainment) == ("undetermined", None, None)
    assert binding.reason


@pytest.mark.parametrize("name", ["flops_per_token", "bytes_per_token", "compute", "bandwidth"])
def test_a_missing_input_is_undetermined_with_its_reason(name):
    binding = verdict(**{name: unknown("model_type 'strange' isn't known")})
    assert binding.value == "undetermined"
    assert "'strange'" in binding.reason


def test_a_ceiling_that_is_reached_binds_though_another_is_unknown():
    binding = verdict(bytes_per_token=unknown("no dtype"), facility=budget(280))
    assert binding.value == "power"
    assert binding.attainment > 1


def test_two_ceilings_within_their_uncertainty_are_undetermined():
    near = {"bandwidth": Figure(value=8e11, provenance="datasheet", relative_uncertainty=0.3)}
    binding = verdict(**near, compute=exact(9e11))
    assert binding.value == "undetermined"
    assert "memory_bandwidth and compute" in binding.reason
    assert verdict(**near, compute=exact(2e12)).value == "memory_bandwidth"


def test_more_than_physics_allows_is_called_a_wrong_input():
    assert "is wrong" in verdict(achieved_tokens_per_second=100.0).reason
    assert "is wrong" not in verdict(facility=budget(280)).reason


# --- what must hold for any numbers -----------------------------------------------------------------------------------

positive = st.floats(1e-3, 1e3)
fractions = st.floats(0, 1)
reasons = st.dictionaries(st.sampled_from(["sw_power_cap", "sw_thermal_slowdown", "gpu_idle", "hw_slowdown"]), fractions)
maybe = st.none() | st.floats(1, 1000)
figures = st.builds(exact, positive) | st.just(unknown("unknown"))
facilities = st.builds(
    Facility,
    power_budget_w=maybe,
    power_boundary=st.sampled_from([None, "facility", "it", "accelerator"]),
    cooling_capacity_w=maybe,
    pue=st.just(Pue()) | st.builds(Pue, value=st.floats(1, 3), source=st.just("declared"), kind=st.just("annual")),
)
anything = st.builds(
    ProductionInputs,
    achieved_tokens_per_second=st.none() | positive,
    flops_per_token=figures,
    bytes_per_token=figures,
    compute=figures,
    bandwidth=figures,
    joules_per_token=figures,
    facility=facilities,
    busy_fraction=st.none() | fractions,
    mean_power_w=maybe,
    idle_power_w=maybe,
    device_mean_power_w=maybe,
    device_p99_power_w=maybe,
    device_limit_w=maybe,
    clock_reasons=reasons,
    theta=st.floats(0.1, 10),
)


@given(anything)
def test_every_answer_is_one_readable_line_with_possible_numbers(inputs):
    production, binding = evaluate(inputs)
    assert binding.reason.strip()
    assert "\n" not in binding.reason
    assert binding.margin is None or binding.margin >= 1
    assert binding.attainment is None or binding.attainment > 0
    for ceiling in production.ceilings.values():
        assert (ceiling.tokens_per_second is None and ceiling.reason) or (ceiling.tokens_per_second >= 0 and ceiling.provenance)


@given(anything)
def test_power_is_never_named_without_evidence(inputs):
    quiet = dataclasses.replace(
        inputs,
        clock_reasons={name: share for name, share in inputs.clock_reasons.items() if name != "sw_power_cap"},
        device_p99_power_w=None if inputs.device_limit_w is None else 0.9 * inputs.device_limit_w,
        facility=dataclasses.replace(inputs.facility, power_budget_w=None),
    )
    assert power_evidence(quiet) is None
    assert evaluate(quiet)[1].value != "power"


@given(anything)
def test_cooling_is_never_named_without_heat_or_a_declared_capacity(inputs):
    cool = dataclasses.replace(
        inputs,
        clock_reasons={name: share for name, share in inputs.clock_reasons.items() if "thermal" not in name},
        facility=dataclasses.replace(inputs.facility, cooling_capacity_w=None),
    )
    assert evaluate(cool)[1].value != "cooling"


@given(positive, positive, positive, positive)
def test_power_binds_if_and_only_if_joules_per_flop_exceed_the_sites_watts_per_flops(e_tok, c_tok, power, compute):
    theta = 0.9
    left, right = e_tok / c_tok, theta * power / compute
    assume(abs(left / right - 1) > 1e-6)
    inputs = given_inputs(
        joules_per_token=exact(e_tok),
        flops_per_token=exact(c_tok),
        compute=exact(compute),
        bandwidth=exact(1e30),
        facility=budget(power),
        idle_power_w=None,
        device_limit_w=None,
        theta=theta,
    )
    inputs = dataclasses.replace(inputs, achieved_tokens_per_second=min(compute / c_tok, theta * power / e_tok) / 2)
    assert evaluate(inputs)[1].value == ("power" if left > right else "compute")


@given(anything, st.floats(0.01, 100))
def test_a_faster_clock_changes_rates_and_no_verdict(inputs, factor):
    """Seconds measured in another unit: every rate and every power scales, energies per token and shares don't."""

    def scaled(value):
        return None if value is None else value * factor

    def scaled_figure(figure):
        return dataclasses.replace(figure, value=scaled(figure.value))

    site = inputs.facility
    other = dataclasses.replace(
        inputs,
        achieved_tokens_per_second=scaled(inputs.achieved_tokens_per_second),
        compute=scaled_figure(inputs.compute),
        bandwidth=scaled_figure(inputs.bandwidth),
        mean_power_w=scaled(inputs.mean_power_w),
        idle_power_w=scaled(inputs.idle_power_w),
        device_mean_power_w=scaled(inputs.device_mean_power_w),
        device_p99_power_w=scaled(inputs.device_p99_power_w),
        device_limit_w=scaled(inputs.device_limit_w),
        facility=dataclasses.replace(site, power_budget_w=scaled(site.power_budget_w), cooling_capacity_w=scaled(site.cooling_capacity_w)),
    )
    one, two = evaluate(inputs)[1], evaluate(other)[1]
    edge = one.attainment is not None and (abs(one.attainment - 0.3) < 1e-6 or abs(one.attainment - 1) < 1e-6)
    assume(not edge)
    assume(one.margin is None or one.margin > 1 + 1e-6)
    assert one.value == two.value
    assert (one.attainment is None) == (two.attainment is None)
    if one.attainment is not None:
        assert two.attainment == pytest.approx(one.attainment)


@given(st.floats(120, 2000), st.floats(1, 5))
def test_a_smaller_budget_never_takes_power_out_of_its_place(watts, shrink):
    if verdict(facility=budget(watts)).value == "power":
        assert verdict(facility=budget(max(101.0, watts / shrink))).value == "power"


@given(st.floats(1e11, 1e15), st.floats(1, 100))
def test_more_compute_never_makes_compute_bind(flops, more):
    if verdict(compute=exact(flops)).value != "compute":
        assert verdict(compute=exact(flops * more)).value != "compute"


@given(st.floats(1, 80), st.floats(1, 80))
def test_a_higher_rate_never_turns_a_constraint_into_operations(slow, fast):
    slow, fast = sorted((slow, fast))
    if verdict(achieved_tokens_per_second=slow).value != "operations":
        assert verdict(achieved_tokens_per_second=fast).value != "operations"
