"""``--tpf-compare``: with what a run is compared, what can't be compared, and ``--tpf-compare-across``."""

from __future__ import annotations

import json
import subprocess

import pytest
import sqlalchemy.dialects.postgresql
import sqlalchemy.dialects.sqlite  # noqa: F401 (its compiled parts can't be imported twice, which runs in one process would do)

from tests.plugin.conftest import INI
from tests.plugin.gated import ONE, case

WORSE = case("one", "joules=26.0")


def test_a_comparison_only_tells_until_a_threshold_is_set(gate):
    gate.run(ONE, "--tpf-save").stdout.fnmatch_lines(["tpf: saved in *.tpf/history.db"])
    result = gate.run(WORSE, "--tpf-compare", "--tpf-gate", "strict")
    result.assert_outcomes(passed=1)
    assert result.ret == pytest.ExitCode.OK
    assert gate.changes()["joules_per_token"]["change"] == pytest.approx(0.3, abs=0.005)
    assert (gate.verdicts(), gate.changes()["joules_per_token"]["threshold"]) == ({"test_one": "pass"}, None)
    result = gate.run(None, "--tpf-compare", "--tpf-fail", "joules_per_token:10%")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(
        ["test_it.py::test_one regressed: joules_per_token +*threshold 10%*10 rounds (5 of them*) against * of latest*"]
    )
    assert "--tpf-accept" not in result.stdout.str()


def test_other_models_and_other_work_are_said_and_not_compared_unless_asked_for(gate):
    changed = case("one", model='model.named(digest="sha256:2")') + case("two", model='model.named(dtype="bfloat16")')
    changed += case("graded", "tokens=12")
    differences = {
        "test_one": "model digest is sha256:2, was sha256:1",
        "test_two": "dtype is bfloat16, was float32",
        "test_graded": "output tokens per request are 12, were 10 (+20.0%)",
    }
    result = gate.compare(changed, "--tpf-gate", "strict")
    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines_random([f"not compared: {text}: test_it.py::{name}" for name, text in differences.items()])
    assert gate.verdicts() == dict.fromkeys(differences, "inconclusive")
    gate.compare(None, "--tpf-gate", "strict", "--tpf-compare-across").assert_outcomes(passed=3)
    assert {name: test["regression"]["remarks"] for name, test in gate.tests().items()} == {
        name: [text] for name, text in differences.items()
    }
    assert set(gate.verdicts().values()) == {"pass"}
    assert gate.changes("test_graded")["joules_per_token"]["change"] == pytest.approx(10 / 12 - 1, abs=0.005)


def test_other_hardware_is_said_and_not_compared_unless_asked_for(gate):
    (old,) = gate.baseline["hardware"]
    gate.plug(power_limit_w=500.0)
    result = gate.compare(ONE, "--tpf-gate", "strict", subprocess=True)
    result.assert_outcomes(passed=1, failed=1)
    said = "not compared: the baseline base.json has it on other hardware only (* 1 x NVIDIA Stand-in 100 at 700 W)*: test_it.py::test_one"
    result.stdout.fnmatch_lines([said])
    gate.plug(name="NVIDIA Stand-in 200")
    gate.compare(None, "--tpf-compare-across", subprocess=True).assert_outcomes(passed=1)
    assert gate.verdicts() == {"test_one": "pass"}
    (remark,) = gate.test()["regression"]["remarks"]
    new = gate.report()["environment"]["hardware_fingerprint"]
    assert remark == f"hardware is {new}, was {old}"


# --- what a reference means (answers are compared: they need no energy) ------------------------------------------------

ANSWERS = """
    @pytest.mark.tpf
    def test_it(model, tpf):
        model.generate()
        tpf.quality([n % 100 < {percent} for n in range(400)], metric="exact_match")
"""
FAIL = ("--tpf-fail", "quality:0.01", "--tpf-meter", "estimate")


def git(suite, *words: str) -> str:
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false", *words]
    return subprocess.run(command, cwd=suite.path, check=True, capture_output=True, text=True).stdout.strip()


def reference_of(suite) -> tuple[float, str | None]:
    regression = suite.test()["regression"]
    (change,) = [each for each in regression["changes"] if each["metric"] == "quality"]
    return change["reference"], regression["reference"]["commit"]


