"""The conformance suite can't rot: its table is sound, its judge is fair, and a handful of scenarios run with our own adapter."""

from __future__ import annotations

import math
import subprocess
import sys
import time

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from benchmarks.known_joules import tables
from benchmarks.known_joules.adapter import started
from benchmarks.known_joules.batch import MOST_BOARDS, batches
from benchmarks.known_joules.judge import CLOSE, Claim, Truth, claim_of, concerns, error_of, truth_of, verdict
from benchmarks.known_joules.run import Suite, outcome
from benchmarks.known_joules.scenario import MOMENTS, Scenario
from benchmarks.known_joules.scenarios import CALM, CONTROL, SCENARIOS
from benchmarks.known_joules.tools import OURS, Tool, chosen
from benchmarks.peers import ROOT
from tests.standin import Board, StandinUnavailable, build_library

NEVER = Board()
THOUSAND = Truth(least_j=1000.0, most_j=1000.0)


@pytest.fixture(scope="module")
def _compiled():
    try:
        build_library()
    except StandinUnavailable as reason:
        pytest.skip(str(reason))


# --- the table


def test_there_are_many_scenarios_and_each_has_a_name_of_its_own():
    names = [(scenario.category, scenario.name) for scenario in SCENARIOS]
    assert len(names) >= 100
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: f"{s.category}: {s.name}")
def test_a_scenario_is_sound(scenario):
    moments = [getattr(board, name) for board in scenario.boards for name in MOMENTS if getattr(board, name) != getattr(NEVER, name)]
    assert all(abs(place) < 10 for place in moments), "moments are places in the window"
    assert bool(moments) == scenario.timed
    assert len(scenario.boards) == 1 or not scenario.group
    assert {board.gain for board in scenario.boards} <= {scenario.gain}
    assert set(scenario.visible or ()) <= set(range(len(scenario.boards)))
    if scenario.expect == "nothing":
        assert not (scenario.boards if scenario.visible is None else scenario.visible)


def test_windows_vary_in_length():
    assert all(low < high for low, high in (scenario.length_s for scenario in SCENARIOS))


def test_every_scenario_is_in_one_batch_whose_boards_are_told_apart():
    every = batches(SCENARIOS)
    assert sorted(id(scenario) for batch in every for scenario in batch.scenarios) == sorted(map(id, SCENARIOS))
    for batch in every:
        boards = batch.standin(100.0, 1.0).boards
        assert len({board.uuid for board in boards}) == len(boards)
        assert not batch.shared or len(boards) == len(batch.scenarios) <= MOST_BOARDS
        assert len({(scenario.length_s, scenario.timed, scenario.calm) for scenario in batch.scenarios}) == 1


# --- the judge


@pytest.mark.parametrize(
    ("claim", "expect", "expected"),
    [
        (Claim(joules=1019.0), "energy", "right"),
        (Claim(joules=1040.0), "energy", "inaccurate"),
        (Claim(joules=1060.0), "energy", "wrong silently"),
        (Claim(joules=1060.0, flags=("careful",)), "energy", "wrong, flagged"),
        (Claim(joules=1060.0, flags=("careful",)), "unknowable", "refused honestly"),
        (Claim(joules=1060.0), "unknowable", "wrong silently"),
        (Claim(joules=1060.0, half_width_j=61.0), "energy", "right"),
        (Claim(joules=1001.0, half_width_j=0.5), "energy", "inaccurate"),
        (Claim(joules=1060.0, half_width_j=0.5, flags=("careful",)), "unknowable", "wrong silently"),
        (Claim(reason="too short"), "energy", "refused needlessly"),
        (Claim(reason="too short"), "unknowable", "refused honestly"),
        (Claim(error="ValueError"), "energy", "crashed"),
        (Claim(error="ValueError"), "unknowable", "refused honestly"),
        (Claim(died="killed"), "unknowable", "crashed"),
    ],
)
def test_verdicts(claim, expect, expected):
    assert verdict(claim, THOUSAND, expect) == expected


@pytest.mark.parametrize(
    ("claim", "expected"),
    [(Claim(joules=0.0), "right"), (Claim(reason="no board"), "refused honestly"), (Claim(joules=1.0), "wrong silently")],
)
def test_verdicts_where_there_is_nothing_to_measure(claim, expected):
    assert verdict(claim, Truth(least_j=0.0, most_j=0.0), "nothing") == expected


def test_a_sensor_of_a_wrong_scale_is_right_for_comparing_and_judged_absolutely_apart():
    scenario = next(s for s in SCENARIOS if s.category == "gain" and s.gain == 0.94)
    told = outcome(scenario, "a tool", 1.0, THOUSAND, Claim(joules=940.0))
    assert (told.verdict, told.absolute_verdict) == ("right", "wrong silently")
    assert told.absolute_error == pytest.approx(-0.06)
    stated = outcome(scenario, "a tool", 1.0, THOUSAND, Claim(joules=940.0, half_width_j=1.0, absolute_half_width_j=70.0))
    assert (stated.verdict, stated.absolute_verdict) == ("right", "right")


