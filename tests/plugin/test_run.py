"""The run as a whole: the report file, interruption, xdist, the table, our own hooks."""

from __future__ import annotations

import json
import os

import pytest

from pytest_tpf.report.read import read_report
from pytest_tpf.report.validate import validate

TWO = """
    @pytest.mark.tpf(max_joules=1000)
    @pytest.mark.parametrize("n", [4, 8])
    def test_it(model, n): model.generate(tokens=n)
"""


def test_the_report_is_valid_and_complete(suite):
    suite.run(TWO).assert_outcomes(passed=2)
    report = read_report(suite.path / "report.json")
    assert validate(report) == []
    assert report["summary"] == {
        "tests": 2,
        "measured": 0,  # estimated only
        "failed_budgets": 0,
        "regressions": 0,
        "total_it_j": pytest.approx(sum(test["energy"]["it_j"] for test in report["tests"])),
        "total_output_tokens": 12,
    }
    assert [test["params"] for test in report["tests"]] == [{"n": "4"}, {"n": "8"}]


def test_parent_folders_are_made(suite):
    suite.write(TWO)
    suite.pytester.runpytest_inprocess("-p", "no:cacheprovider", "--tpf-report", "a/b/c.json").assert_outcomes(passed=2)
    assert json.loads((suite.path / "a/b/c.json").read_text())["summary"]["tests"] == 2


def test_an_unwritable_report_is_said_and_the_run_fails(suite):
    (suite.path / "report.json").mkdir()
    result = suite.run(TWO)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "the report was NOT written" in result.stdout.str()
    assert "Traceback" not in result.stdout.str()


FULL_DISK = """

@pytest.hookimpl(tryfirst=True)
def pytest_tpf_report(config, report):
    # From here on no file may grow beyond 512 bytes ...
    import resource, signal
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (512, resource.RLIM_INFINITY))

def pytest_sessionfinish():
    # ... until the report is written: what pytest prints goes to a file, too.
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
"""


def test_an_older_report_survives_a_full_disk(suite):
    (suite.path / "report.json").write_text('{"old": true}')
    (suite.path / "conftest.py").write_text((suite.path / "conftest.py").read_text() + FULL_DISK)
    result = suite.run(TWO, subprocess=True)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "the report was NOT written" in result.stdout.str()
    assert json.loads((suite.path / "report.json").read_text()) == {"old": True}
    assert [path.name for path in suite.path.iterdir() if path.name.startswith((".report", "report.json."))] == []


BROKEN = """
def pytest_tpf_report(config, report):
    report["tests"][0]["energy"]["it_j"] = {-1: float("nan")}
"""


def test_a_report_that_a_hook_breaks_is_kept_aside(suite):
    (suite.path / "conftest.py").write_text((suite.path / "conftest.py").read_text() + BROKEN)
    result = suite.run(TWO)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["tpf: the report was NOT written: *is invalid: *; what was measured is in *report.json.invalid"])
    assert not (suite.path / "report.json").exists()
    aside = json.loads((suite.path / "report.json.invalid").read_text())
    assert [test["workload"]["output_tokens"] for test in aside["tests"]] == [4, 8]


def test_an_interrupted_run_keeps_what_was_measured(suite):
    result = suite.run(
        """
        @pytest.mark.tpf
        def test_one(model): model.generate()

        @pytest.mark.tpf
        def test_two(model):
            model.generate(tokens=3)
            raise KeyboardInterrupt
    """,
        subprocess=True,
    )
    assert result.ret == pytest.ExitCode.INTERRUPTED
    tests = suite.tests()
    assert tests["test_two"]["outcome"] == "interrupted"
    assert tests["test_two"]["workload"]["output_tokens"] == 3
    assert validate(suite.report()) == []


def test_xdist_makes_the_same_report(suite):
    suite.run("    import tabulate\n" + TWO, "-n", "2", subprocess=True).assert_outcomes(passed=2)
    report = suite.report()
    assert validate(report) == []
    assert sorted(test["nodeid"] for test in report["tests"]) == ["test_it.py::test_it[4]", "test_it.py::test_it[8]"]
    assert report["meters"]
    assert all(test["energy"]["it_j"] for test in report["tests"])


def test_a_worker_that_dies_loses_only_its_running_test(suite):
    result = suite.run(
        """
        import os

        @pytest.mark.tpf
        def test_a(model): model.generate()

        @pytest.mark.tpf
        def test_b(model):
            model.generate()
            os._exit(1)

        @pytest.mark.tpf
        def test_c(model): model.generate()
    """,
        "-n",
        "1",
        subprocess=True,
    )
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert sorted(suite.tests()) == ["test_a", "test_c"]
    assert validate(suite.report()) == []


def test_collect_only_opens_nothing(suite):
    result = suite.run(TWO, "--collect-only")
    assert "estimated" not in result.stdout.str().lower()
    assert not (suite.path / "report.json").exists()


def test_deselected_tests_are_not_expected(suite):
    result = suite.run(TWO + "\n    def test_plain(): pass\n", "-k", "plain", "--tpf-gate", "strict")
    result.assert_outcomes(passed=1, deselected=2)
    assert result.ret == 0


def test_the_table_says_estimated_on_every_row_and_fits_80_columns(suite):
    result = suite.run(TWO)
    lines = result.stdout.str().partition("energy-to-token")[2].splitlines()[1:]
    rows = [line for line in lines if line.startswith("test_it")]
    assert len(rows) == 2
    assert all("est" in row for row in rows)
    assert all(len(line) <= 80 for line in lines if not line.startswith("tpf: report"))
    result.stdout.fnmatch_lines(["tpf: cpu:0 ESTIMATED by *"])


def test_no_helper_process_outlives_the_run(suite):
    suite.run(TWO, subprocess=True)
    leftovers = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                command = file.read()
            with open(f"/proc/{pid}/cwd/report.json", "rb"):
                leftovers.append(command)
        except OSError:
            continue
    assert not [command for command in leftovers if str(suite.path).encode() in command]


def test_our_hooks_see_records_and_the_report(suite):
    (suite.path / "conftest.py").write_text(
        (suite.path / "conftest.py").read_text()
        + (
            "\ndef pytest_tpf_record(item, record):\n    record.extra['team'] = 'inference'\n"
            "\ndef pytest_tpf_report(config, report):\n    for test in report['tests']:\n        test['labels']['ticket'] = 'T-1'\n"
        )
    )
    suite.run(TWO)
    assert all(test["extra"] == {"team": "inference"} and test["labels"] == {"ticket": "T-1"} for test in suite.report()["tests"])


def test_extra_that_is_not_json_is_told_and_the_rest_kept(suite):
    result = suite.run("""
        @pytest.mark.tpf(rounds=1)
        def test_it(tpf, model):
            tpf(model.generate)
            tpf.extra["object"] = object()
            tpf.extra["good"] = [1, 2.5, "x"]
    """)
    result.assert_outcomes(passed=1)
    extra = suite.test()["extra"]
    assert extra["good"] == [1, 2.5, "x"]
    assert isinstance(extra["object"], str)
