"""``--tpf-save`` and ``--tpf-storage``: the run is kept, and a history that can't be used is found out early and costs nothing measured."""

from __future__ import annotations

import psycopg  # noqa: F401 (see below)
import pytest
import sqlalchemy.dialects.postgresql
import sqlalchemy.dialects.sqlite  # noqa: F401 (its compiled parts can't be imported twice, which runs in one process would do)

from pytest_tpf.history.storage import open_store
from pytest_tpf.report.validate import validate

MANY = """
    @pytest.mark.tpf
    @pytest.mark.parametrize("n", range(3))
    def test_it(model, n):
        model.generate()
        assert n != 1
"""
HISTORY = ".tpf/history.db"


def saved(suite, url: str = f"sqlite:///{HISTORY}") -> list[tuple[str | None, str, int]]:
    with open_store(url, suite.path, create=False) as store:
        return [(run.name, run.report_id, run.tests) for run in store.runs()]


def test_every_run_is_saved_whole_also_one_that_failed(suite):
    result = suite.run(MANY, "--tpf-save", "nightly", "-n", "2", subprocess=True)
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines([f"tpf: saved as nightly in *{HISTORY}"])
    assert saved(suite) == [("nightly", suite.report()["report_id"], 3)]


def test_an_interrupted_run_is_saved_as_far_as_it_came(suite):
    stopped = MANY.replace("assert n != 1", "if n == 1: raise KeyboardInterrupt")
    result = suite.run(stopped, "--tpf-save", subprocess=True)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    with open_store(f"sqlite:///{HISTORY}", suite.path) as store:
        (run,) = store.runs()
        assert [row.data["outcome"] for row in store.tests_of(run)] == ["passed", "interrupted"]


def test_the_history_lies_where_it_is_said(suite):
    below = suite.path / "below"
    below.mkdir()
    suite.write(MANY)
    suite.pytester.chdir()
    suite.run(None, "--tpf-save=a", "--tpf-storage", f"sqlite:///{below}/runs.db").assert_outcomes(passed=2, failed=1)
    assert [name for name, *_ in saved(suite, f"sqlite:///{below}/runs.db")] == ["a"]
    assert not (suite.path / HISTORY).exists()


def test_a_run_that_measured_nothing_says_so(suite):
    result = suite.run("def test_plain(): pass", "--tpf-save", "--tpf-baseline", "b.json", "--tpf-accept", "first baseline")
    result.assert_outcomes(passed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        ["tpf: b.json: no test was measured, so none was accepted", "tpf: no test was measured, so nothing was saved"]
    )
    assert not (suite.path / "b.json").exists()


@pytest.mark.parametrize("options", [["--tpf-save"], ["--tpf-compare"]], ids=" ".join)
@pytest.mark.parametrize(
    ("storage", "said"),
    [
        (f"sqlite:///{HISTORY}", "is not an SQLite database; name another file"),
        ("postgresql+psycopg://me:secret@127.0.0.1:1/none", "127.0.0.1"),
        ("sqlite:////proc/none/runs.db", "/proc/none"),
    ],
    ids=["corrupt", "unreachable", "unwritable"],
)
def test_a_history_that_can_not_be_used_stops_the_run_before_anything_is_measured(suite, options, storage, said):
    (suite.path / ".tpf").mkdir()
    (suite.path / HISTORY).write_text("no database at all, but what somebody wrote\n" * 100)
    result = suite.run(MANY, *options, "--tpf-storage", storage)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    (line,) = result.stderr.str().strip().splitlines()
    assert line.startswith(f"ERROR: {options[0]}")
    assert said in line
    assert "secret" not in line
    assert "passed" not in result.stdout.str()
    assert (suite.path / HISTORY).read_text().startswith("no database at all")


def test_a_history_that_breaks_meanwhile_fails_the_run_and_loses_no_figure(suite):
    suite.run("def test_plain(): pass", "--tpf-save").assert_outcomes(passed=1)
    result = suite.run(
        f"""
        import pathlib

        @pytest.mark.tpf
        def test_it(model):
            model.generate()
            pathlib.Path("{HISTORY}").write_text("somebody's notes " * 1000)
        """,
        "--tpf-save",
    )
    result.assert_outcomes(passed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["test_it *", "tpf: report written to report.json", "tpf: the run was NOT saved: *"])
    assert validate(suite.report()) == []


def test_a_history_that_breaks_meanwhile_decides_nothing(suite):
    answers = """
        @pytest.mark.tpf
        def test_a(model, tpf):
            model.generate()
            tpf.quality([True] * 100)
    """
    suite.run(answers, "--tpf-save").assert_outcomes(passed=1)
    breaks = f"""
        import pathlib

        def test_0():
            pathlib.Path("{HISTORY}").write_text("somebody's notes " * 1000)
    """
    suite.write(breaks + answers)
    result = suite.run(None, "--tpf-compare", "--tpf-fail", "quality:0.01", "--tpf-gate", "strict")
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(["*tpf::gate*", "*history.db: *: test_it.py::test_a"])
    assert suite.test()["regression"]["verdict"] == "inconclusive"
    assert "Traceback" not in result.stdout.str()
