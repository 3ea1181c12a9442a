"""From rounds over a grid to the report's ``fit``, on a meter of known power: each request lasts as long as its joules take."""

from __future__ import annotations

import dataclasses

import pytest

from pytest_tpf.codec import as_dict, from_dict
from pytest_tpf.evaluate import evaluate
from pytest_tpf.markers import Marker
from pytest_tpf.measure.trace import Fault
from pytest_tpf.observation import Counts, GridPoint, MeasuredRound
from pytest_tpf.records import Facility, Fit, Pue, TestRecord
from pytest_tpf.report.build import build_report
from pytest_tpf.report.environment import describe_environment
from pytest_tpf.report.validate import validate
from tests.evaluate.runs import IDENTITY, WATTS, context, generation, observation, one_round, trace

BETA_J, BASE_J, SLOPE_J = 5.0, 100.0, 0.5
PROMPTS, OUTPUTS = (10, 40), (2, 8, 32)
ANNUAL = Facility(pue=Pue(value=1.5, source="declared", kind="annual", category="PUE2"))


def joules(prompt: float, output: float) -> float:
    return BASE_J + SLOPE_J * prompt + (output - 1) * BETA_J


def visits(requests=1, prompts=PROMPTS, outputs=OUTPUTS, told=True, cached=0, bos=0) -> list[MeasuredRound]:
    """The grid there and back, a request after the other. ``bos``: by how many tokens each prompt is longer than was asked for."""
    grid = [GridPoint(prompt_tokens=p, output_tokens=o) for p in prompts for o in outputs]
    rounds, now_s = [], 0.0
    for at in (*grid, *reversed(grid)):
        start_s, calls = now_s, []
        for _ in range(requests):
            end_s = now_s + joules(at.prompt_tokens + bos, at.output_tokens) / WATTS
            call = generation(now_s, end_s, (at.output_tokens,), at.prompt_tokens + bos if told else None)
            calls.append(dataclasses.replace(call, requests=tuple(dataclasses.replace(r, cached_tokens=cached) for r in call.requests)))
            now_s = end_s
        rounds.append(dataclasses.replace(one_round(start_s, now_s, *calls, calls=requests), point=at))
    return rounds


def record(rounds, marker=Marker(), ctx=None) -> TestRecord:  # noqa: B008
    return evaluate(observation(*rounds), IDENTITY, marker, ctx or context(), {})


def fit_of(rounds, marker=Marker(), ctx=None) -> Fit:  # noqa: B008
    found = record(rounds, marker, ctx).fit
    assert found is not None
    return found


def is_valid(found: TestRecord) -> bool:
    named = dataclasses.replace(found, outcome="passed")
    return validate(as_dict(build_report([named], describe_environment(()), Facility(), ()))) == []


def test_without_a_grid_there_is_no_fit():
    assert record([one_round(0, 10, generation())]).fit is None


def test_known_energies_give_the_known_parameters():
    found = fit_of(visits())
    assert found.boundary == "it"
    assert found.joules_per_output_token == pytest.approx(BETA_J)
    assert found.joules_per_prompt_token == pytest.approx(SLOPE_J)
    assert [(each.prompt_tokens, each.joules) for each in found.prompts] == [(p, pytest.approx(joules(p, 1))) for p in PROMPTS]
    low, high = found.joules_per_output_token_ci95
    assert low < BETA_J < high
    assert (found.r2, found.worst_relative_error, found.reason) == (pytest.approx(1.0), pytest.approx(0.0, abs=1e-6), None)
    assert [(point.prompt_tokens, point.output_tokens, point.requests) for point in found.points] == [
        (p, o, 2) for p in PROMPTS for o in OUTPUTS
    ]
    for point in found.points:
        assert point.joules == pytest.approx(joules(point.prompt_tokens, point.output_tokens))
        assert point.fitted_j == pytest.approx(point.joules)


def test_several_requests_a_call_count_by_their_mean():
    found = fit_of(visits(requests=3))
    assert found.joules_per_output_token == pytest.approx(BETA_J)
    assert {point.requests for point in found.points} == {6}


def test_tokens_are_those_that_were_seen_not_those_asked_for():
    rounds = visits(bos=3)
    asked_for_more = [
        dataclasses.replace(one, point=dataclasses.replace(one.point, output_tokens=10 * one.point.output_tokens)) for one in rounds
    ]
    found = fit_of(asked_for_more)
    assert [each.prompt_tokens for each in found.prompts] == [13.0, 43.0]
    assert {point.output_tokens for point in found.points} == {2.0, 8.0, 32.0}
    assert found.joules_per_output_token == pytest.approx(BETA_J)


def test_declared_counts_do_for_an_engine_nobody_observes():
    counted = [
        dataclasses.replace(
            one, generations=(), declared=(Counts(output_tokens=one.point.output_tokens, prompt_tokens=one.point.prompt_tokens),)
        )
        for one in visits()
    ]
    assert fit_of(counted).joules_per_output_token == pytest.approx(BETA_J)


