"""The arithmetic of the gate's benchmark, on noise that is made."""

from __future__ import annotations

import json
import random

import pytest

from benchmarks.gate.made import MADE, made
from benchmarks.gate.record import NOISE, by_test, compact, kept
from benchmarks.gate.recorded import LEAST, labels, load, scatter
from benchmarks.gate.rivals import mean_5_percent, sides, welch_5_percent
from benchmarks.gate.silent import MEASURED, _without_first
from benchmarks.gate.simulate import BASELINE, REFERENCES, ROUNDS, Case, a_suite, learned, sample, verdicts, worse
from benchmarks.gate.study import CHANGES, study
from pytest_tpf.records import Round

QUIET = "1 % within, 0 % between runs"
USUAL = "2 % within, 1 % between runs"


def a_round(joules: float) -> Round:
    return Round(duration_s=0.2, output_tokens=100, prompt_tokens=None, requests=1, it_j=joules)


def a_case(old: list[float], new: list[float]) -> Case:
    halves = (old[:ROUNDS], old[ROUNDS:])
    return Case(old=tuple(sample([a_round(j) for j in half]) for half in halves), new=tuple(a_round(j) for j in new))


# --- what is recorded -------------------------------------------------------------------------------------------------


def test_what_is_kept_of_a_test():
    rounds = [{"output_tokens": 10, "it_j": 1.23456789, "duration_s": 0.5, "ttft_s": None}, {**dict.fromkeys(("it_j", "ttft_s"))}]
    rounds[1] |= {"output_tokens": 10, "duration_s": 0.25}
    found = kept({"energy": {"it_j": 2.0, "uncertainty_j": 0.1}, "rounds": rounds})
    assert found == {"tokens": [10], "uncertainty": 0.05, "it_j": [1.235, None], "duration_s": [0.5, 0.25]}


def test_recordings_are_read_as_they_were_written(tmp_path):
    run = {"tokens": [10], "uncertainty": None, "it_j": [1.0, None, *[2.0] * LEAST], "duration_s": [0.1] * (LEAST + 2)}
    short = {"tokens": [10], "uncertainty": None, "it_j": [1.0] * (LEAST - 1), "duration_s": [0.1] * (LEAST - 1)}
    path = tmp_path / "noise.json"
    content = {"quiet": {"adder": {"at": "2026-01-02", "tests": by_test([{"a": run, "b": run}, {"a": short, "b": run}])}}}
    path.write_text(compact(content))
    assert json.loads(path.read_text()) == content
    assert labels(path) == [("quiet", "adder")]
    a, b = load("quiet", "adder", path)
    assert [len(each) for each in a.runs] == [LEAST + 1]
    assert [len(each) for each in b.runs] == [LEAST + 1] * 2
    assert a.runs[0][1].it_j == 2.0


def test_the_published_noise_serves_every_reference():
    for label, suite in labels():
        for test in load(label, suite):
            assert len(test.runs) > max(reference.runs for reference in REFERENCES)
    assert NOISE.stat().st_size < 300_000


def test_scatter_finds_the_noise_that_was_made():
    found = [scatter(test) for test in made(USUAL, tests=10)]
    assert sum(each.within for each in found) / 10 == pytest.approx(0.02, rel=0.05)
    assert sum(each.between for each in found) / 10 == pytest.approx(0.01, rel=0.2)
    assert sum(each.autocorrelation for each in found) / 10 == pytest.approx(0.0, abs=0.05)


# --- suites -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reference", REFERENCES)
def test_a_case_is_blocks_of_whole_runs(reference):
    recorded = made(QUIET, tests=2, runs=25, rounds=20)
    for case in a_suite(random.Random(1), recorded, reference, tests=5, together=False):
        assert len(case.old) == reference.runs * reference.measurements
        assert {len(old.rounds) for old in case.old} == {ROUNDS}
        assert len(case.new) == 2 * ROUNDS
        runs = [run for test in recorded for run in test.runs]
        (home,) = [run for run in runs if case.new[0] in run]
        start = home.index(case.new[0])
        assert home[start : start + 2 * ROUNDS] == case.new
        assert not any(each in home for old in case.old for each in old.rounds)


def test_together_means_the_same_runs_for_all():
    recorded = made(QUIET, tests=3, runs=25)
    cases = a_suite(random.Random(1), recorded, BASELINE, tests=30, together=True)
    places = {next(number for test in recorded for number, run in enumerate(test.runs) if case.new[0] in run) for case in cases}
    assert len(places) == 1


def test_worse_is_more_energy_in_the_new_run_alone():
    case = a_case([50.0] * 10, [50.0, 60.0] * 5)
    changed = worse(case, 1.1)
    assert changed.old == case.old
    assert [each.it_j for each in changed.new] == pytest.approx([55.0, 66.0] * 5)


def test_the_gate_on_a_suite_is_the_plugins():
    cases = a_suite(random.Random(2), made(QUIET), BASELINE, tests=30, together=False)
    cases[7] = worse(cases[7], 1.2)
    found = verdicts(cases)
    assert [place for place, change in enumerate(found) if change.verdict == "fail"] == [7]
    assert found[7].rounds == 2 * ROUNDS
    assert found[0].rounds == ROUNDS
    assert learned(cases).degrees_of_freedom > 4


# --- other rules ------------------------------------------------------------------------------------------------------


def test_pytest_benchmarks_rule_is_about_means():
    assert sides(a_case([1.0] * 10, [2.0] * 10)) == ([0.02] * 10, [0.01] * 10)
    assert not mean_5_percent(a_case([100.0] * 10, [104.9] * 10))
    assert mean_5_percent(a_case([100.0] * 10, [105.1] * 10))


def test_welch_as_published():
    # scipy.stats.ttest_ind(new, old, equal_var=False, alternative="greater").pvalue: 0.0335 and 0.0581
    old = [10.0, 10.2, 9.8, 10.1, 9.9] * 2
    assert welch_5_percent(a_case(old, [value + 0.13 for value in old]))
    assert not welch_5_percent(a_case(old, [value + 0.11 for value in old]))


# --- the study --------------------------------------------------------------------------------------------------------


def test_a_quiet_machine_meets_the_goals():
    ours, benchmark, welch = study(made(QUIET), BASELINE, suites=4, tests=40, seed=1)
    assert (ours.suites, ours.tests, ours.alarmed_suites, ours.alarmed_tests) == (4, 160, 0, 0)
    assert ours.caught[0.10] == ours.caught[0.20] == 1.0
    assert (benchmark.rule, welch.rule) == ("pytest-benchmark mean:5%", "Welch's t-test at 5 %")
    assert welch.alarms_in_20 == 20
    assert set(ours.caught) == set(CHANGES)


def test_a_noisy_one_is_inconclusive_rather_than_red():
    (ours,) = study(made("5 % within, 5 % between runs"), REFERENCES[2], suites=3, tests=40, seed=1)
    assert ours.alarmed_suites == 0
    assert ours.inconclusive_tests > 20
    assert ours.unsettled[0.10] > 0.5


def test_made_noise_is_always_the_same():
    assert all(made(name, tests=1, runs=2) == made(name, tests=1, runs=2) for name in MADE)


def test_a_deleted_test_leaves_the_other():
    text = _without_first(MEASURED.format(name="slow"))
    assert "test_slow" not in text
    assert "def test_other" in text
    compile(text, "test_it.py", "exec")