@given(least=st.floats(1.0, 1e6), more=st.floats(0.0, 10.0), where=st.floats(0.0, 1.0))
def test_no_tool_is_blamed_for_what_its_own_calls_take(least, more, where):
    truth = Truth(least_j=least, most_j=least + more)
    joules = min(least + where * more, truth.most_j)
    assert error_of(joules, truth) == 0
    assert verdict(Claim(joules=joules), truth, "energy") == "right"


@given(true=st.floats(1.0, 1e6), share=st.floats(-0.5, 0.5))
def test_errors_are_relative_to_the_truth(true, share):
    assume(abs(abs(share) - CLOSE) > 1e-6)
    error = error_of(true * (1 + share), Truth(least_j=true, most_j=true))
    assert error == pytest.approx(share, abs=1e-9)
    assert (verdict(Claim(joules=true * (1 + share)), Truth(least_j=true, most_j=true), "energy") == "right") == (abs(error) <= CLOSE)


def test_the_truth_lies_between_the_work_alone_and_the_work_with_the_tools_calls():
    truth = truth_of([Board(base_w=100.0), Board(base_w=200.0)], [10.0, 10.1], [11.0, 11.2])
    assert truth.least_j == pytest.approx(270.0)
    assert truth.most_j == pytest.approx(360.0)


def test_remarks_that_a_tool_always_makes_are_no_flags_and_one_board_is_not_excused_by_another():
    answer = {"flags": ["took 12 ms", "GPU 1 went backwards", "zero energy"], "boards": {"0": {"joules": 5.0}, "1": {"joules": 0.0}}}
    always = frozenset({"took # ms"})
    assert claim_of(answer, always, board=0).flags == ()
    assert claim_of(answer, always, board=1).flags == ("GPU 1 went backwards", "zero energy")
    assert claim_of(answer, always, board=2).joules is None
    assert not concerns("GPU 11 went backwards", 1, 5.0)


# --- adapters

CLAIMS_300_W = """
import json, sys, time
print(json.dumps({"distribution": "mine", "version": "1", "ready": True, "notes": []}), flush=True)
for line in sys.stdin:
    order = json.loads(line)
    time.sleep(max(0, order["begin_s"] - time.perf_counter()))
    t0 = time.perf_counter()
    time.sleep(order["length_s"])
    t1 = time.perf_counter()
    print(json.dumps({"begin_s": [t0, t0], "end_s": [t1, t1], "joules": 300 * (t1 - t0), "boards": {}, "flags": []}), flush=True)
"""


def scripted(script: str) -> Tool:
    return Tool("mine", (sys.executable, "-c", script))


@pytest.mark.usefixtures("_compiled")
def test_any_program_that_speaks_the_protocol_is_a_tool():
    suite = Suite([scripted(CLAIMS_300_W)], seed=1)
    (told, again) = suite.measure([CONTROL], 2, lambda _: None)
    assert suite.versions == {"mine": "mine 1"}
    assert (told.verdict, again.verdict) == ("right", "right")
    assert told.error == pytest.approx(0, abs=1e-6)


@pytest.mark.usefixtures("_compiled")
@pytest.mark.parametrize(
    "script", ["raise SystemExit('no luck')", CLAIMS_300_W.replace("t1 = time", "raise SystemExit('no luck')\n    t1 = time")]
)
def test_an_adapter_that_dies_is_an_answer(script):
    with started(scripted(script).command, CONTROL.standin()) as adapter:
        answer = adapter.window(time.perf_counter(), 0.05)
    assert "no luck" in answer["died"]


def pick(category: str, name: str) -> Scenario:
    return next(s for s in SCENARIOS if (s.category, s.name) == (category, name))


@pytest.mark.usefixtures("_compiled")
def test_our_adapter_on_a_handful_of_scenarios():
    some = (
        CONTROL,
        pick("CUDA_VISIBLE_DEVICES", "UUIDs permuted"),
        pick("CUDA_VISIBLE_DEVICES", "a MIG slice"),
        pick("board lost", "at 50% of the window"),
        pick("missing function", "no counter, no power"),
        Scenario(name="two boards", category="group", boards=CONTROL.boards, length_s=CALM, group="pair"),
        Scenario(
            name="two boards, the other", category="group", boards=(Board(base_w=77.0, counter_period_s=0.01),), length_s=CALM, group="pair"
        ),
    )
    outcomes = Suite(chosen([OURS], []), seed=1).measure(some, 1, lambda _: None)
    assert {o.scenario.name for o in outcomes} == {s.name for s in some}
    for told in outcomes:
        # A busy machine may cost a refusal or a wide interval, never a wrong figure.
        wanted = {"right", "refused needlessly"} if told.scenario.expect == "energy" else {"refused honestly"}
        assert told.verdict in wanted, told
        assert told.claim.joules is not None or told.claim.reason
    shown = tables.by_scenario(outcomes, [OURS])
    assert all(s.name in shown for s in some)
    assert all(math.isfinite(row["error"]) for row in tables.as_dicts(outcomes) if row["error"] is not None)


@pytest.mark.parametrize(
    ("argument", "named"), [("--only=nonesuch", "nonesuch"), ("--tools=nonesuch", "nonesuch"), ("--adapter=nonesuch", "nonesuch")]
)
def test_a_mistake_is_one_line(argument, named):
    command = [sys.executable, "-m", "benchmarks.known_joules", argument, "--noisy"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert named in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
