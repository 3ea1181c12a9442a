"""``--tpf-baseline`` and ``--tpf-accept``: the reviewed file, what renews it and what doesn't."""

from __future__ import annotations

import copy
import json

import pytest

from tests.conftest import neighbours_off
from tests.plugin.conftest import INI
from tests.plugin.gated import BASELINE, GRADE, MARK, ONE, TWO, case

MORE = case("one", "joules=26.0")
ELSEWHERE = "0123456789abcdef"


def test_what_ran_and_agreed_with_itself_is_renewed_and_nothing_else(gate):
    before = gate.baseline
    (fingerprint,) = before["hardware"]
    tests = before["hardware"][fingerprint]["tests"]
    tests["test_it.py::test_gone"] = copy.deepcopy(tests["test_it.py::test_two"]) | {"nodeid": "test_it.py::test_gone"}
    before["hardware"][ELSEWHERE] = {"description": "another machine", "tests": copy.deepcopy(tests)}
    (gate.path / BASELINE).write_text(json.dumps(before))
    failing = case("graded", "joules=26.0", then="assert False, 'wrong answers'")
    result = gate.accept(MORE + TWO + failing, "-k", "not two")
    result.assert_outcomes(passed=1, failed=1, deselected=1)
    result.stdout.fnmatch_lines(
        [
            "tpf: base.json: 1 test accepted: meant",
            "tpf: unused in the baseline (*): test_it.py::test_gone",
            "tpf: not accepted: test_it.py::test_graded: the test failed",
        ]
    )
    after = gate.baseline
    renewed = after["hardware"][fingerprint]["tests"].pop("test_it.py::test_one")
    old = before["hardware"][fingerprint]["tests"].pop("test_it.py::test_one")
    assert after == before
    assert renewed["accepted"]["reason"] == "meant"
    assert old["accepted"]["reason"] == "first baseline"
    # Measured twice: the rounds asked for, and as many again.
    assert [len(run["rounds"]) for run in renewed["runs"]] == [5, 5]
    assert [each["device_j"] for run in renewed["runs"] for each in run["rounds"]] == pytest.approx([26.03] * 10, rel=0.005)
    result = gate.compare(None, "-k", "one")
    result.assert_outcomes(passed=1, deselected=2)
    result.stdout.fnmatch_lines(
        ["against base.json: 1 no worse", "tpf: test_it.py::test_gone vanished: it is in base.json, but wasn't found"]
    )


def test_what_differs_from_itself_is_refused_and_its_entry_stays(gate):
    before = gate.baseline
    unsteady = case("one", "30.0, 30.0, 30.0, 30.0, 30.0").replace("model.generate", "model.settling")
    result = gate.accept(unsteady)
    result.assert_outcomes(passed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        [
            "tpf: base.json: no test accepted, it is as it was",
            "tpf: not accepted: test_it.py::test_one: measured twice, joules_per_token differs by 33.*%: 3.00* and 2.00*; try again",
        ]
    )
    assert gate.baseline == before


def test_workers_measure_twice_and_the_controller_accepts(gate):
    gate.accept(MORE + case("two", "joules=30.0"), "-n", "2", subprocess=True).assert_outcomes(passed=2)
    assert [len(run["rounds"]) for name in ("test_one", "test_two") for run in gate.entries[name]["runs"]] == [5, 5, 5, 5]
    assert gate.entries["test_two"]["runs"][1]["rounds"][4]["device_j"] == pytest.approx(30.03, rel=0.005)
    assert gate.entries["test_graded"]["accepted"]["reason"] == "first baseline"


def test_an_interrupted_run_accepts_what_was_measured_until_then(gate):
    stopped = case("two", "joules=26.0", then="raise KeyboardInterrupt")
    result = gate.accept(MORE + stopped + GRADE, subprocess=True)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(
        ["tpf: base.json: 1 test accepted: meant", "tpf: not accepted: test_it.py::test_two: the test was interrupted"]
    )
    assert "unused" not in result.stdout.str()
    assert {name: entry["accepted"]["reason"] for name, entry in gate.entries.items()} == {
        "test_one": "meant",
        "test_two": "first baseline",
        "test_graded": "first baseline",
    }


