"""``--tpf-gate``: what makes a run red, in the exit code, JUnit and the last line alike; what vanished is never a pass."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from tests.plugin.conftest import INI
from tests.plugin.gated import BASELINE, GRADE, MARK, ONE, TWO, case

NINE_TIMES = case("one", "joules=180.0")
RENAMED = case("deux")
SKIPPED = case("graded").replace("    tpf(", "    pytest.skip('no time')\n    tpf(")
VANISHED = "test_it.py::test_two vanished: it is in base.json, but wasn't found"
NEW = "not compared: not in the baseline base.json yet: accept it: test_it.py::test_deux"
SILENT = "test_it.py::test_graded gave no figure this time: it is in base.json, and ran or was skipped unmeasured"
ADVICE = 'if this is meant: run again with --tpf-baseline=base.json --tpf-accept "why", and commit base.json*'


def test_what_was_renamed_deleted_or_skipped_is_red_when_strict(gate):
    result = gate.compare(ONE + RENAMED + SKIPPED, "--tpf-gate", "strict", "--junit-xml", "junit.xml")
    result.assert_outcomes(passed=2, skipped=1, failed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        ["*tpf::gate*", VANISHED, SILENT, NEW, ADVICE, "FAILED tpf::gate - *", "=* 1 failed, 2 passed, 1 skipped in *"]
    )
    (junit,) = ET.parse(gate.path / "junit.xml").getroot()
    assert {key: junit.get(key) for key in ("tests", "failures", "errors", "skipped")} == {
        "tests": "4",
        "failures": "1",
        "errors": "0",
        "skipped": "1",
    }
    (failure,) = junit.iter("failure")
    for line in (VANISHED, SILENT, NEW):
        assert line in failure.text
    assert gate.verdicts() == {"test_one": "pass", "test_deux": "inconclusive"}


def test_a_test_that_takes_nine_times_as_much_is_red_also_with_workers_and_as_a_warning(gate):
    """pytest-benchmark exits 0 on each: run by workers, renamed, deleted."""
    source = NINE_TIMES + RENAMED + case("three")
    result = gate.compare(source, "-n", "2", "--tpf-gate", "warn", subprocess=True)
    result.assert_outcomes(passed=3, failed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        [
            "*tpf::gate*",
            "test_it.py::test_one regressed: joules_per_token +*, threshold 5%: 2.* -> 1* J/token*",
            ADVICE,
            "*regressed, 2 not compared",
            "tpf: test_it.py::test_graded vanished: *",
            f"tpf: {VANISHED}",
        ]
    )
    by_workers = gate.verdicts()
    result = gate.compare(None, "--tpf-gate", "strict")
    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines(["*tpf::gate*", "test_it.py::test_one regressed: *", "test_it.py::test_graded vanished: *", VANISHED])
    assert gate.verdicts() == by_workers == {"test_one": "fail", "test_deux": "inconclusive", "test_three": "inconclusive"}


def test_a_renamed_test_keeps_its_baseline_under_its_old_id(gate):
    renamed = case("deux", "joules=26.0", MARK + ', labels={"id": "test_it.py::test_two"}')
    result = gate.compare(ONE + renamed + GRADE, "--tpf-gate", "strict")
    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines(["test_it.py::test_deux regressed: joules_per_token +*"])
    assert "vanished: " not in result.stdout.str()
    assert gate.verdicts() == {"test_one": "pass", "test_deux": "fail", "test_graded": "pass"}
    gate.accept(None, "-k", "deux").stdout.fnmatch_lines(["tpf: base.json: 1 test accepted: meant"])
    assert sorted(gate.entries) == ["test_graded", "test_one", "test_two"]
    assert gate.entries["test_two"]["nodeid"] == "test_it.py::test_deux"


NOTHING = "def test_plain(): pass"
ALL_GONE = [f"test_it.py::test_{name} vanished: it is in base.json, but wasn't found" for name in ("graded", "one", "two")]


def test_a_run_in_which_every_measured_test_vanished_is_noticed(gate):
    result = gate.compare(NOTHING)
    result.assert_outcomes(passed=1)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines([f"tpf: {line}" for line in ALL_GONE])
    result = gate.compare(None, "--tpf-gate", "strict")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*tpf::gate*", *ALL_GONE, ADVICE])


@pytest.mark.parametrize(
    "options",
    [["-k", "plain"], ["test_it.py::test_plain"], ["--deselect", "test_it.py::test_"], ["--ignore", "test_it.py"], ["other"]],
    ids=" ".join,
)
def test_what_nobody_asked_for_has_not_vanished(gate, options):
    gate.write(f"{NOTHING}\n" + ONE + TWO + GRADE)
    (gate.path / "other").mkdir()
    (gate.path / "other" / "test_other.py").write_text("def test_other(): pass")
    result = gate.compare(None, "--tpf-gate", "strict", *options)
    assert result.ret == pytest.ExitCode.OK
    assert "vanished: " not in result.stdout.str()


def test_switched_off_the_gate_asks_for_nothing(suite):
    for options in (["--tpf-baseline", "none.json"], ["--tpf-compare", "--tpf-storage", "postgresql://nowhere/x"], ["--tpf-save"]):
        result = suite.run(ONE.replace("model.generate,", "len, 'x'"), "--tpf-off", "--tpf-gate", "strict", *options)
        result.assert_outcomes(passed=1)
        assert "tpf" not in result.stdout.str().replace("tpf-0", "")
    assert not (suite.path / ".tpf").exists()


@pytest.mark.parametrize("options", [["--help"], ["--markers"], ["--collect-only"], ["--fixtures"]], ids=" ".join)
def test_what_runs_no_test_needs_no_baseline(suite, options):
    (suite.path / "pytest.ini").write_text(f"{INI}tpf_baseline = {BASELINE}\n")
    result = suite.run(ONE, *options, subprocess=True)
    assert result.ret == pytest.ExitCode.OK
    assert not result.stderr.str()
