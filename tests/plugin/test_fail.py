"""``--tpf-fail`` and the marker's ``max_regression``: which changes are regressions, and how a run says so."""

from __future__ import annotations

import pytest

from tests.plugin.gated import ALL, GRADE, MARK, TWO, case

WORSE = case("one", "joules=26.0")


def test_thirty_percent_more_fails_the_gate_and_only_that_test(gate):
    result = gate.compare(WORSE + TWO + GRADE)
    result.assert_outcomes(passed=3, failed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        [
            "*tpf::gate*",
            "test_it.py::test_one regressed: joules_per_token +*% (95 % interval +*% to +*%), threshold 5%: * -> 2.* J/token,"
            " 10 rounds (5 of them measured once more) against * of base.json (2 runs)",
            'if this is meant: run again with --tpf-baseline=base.json --tpf-accept "why", and commit base.json*',
            "against base.json: 1 regressed, 2 no worse",
            "FAILED tpf::gate - test_it.py::test_one regressed: joules_per_token +*",
        ]
    )
    assert gate.verdicts() == {"test_one": "fail", "test_two": "pass", "test_graded": "pass"}
    change = gate.changes()["joules_per_token"]
    assert change["change"] == pytest.approx(0.3, abs=0.005)
    low, high = change["ci95"]
    assert 0.25 < low <= change["change"] <= high < 0.35
    assert gate.report()["summary"]["regressions"] == 1


def test_a_marker_is_stricter_or_looser_than_the_run_or_off(gate):
    strict = case("one", "joules=20.8", MARK + ', max_regression="joules_per_token:3%"')
    off = case("two", "joules=26.0", MARK + ', max_regression="off"')
    loose = case("graded", "joules=21.8", MARK + ', max_regression="joules_per_token:10%"')
    gate.compare(strict + off + loose, "--tpf-fail", "joules_per_token:6%").assert_outcomes(passed=3, failed=1)
    assert gate.verdicts() == {"test_one": "fail", "test_two": "pass", "test_graded": "pass"}
    assert {name: gate.changes(name)["joules_per_token"]["threshold"] for name in gate.verdicts()} == {
        "test_one": 0.03,
        "test_two": None,
        "test_graded": 0.10,
    }
    assert gate.changes("test_two")["joules_per_token"]["change"] == pytest.approx(0.3, abs=0.005)


def test_each_metric_has_a_threshold_of_its_own_relative_or_absolute(gate):
    slow = case("one", "pause_s=0.2")
    late = case("two", "first_s=0.02")
    worse = case("graded", then="tpf.quality([True] * 140 + [False] * 60, metric='exact_match')")
    result = gate.compare(slow + late + worse, "--tpf-fail", "joules_per_token:50%,tokens_per_second:40%,ttft_s:0.005,quality:0.01")
    result.assert_outcomes(passed=3, failed=1)
    failed = {name: {metric for metric, change in gate.changes(name).items() if change["verdict"] == "fail"} for name in gate.verdicts()}
    assert failed == {"test_one": {"tokens_per_second"}, "test_two": {"ttft_s"}, "test_graded": {"quality"}}
    result.stdout.fnmatch_lines_random(
        [
            "test_it.py::test_one regressed: tokens_per_second -*%*threshold 40%*",
            "test_it.py::test_two regressed: ttft_s +0.01 s (95 % interval +0.01 s to +0.01 s), threshold 0.005 s: 0.01 -> 0.02 s, *",
            "test_it.py::test_graded regressed: quality -0.25 (95 % interval -0.* to -0.*), threshold 0.01: 0.95 -> 0.7, *",
        ]
    )


def test_what_improved_is_told_and_never_fails(gate):
    result = gate.compare(case("one", "joules=10.0") + TWO + GRADE, "--tpf-gate", "strict")
    result.assert_outcomes(passed=3)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["against base.json: 1 improved, 2 no worse"])
    assert gate.changes()["joules_per_token"]["improved"] is True


def test_what_looked_worse_only_at_first_is_not_red_and_is_said(gate):
    """A job that ran beside the test's first half is no regression of the test."""
    transient = case("one", "30.0, 30.0, 30.0, 30.0, 30.0").replace("model.generate", "model.settling")
    result = gate.compare(transient, "test_it.py::test_one", "--tpf-gate", "strict")
    assert result.ret == pytest.ExitCode.OK
    (change,) = [each for each in gate.test()["regression"]["changes"] if each["metric"] == "joules_per_token"]
    assert change["verdict"] == "pass"
    assert change["reason"].startswith("looked worse at first (+2")
    assert (change["rounds"], gate.test()["regression"]["remeasured_rounds"]) == (5, 5)
    assert len(gate.test()["rounds"]) == 10
    result.stdout.fnmatch_lines(["measured once more: looked worse at first, but not again: test_it.py::test_one"])


def test_too_few_rounds_decide_nothing_and_say_what_is_needed(gate):
    few = case("one", "joules=26.0", 'rounds=2, warmup=0, boundary="device"')
    result = gate.compare(few, "test_it.py::test_one")
    result.assert_outcomes(passed=1)
    line = "test_it.py::test_one inconclusive: joules_per_token +*; too few rounds (n=4, need 5); the smallest change that * seen is *%"
    result.stdout.fnmatch_lines([f"tpf: {line}"])
    assert gate.verdicts() == {"test_one": "inconclusive"}
    result = gate.compare(None, "test_it.py::test_one", "--tpf-gate", "strict")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*tpf::gate*", line])


def test_energy_that_is_not_known_is_not_judged_and_is_no_pass(gate):
    shared = """
def test_one(tpf, model, request):
    import pytest_tpf.measuring as ours
    request.node.stash[ours.MEASUREMENT].contended = ("gpu:0",)
    tpf(model.generate)
"""
    result = gate.compare(f"@pytest.mark.tpf({MARK}){shared}" + TWO + GRADE, "--tpf-gate", "strict")
    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines(["test_it.py::test_one not measured: joules_per_token, threshold 5%: unknown now: contended"])
    assert gate.verdicts() == {"test_one": "not_measured", "test_two": "pass", "test_graded": "pass"}


def test_off_compares_and_judges_nothing(gate):
    gate.compare(WORSE, "--tpf-fail", "off", "--tpf-gate", "strict").assert_outcomes(passed=1)
    assert gate.verdicts() == {"test_one": "pass"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--tpf-fail", "joules_per_tokn:5%", "--tpf-compare"], "unknown metric 'joules_per_tokn' (did you mean 'joules_per_token'?)"),
        (["--tpf-fail", "ttft_s:-1", "--tpf-compare"], "expected a change above 0 for the worse"),
        (["--tpf-fail", "quality:0.01"], "--tpf-fail needs something to compare with"),
        (["--tpf-accept", "because"], "--tpf-accept renews a baseline: name its file with --tpf-baseline FILE"),
        (["--tpf-baseline", "new.json", "--tpf-accept", " x "], "expected a reason in words"),
        (["--tpf-compare", "--tpf-compare-runs", "0"], "expected a whole number of at least 1"),
    ],
)
def test_mistakes_stop_the_run_before_any_test(suite, options, said):
    result = suite.run(ALL, *options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert said in result.stderr.str()
    assert "Traceback" not in result.stderr.str()
    assert "passed" not in result.stdout.str()