def test_a_reference_is_a_branch_a_commit_a_name_or_a_report(suite):
    git(suite, "init", "-q", "-b", "main")
    (suite.path / ".gitignore").write_text(".tpf\nreport.json\nold.json\n")
    commits = {}
    for branch, percent in {"main": 90, "feature": 80}.items():
        git(suite, "checkout", "-q", "-B", branch)
        suite.write(ANSWERS.format(percent=percent))
        git(suite, "add", "-A")
        git(suite, "commit", "-q", "-m", branch)
        commits[branch] = git(suite, "rev-parse", "HEAD")
        suite.run(None, f"--tpf-save=nightly-{percent}", *FAIL[2:]).assert_outcomes(passed=1)
        (suite.path / "report.json").rename(suite.path / "old.json")
    worse = ANSWERS.format(percent=70)
    for ref, branch in {"main": "main", "nightly-90": "main", commits["main"][:8]: "main", "old.json": "feature"}.items():
        result = suite.run(worse, "--tpf-compare", ref, *FAIL)
        result.assert_outcomes(passed=1, failed=1)
        assert reference_of(suite) == (pytest.approx({"main": 0.9, "feature": 0.8}[branch]), commits[branch])
        result.stdout.fnmatch_lines([f"test_it.py::test_it regressed: quality -0.*against that of {ref}*"])
    result = suite.run(worse, "--tpf-compare=release", *FAIL)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["tpf: not compared: nothing to compare with: *history.db has no release; save runs with --tpf-save: *"])


def test_a_test_that_failed_is_saved_and_no_reference(suite):
    suite.run(ANSWERS.format(percent=90), "--tpf-save", *FAIL[2:]).assert_outcomes(passed=1)
    result = suite.run(ANSWERS.format(percent=99) + "        assert False\n", "--tpf-save=latest-of-all", *FAIL[2:])
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["tpf: saved as latest-of-all in *"])
    suite.run(ANSWERS.format(percent=90), "--tpf-compare", "latest-of-all", *FAIL).assert_outcomes(passed=1)
    assert suite.test()["regression"] is None
    assert suite.run(None, "--tpf-compare", "report.json", *FAIL).ret == pytest.ExitCode.OK


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--tpf-compare", "."], "--tpf-compare .: names tests, it seems: put them first, or write --tpf-compare=."),
        (["--tpf-save", "test_it.py::test_it"], "--tpf-save test_it.py::test_it: names tests, it seems: put them first"),
        (["--tpf-compare", "gone.json"], "gone.json: can't be read: No such file or directory"),
        (["--tpf-compare", "--tpf-storage", "mysql://x"], "--tpf-compare latest: storage 'mysql' is not supported"),
        (["--tpf-compare", "--tpf-storage", "test_it.py"], "--tpf-compare latest: "),
        (["--tpf-compare", "--tpf-baseline", "b.json"], "--tpf-baseline and --tpf-compare: a run is compared with one of them"),
    ],
    ids=["folder", "file", "no report", "no such database", "no database", "two"],
)
def test_a_reference_that_leads_nowhere_stops_the_run_in_one_line(suite, options, said):
    result = suite.run(ANSWERS.format(percent=90), *options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    (line,) = result.stderr.str().strip().splitlines()
    assert said in line
    assert "passed" not in result.stdout.str()


@pytest.mark.stress
def test_the_ini_file_sets_the_gate_and_the_command_line_wins(suite):
    keys = (
        "tpf_save = nightly\ntpf_storage = sqlite:///kept/runs.db\ntpf_fail = quality:0.01\ntpf_compare = nightly\ntpf_compare_runs = 1\n"
    )
    (suite.path / "pytest.ini").write_text(INI + keys + "tpf_compare_across = true\n")
    suite.run(ANSWERS.format(percent=90), *FAIL[2:]).assert_outcomes(passed=1)
    assert (suite.path / "kept" / "runs.db").is_file()
    result = suite.run(ANSWERS.format(percent=70), "--tpf-save=worse", *FAIL[2:])
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*quality -0.2*against that of nightly*", "tpf: saved as worse in *runs.db"])
    suite.run(None, "--tpf-compare", "worse", *FAIL[2:]).assert_outcomes(passed=1)
    suite.run(None, "--tpf-baseline", "b.json", "--tpf-accept", "first one", *FAIL[2:]).assert_outcomes(passed=1)
    assert json.loads((suite.path / "b.json").read_text())["hardware"]