def test_prompts_that_nobody_told_are_those_asked_for_and_it_is_said():
    found = record(visits(told=False))
    assert found.fit.joules_per_prompt_token == pytest.approx(SLOPE_J)
    assert any("prompt tokens were not told" in warning for warning in found.warnings)
    assert not any("prompt tokens were not told" in warning for warning in record(visits()).warnings)


def test_cached_prompts_are_told():
    assert any("12 prompt tokens came from the server's cache" in warning for warning in record(visits(cached=1)).warnings)


@pytest.mark.parametrize(("boundary", "factor"), [("it", 1.5), ("device", 1.0), ("facility", 2.25)])
def test_energies_are_those_of_the_boundary(boundary, factor):
    ctx = context(trace("gpu:0", WATTS), trace("cpu:0", WATTS / 2), facility=ANNUAL)
    found = fit_of(visits(), Marker(boundary=boundary), ctx)
    assert (found.boundary, found.joules_per_output_token) == (boundary, pytest.approx(factor * BETA_J))
    low, high = found.joules_per_output_token_ci95
    assert low < factor * BETA_J < high


@pytest.mark.parametrize(
    ("boundary", "ctx", "said"),
    [
        ("facility", context(), "PUE is undeclared"),
        ("device", context(trace("cpu:0")), "no accelerator was metered"),
        ("it", dataclasses.replace(context(), recording=None, no_meter="none here"), "no_meter"),
        ("it", context(contended=("gpu:0",)), "contended"),
    ],
)
def test_unknown_energies_are_null_in_the_table_and_give_no_fit(boundary, ctx, said):
    found = record(visits(), Marker(boundary=boundary), ctx)
    assert found.fit.reason.startswith("no point of the grid has a known energy; ")
    assert said in found.fit.reason
    assert found.fit.joules_per_output_token is None
    assert [point.joules for point in found.fit.points] == [None] * 6
    assert [point.requests for point in found.fit.points] == [2] * 6
    assert is_valid(found)


def lost_in(rounds) -> TestRecord:
    faults = tuple(Fault(t=one.end_s - 0.1, code="device_lost", text="gpu:0 is lost") for one in rounds)
    return record(visits(), ctx=context(trace("gpu:0", faults=faults)))


def test_a_board_that_was_lost_costs_what_came_after():
    found = lost_in(visits()[6:])
    assert [point.requests for point in found.fit.points] == [1] * 6
    assert found.fit.joules_per_output_token == pytest.approx(BETA_J)
    assert is_valid(found)


def test_a_point_without_energy_is_left_out_and_told():
    rounds = visits()
    found = lost_in([rounds[3], rounds[8]])
    assert [point.joules is None for point in found.fit.points] == [False, False, False, True, False, False]
    assert found.fit.points[3].fitted_j == pytest.approx(joules(40, 2))
    assert any("1 of 6 points are left out: energy is unknown: device_lost" in warning for warning in found.warnings)
    assert is_valid(found)


def test_one_output_length_gives_no_fit_and_the_reason():
    found = record(visits(outputs=(8,)))
    assert "3 unknowns" in found.fit.reason
    assert len(found.fit.points) == 2
    assert is_valid(found)


def test_a_model_that_stops_early_everywhere_gives_no_fit():
    rounds = [
        dataclasses.replace(one, point=GridPoint(prompt_tokens=one.point.prompt_tokens, output_tokens=100 + n % 3))
        for n, one in enumerate(visits(outputs=(8, 8, 8)))
    ]
    assert "one output length only" in fit_of(rounds).reason


def test_requests_without_tokens_are_left_out():
    rounds = visits()
    silent = [dataclasses.replace(one, generations=()) if one.point.output_tokens == 32 else one for one in rounds]
    found = record(silent)
    assert found.fit.joules_per_output_token == pytest.approx(BETA_J)
    assert [point.requests for point in found.fit.points] == [2, 2, 0] * 2
    assert any("2 of 6 points are left out: no request was seen or counted" in warning for warning in found.warnings)
    assert is_valid(found)
    empty = [
        dataclasses.replace(one, generations=(generation(one.start_s, one.end_s, (0,)),)) if one.point.output_tokens == 32 else one
        for one in rounds
    ]
    assert any("requests for 32 output tokens made fewer than one each" in warning for warning in record(empty).warnings)


def test_no_more_points_than_unknowns_is_said():
    found = record(visits(prompts=(10,), outputs=(2, 32)))
    assert found.fit.joules_per_output_token == pytest.approx(BETA_J)
    assert (found.fit.joules_per_prompt_token, found.fit.r2) == (None, None)
    assert any("nothing tells how well they fit" in warning for warning in found.warnings)
    assert is_valid(found)


def test_a_negative_f_is_reported_and_told(monkeypatch):
    monkeypatch.setattr("tests.evaluate.test_fit.BASE_J", -4.0)
    found = record(visits(prompts=(2, 40)))
    assert found.fit.prompts[0].joules == pytest.approx(-3.0)
    assert any("F(2) is negative (-3 J)" in warning for warning in found.warnings)
    assert is_valid(found)


def test_a_fit_survives_the_way_through_builtins():
    found = record(visits())
    assert from_dict(TestRecord, as_dict(found)) == found
    assert is_valid(found)