RETRIED = f"""
import pathlib
@pytest.mark.tpf({MARK})
def test_one(tpf, model):
    path = pathlib.Path("attempts")
    path.write_text(path.read_text() + "x" if path.exists() else "x")
    tpf(model.generate, joules=26.0 if len(path.read_text()) == 1 else 20.0)
    assert len(path.read_text()) == 2
"""


@pytest.fixture
def with_reruns(monkeypatch):
    monkeypatch.setenv("PYTEST_ADDOPTS", neighbours_off("rerunfailures"))


@pytest.mark.stress
def test_of_a_test_that_is_run_again_the_first_attempt_is_compared(gate, with_reruns):
    gate.compare(RETRIED, "--reruns", "1", subprocess=True).assert_outcomes(passed=1, failed=1)
    first, second = gate.report()["tests"]
    assert (first["outcome"], first["regression"]["verdict"]) == ("rerun", "fail")
    assert (second["outcome"], second["regression"]) == ("passed", None)
    assert gate.report()["summary"]["regressions"] == 1
    before = gate.baseline
    (gate.path / "attempts").unlink()
    result = gate.accept(None, "--reruns", "1", subprocess=True)
    result.stdout.fnmatch_lines(["tpf: not accepted: test_it.py::test_one: the test was run again"])
    assert gate.baseline == before


def test_a_baseline_that_is_not_there_stops_the_run_and_says_how_to_make_it(suite):
    for options in ([], ["-n", "1"]):
        result = suite.run(ONE, "--tpf-baseline", "tpf-baseline.json", *options)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        said = 'ERROR: --tpf-baseline: there is no tpf-baseline.json; make it with --tpf-accept "first baseline"'
        assert result.stderr.str().strip() == said
        assert "passed" not in result.stdout.str()


def test_the_ini_files_baseline_lies_beside_it_wherever_pytest_is_called(suite, monkeypatch):
    (suite.path / "pytest.ini").write_text(f"{INI}tpf_baseline = kept/base.json\n")
    below = suite.path / "below"
    below.mkdir()
    (below / "test_below.py").write_text("import pytest\n@pytest.mark.tpf\ndef test_it(model): model.generate()\n")
    monkeypatch.chdir(below)
    result = suite.run(None, "--tpf-accept", "first baseline")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["tpf: ../kept/base.json: 1 test accepted: first baseline"])
    assert (suite.path / "kept" / "base.json").is_file()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("<<<<<<< HEAD\n{}\n=======\n{}\n>>>>>>> main\n", "base.json: has merge markers in it: keep one side"),
        ('{"schema_version": "1.0.0"}', "base.json: is a report, not a baseline; compare with a report by --tpf-compare"),
        ("[" * 100_000, "base.json: nested too deeply"),
        ('{"baseline_version": "2.0.0"}', "base.json: baseline_version is '2.0.0', expected '1.0.0'; is this a baseline?"),
    ],
    ids=["merge markers", "a report", "depth", "version"],
)
def test_a_file_that_is_no_baseline_stops_the_run_in_one_line_and_stays(suite, content, said):
    (suite.path / BASELINE).write_text(content)
    for options in ([], ["--tpf-accept", "first baseline"]):
        result = suite.run(ONE, "--tpf-baseline", BASELINE, *options)
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        (line,) = result.stderr.str().strip().splitlines()
        assert line.startswith("ERROR: --tpf-baseline: ")
        assert said in line
        assert "passed" not in result.stdout.str()
    assert (suite.path / BASELINE).read_text() == content


def test_a_place_that_can_not_be_written_is_said_and_fails_the_run(suite):
    source = """
        @pytest.mark.tpf
        def test_it(model): model.generate()
    """
    result = suite.run(source, "--tpf-baseline", "/proc/none/b.json", "--tpf-accept", "why not")
    result.assert_outcomes(passed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["tpf: /proc/none/b.json: can't be written: *"])
