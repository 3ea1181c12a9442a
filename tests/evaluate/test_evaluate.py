"""From an observation to a record: every figure against a power and tokens that are known."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_tpf.codec import as_dict, from_dict
from pytest_tpf.evaluate import evaluate
from pytest_tpf.markers import Marker
from pytest_tpf.measure.trace import Fault
from pytest_tpf.meters.protocol import Status
from pytest_tpf.observation import Counts, Quality
from pytest_tpf.records import Facility, Pue, TestRecord
from pytest_tpf.report.build import build_report
from pytest_tpf.report.environment import describe_environment
from pytest_tpf.report.validate import validate
from tests.evaluate.runs import IDENTITY, WATTS, context, generation, observation, one_round, trace

ANNUAL = Facility(pue=Pue(value=1.5, source="declared", kind="annual", category="PUE2"))


def record(seen, marker=Marker(), ctx=None) -> TestRecord:  # noqa: B008
    return evaluate(seen, IDENTITY, marker, ctx or context(), {})


def test_a_drawn_window_counts_from_start_to_end():
    found = record(observation(one_round(0, 10, generation(2, 4, (10,)))))
    assert found.energy.it_j == pytest.approx(10 * WATTS)
    assert found.joules_per_token == pytest.approx(WATTS)
    assert found.tokens_per_second == pytest.approx(1.0)
    assert found.service.busy_s == pytest.approx(2.0)
    assert found.energy.net_j == pytest.approx(10 * (WATTS - 20.0))


def test_a_marker_counts_the_union_of_generating_spans():
    seen = observation(one_round(0, 10, generation(1, 3, (5,)), generation(2, 4, (5,)), generation(8, 9, (5,))), drawn=False)
    found = record(seen)
    assert found.service.duration_s == pytest.approx(4.0)
    assert found.energy.it_j == pytest.approx(4 * WATTS)
    assert found.energy.call_j == pytest.approx(10 * WATTS)
    utilization = found.mandated.utilization_adjusted_tokens_per_second
    assert utilization.utilization == pytest.approx(0.4)
    assert utilization.busy_tokens_per_second == pytest.approx(15 / 4)
    assert utilization.value == pytest.approx(15 / 10)


def test_prefill_and_decode_split_at_the_first_token():
    found = record(observation(one_round(0, 10, generation(2, 6, first_s=3))))
    assert found.energy.prefill_j == pytest.approx(1 * WATTS)
    assert found.energy.decode_j == pytest.approx(3 * WATTS)


def test_a_split_that_is_known_has_no_reason():
    assert record(observation(one_round(0, 10, generation(2, 6, first_s=3), generation(6, 9, first_s=7)))).energy.phases_reason is None


@pytest.mark.parametrize(
    ("generations", "why"),
    [
        ((generation(2, 6), generation(3, 7)), "requests overlapped"),
        ((generation(3, 4), generation(2, 9), generation(6, 7)), "requests overlapped"),
        ((generation(2, 6, static_batch=False),), "its requests didn't start together"),
        ((generation(2, 6), dataclasses.replace(generation(7, 9), first_token_s=None)), "first token wasn't seen"),
        ((generation(2, 6, first_s=6.5),), "first token wasn't seen"),
        ((), "no engine was observed"),
    ],
)
def test_where_prefill_and_decode_have_no_common_split_it_is_said(generations, why):
    found = record(observation(one_round(0, 10, *generations, declared=(Counts(output_tokens=1),))))
    assert (found.energy.prefill_j, found.energy.decode_j) == (None, None)
    assert why in found.energy.phases_reason
    assert found.energy.it_j == pytest.approx(10 * WATTS)


def test_a_phase_too_short_for_the_meter_is_named_and_costs_not_the_other():
    found = record(observation(one_round(0, 10, generation(2, 6, first_s=2.03))))  # within a refresh
    assert (found.energy.prefill_j, found.energy.decode_j) == (None, pytest.approx(3.97 * WATTS))
    assert found.energy.phases_reason.startswith("prefill: too short for the meter")
    found = record(observation(one_round(0, 10, generation(2, 6, (1,), first_s=6))))
    assert (found.energy.prefill_j, found.energy.decode_j) == (pytest.approx(4 * WATTS), None)
    assert found.energy.phases_reason.startswith("decode: ")


def test_without_energy_the_phases_have_that_reason():
    ctx = dataclasses.replace(context(), recording=None, no_meter="no meter here")
    assert record(observation(one_round(0, 10, generation(2, 6))), ctx=ctx).energy.phases_reason == "energy is unknown"


@settings(max_examples=20)
@given(st.lists(st.tuples(st.floats(0.0, 100.0), st.floats(0.5, 20.0)), min_size=2, max_size=8))
def test_phases_are_split_exactly_where_no_two_generations_shared_a_moment(spans):
    calls = [generation(start, start + length) for start, length in spans]
    shared = any(a.start_s < b.end_s and b.start_s < a.end_s for a, b in itertools.combinations(calls, 2))
    found = record(observation(one_round(0, 130, *calls))).energy
    assert ("overlapped" in (found.phases_reason or "")) == shared
    if not shared and found.phases_reason is None:
        assert found.prefill_j + found.decode_j == pytest.approx(WATTS * sum(length for _, length in spans))


def test_the_idle_share_is_what_the_idle_machine_would_have_used():
    found = record(observation(one_round(0, 10, generation(2, 6)))).energy
    assert found.idle_share == pytest.approx(0.2)
    assert found.idle_share == pytest.approx(1 - found.net_j / found.it_j)
    seen = observation(one_round(0, 10, generation(2, 6)), drawn=False)
    assert record(seen).energy.idle_share == pytest.approx(0.2)  # of the spans that count, not of the call
    assert record(seen, ctx=context(idle_w=150.0)).energy.idle_share == pytest.approx(1.5)  # told, not clamped, as net is


@pytest.mark.parametrize(
    "ctx",
    [context(idle_w=None), context(trace(watts=0.0)), dataclasses.replace(context(), recording=None)],
    ids=["idle unknown", "no energy used", "no meter"],
)
def test_the_idle_share_is_unknown_where_either_energy_is(ctx):
    assert record(observation(one_round(0, 10, generation(2, 6))), ctx=ctx).energy.idle_share is None


@given(st.lists(st.tuples(st.floats(0.5, 5), st.integers(1, 50)), min_size=1, max_size=6))
def test_tokens_and_joules_of_rounds_make_up_the_whole(rounds):
    start_s, made = 0.0, []
    for length_s, tokens in rounds:
        made.append(one_round(start_s, start_s + length_s, generation(start_s, start_s + length_s, (tokens,))))
        start_s += length_s
    found = record(observation(*made))
    assert found.workload.output_tokens == sum(tokens for _, tokens in rounds) == sum(r.output_tokens for r in found.rounds)
    assert sum(r.it_j or 0.0 for r in found.rounds) == pytest.approx(found.energy.it_j)


def test_domains_add_up_and_device_is_part_of_it():
    ctx = context(trace("gpu:0", 300.0), trace("gpu:1", 200.0), trace("cpu:0", 50.0))
    found = record(observation(one_round(0, 10, generation())), ctx=ctx)
    assert found.energy.it_j == pytest.approx(5500.0)
    assert found.energy.device_j == pytest.approx(5000.0)
    assert record(observation(one_round(0, 10, generation())), Marker(boundary="device"), ctx).joules_per_token == pytest.approx(625.0)


def test_the_lowest_trust_of_the_domains_is_the_trust():
    found = record(observation(one_round(0, 10, generation())), ctx=context(trace("gpu:0"), trace("cpu:0", trust="estimated")))
    assert found.energy.trust == found.mandated.joules_per_token.trust == "estimated"


def test_one_lost_domain_makes_the_sum_unknown_and_keeps_the_other():
    lost = trace("gpu:0", faults=(Fault(t=5.0, code="device_lost", text="gpu:0 is lost"),))
    found = record(observation(one_round(0, 10, generation())), Marker(limits={"max_joules": 1.0}), context(lost, trace("cpu:0")))
    assert found.energy.it_j is None
    assert found.energy.domains == {"gpu:0": None, "cpu:0": pytest.approx(1000.0)}
    assert found.energy.reasons == ("device_lost",)
    assert found.joules_per_token is None
    assert found.budgets[0].verdict == "not_measured"
    assert "gpu:0 is lost" in found.warnings


def test_facility_is_it_times_pue_and_unknown_without_one():
    seen, marker = observation(one_round(0, 10, generation())), Marker(boundary="facility")
    assert record(seen, marker, context(facility=ANNUAL)).joules_per_token == pytest.approx(1.5 * WATTS * 10 / 8)
    without = record(seen, marker)
    assert without.joules_per_token is None
    assert "PUE is undeclared" in (without.mandated.joules_per_token.reason or "")
    assert without.energy.facility_j is None


def test_device_energy_without_an_accelerator_is_unknown_with_the_reason():
    found = record(observation(one_round(0, 10, generation())), Marker(boundary="device"), context(trace("cpu:0")))
    assert found.mandated.joules_per_token.reason == "no accelerator was metered"


def test_a_board_without_a_known_limit_is_not_held_against_anothers():
    ctx = context(trace("gpu:0", watts=300.0), trace("gpu:1", watts=300.0))
    limit = Status(domain="gpu:0", t=5.0, power_limit_w=600.0)
    ctx = dataclasses.replace(ctx, recording=dataclasses.replace(ctx.recording, statuses=(limit,)))
    found = record(observation(one_round(0, 10, generation(2, 4))), ctx=ctx)
    assert found.mandated.binding_constraint.value != "power"
    assert found.power.headroom == pytest.approx(0.5, rel=0.01)


def test_spread_over_rounds_widens_the_interval():
    steady = [one_round(10 * i, 10 * i + 9, generation(10 * i, 10 * i + 9, (9,))) for i in range(5)]
    uneven = [one_round(10 * i, 10 * i + 9, generation(10 * i, 10 * i + 9, (9 + i,))) for i in range(5)]
    narrow, wide = record(observation(*steady)), record(observation(*uneven))
    assert narrow.energy.uncertainty_j < wide.energy.uncertainty_j < wide.energy.absolute_uncertainty_j
    low, high = wide.mandated.joules_per_token.ci95
    assert low < wide.joules_per_token < high


def test_no_meter_leaves_everything_but_energy():
    ctx = dataclasses.replace(context(), recording=None, no_meter="no meter here")
    found = record(observation(one_round(0, 10, generation())), Marker(limits={"max_joules": 1.0, "max_output_tokens": 10.0}), ctx)
    assert found.energy.it_j is None
    assert found.energy.reasons == ("no_meter",)
    assert found.workload.output_tokens == 8
    assert [budget.verdict for budget in found.budgets] == ["not_measured", "pass"]


def test_declared_counts_stand_for_an_engine_nobody_observes():
    found = record(observation(one_round(0, 10, declared=(Counts(output_tokens=20, prompt_tokens=5, requests=2),))))
    assert (found.workload.output_tokens, found.workload.prompt_tokens, found.workload.requests) == (20, 5, 2)
    assert found.workload.token_source == "declared"
    assert found.mandated.utilization_adjusted_tokens_per_second.value is None


def test_a_request_of_unknown_prompt_makes_the_total_unknown():
    found = record(observation(one_round(0, 10, generation(prompts=None), generation(5, 6))))
    assert found.workload.prompt_tokens is None
    assert found.derived.joules_per_total_token is None


def test_failed_work_stays_in_the_numerator_of_accepted_tokens():
    quality = Quality(value=0.5, metric="exact_match", samples=2, accepted=(True, False))
    found = record(observation(one_round(0, 10, generation(0, 10, (4, 6))), quality=quality))
    assert found.workload.accepted_tokens == 4
    assert found.derived.joules_per_accepted_token == pytest.approx(10 * WATTS / 4)
    assert found.derived.joules_per_correct_answer == pytest.approx(10 * WATTS)
    assert found.derived.intelligence_per_joule == pytest.approx(0.5 / (5 * WATTS))


def test_a_request_that_came_too_late_is_not_accepted():
    found = record(observation(one_round(0, 10, generation(0, 1, (4,)), generation(2, 9, (6,)))), Marker(limits={"max_e2e_s": 2.0}))
    assert found.workload.accepted_tokens == 4
    assert (found.service.goodput.good, found.service.goodput.attempted) == (1, 2)


def test_an_incomplete_request_is_not_accepted():
    cut = generation(2, 3, (6,))
    cut = dataclasses.replace(cut, requests=tuple(dataclasses.replace(r, complete=False) for r in cut.requests))
    assert record(observation(one_round(0, 10, generation(0, 1, (4,)), cut))).workload.accepted_tokens == 4


def test_quality_that_does_not_match_the_requests_leaves_acceptance_unknown():
    quality = Quality(value=1.0, metric="exact_match", samples=3, accepted=(True,) * 3)
    assert record(observation(one_round(0, 10, generation(0, 10, (4, 6))), quality=quality)).workload.accepted_tokens is None


@given(st.floats(0.01, 1e4), st.floats(0.01, 1e4))
def test_a_verdict_never_gets_worse_when_the_limit_grows(one, other):
    order = {"fail": 0, "pass": 1}
    seen = observation(one_round(0, 10, generation()))
    tight, loose = sorted((one, other))
    verdicts = [order[record(seen, Marker(limits={"max_joules_per_token": limit})).budgets[0].verdict] for limit in (tight, loose)]
    assert verdicts[0] <= verdicts[1]


def test_what_is_computed_is_a_valid_report_and_survives_the_way_through_builtins():
    quality = Quality(value=0.5, metric="exact_match", samples=2, accepted=(True, False))
    marker = Marker(limits={"max_joules_per_token": 1.0, "min_quality": 0.5}, binding=("compute",))
    found = record(observation(one_round(0, 10, generation(0, 10, (4, 6))), quality=quality), marker, context(facility=ANNUAL))
    found = dataclasses.replace(found, outcome="passed")
    assert from_dict(TestRecord, as_dict(found)) == found
    assert validate(as_dict(build_report([found], describe_environment(()), ANNUAL, ()))) == []


def is_valid(found: TestRecord) -> bool:
    named = dataclasses.replace(found, outcome="passed")
    return validate(as_dict(build_report([named], describe_environment(()), Facility(), ()))) == []


@given(st.floats(1e-4, 3.0), st.floats(0.0, 9.0), st.sampled_from([(), ("gpu:0",), ("cpu:0",), ("gpu:0", "cpu:0")]), st.floats(0.0, 10.0))
def test_whatever_is_known_of_a_window_its_record_is_valid(length_s, start_s, lost, when_s):
    faults = (Fault(t=when_s, code="device_lost", text="it is lost"),)
    traces = [trace(name, trust="estimated", faults=faults if name in lost else ()) for name in ("gpu:0", "cpu:0")]
    window = observation(one_round(start_s, start_s + length_s, declared=(Counts(output_tokens=5, requests=1),)))
    found = record(dataclasses.replace(window, call=(0.0, 12.0)), ctx=context(*traces))
    assert is_valid(found)
    known = (found.energy.it_j, found.energy.call_j, found.energy.device_j)
    assert (found.energy.trust is None) == all(energy is None for energy in known)


def test_the_calls_energy_has_its_trust_where_the_window_is_too_short():
    window = observation(one_round(5.0, 5.0001, declared=(Counts(output_tokens=5, requests=1),)))
    found = record(dataclasses.replace(window, call=(0.0, 12.0)))
    assert found.energy.it_j is None
    assert found.energy.call_j == pytest.approx(1200.0)
    assert (found.energy.trust, found.energy.valid) == ("measured", False)
    assert is_valid(found)


def test_one_round_says_that_its_interval_knows_no_spread():
    assert any("one round" in warning for warning in record(observation(one_round(0, 10, generation()))).warnings)
