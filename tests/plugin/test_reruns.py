"""Tests that pytest-rerunfailures runs again: every attempt is a row, and what was spent is judged by the first that told it."""

from __future__ import annotations

import re

import pytest

from pytest_tpf.report.validate import validate
from tests.conftest import neighbours_off
from tests.standin import Board, Standin, StandinUnavailable

UUID = "GPU-44444444-5555-6666-7777-888888888888"

HEAD = """
    import pathlib

    def attempt():
        # Counted in a file: a worker that died remembers nothing.
        path = pathlib.Path("attempts.txt")
        path.write_text(path.read_text() + "x" if path.exists() else "x")
        return len(path.read_text())
"""


class Reruns:
    """Runs a suite with reruns and gives the attempts' rows, in order."""

    def __init__(self, suite):
        self.suite = suite

    def __call__(self, source, *options):
        self.result = self.suite.run(HEAD + source, *options, subprocess=True)
        assert validate(self.suite.report()) == []
        return self.suite.report()["tests"]


@pytest.fixture
def reruns(suite, monkeypatch):
    monkeypatch.setenv("PYTEST_ADDOPTS", neighbours_off("rerunfailures"))
    return Reruns(suite)


SERIAL, WORKERS = (), ("-n", "2")
both = pytest.mark.parametrize("how", [SERIAL, pytest.param(WORKERS, marks=pytest.mark.stress)], ids=["serial", "-n 2"])


def verdicts(row):
    return {budget["metric"]: budget["verdict"] for budget in row["budgets"]}


@both
def test_every_attempt_is_a_row_with_its_energy(reruns, suite, how):
    rows = reruns(
        """
    @pytest.mark.tpf(max_joules=1000)
    def test_it(model):
        model.generate(tokens=attempt())
        assert attempt() > 4
    """,
        "--reruns",
        "3",
        *how,
    )
    reruns.result.assert_outcomes(passed=1)
    assert [(row["attempt"], row["outcome"]) for row in rows] == [(1, "rerun"), (2, "rerun"), (3, "passed")]
    assert [row["workload"]["output_tokens"] for row in rows] == [1, 3, 5]
    assert all(row["energy"]["it_j"] > 0 for row in rows)
    assert suite.report()["summary"]["tests"] == 3
    reruns.result.stdout.fnmatch_lines(["test_it *", "test_it (attempt 2) *", "test_it (attempt 3) *"])


@both
def test_a_budget_that_the_first_attempt_broke_stays_broken(reruns, how):
    rows = reruns(
        """
    @pytest.mark.tpf(max_output_tokens=10)
    def test_it(model): model.generate(tokens=20 if attempt() == 1 else 5)
    """,
        "--reruns",
        "1",
        *how,
    )
    reruns.result.assert_outcomes(failed=1)
    reruns.result.stdout.fnmatch_lines(
        ["*output_tokens_per_request 20 tokens/request > 10: 100.0% over max_output_tokens=10, in its first attempt (of 2)"]
    )
    assert [row["outcome"] for row in rows] == ["rerun", "failed"]
    assert [row["workload"]["output_tokens"] for row in rows] == [20, 5]
    assert [row["budgets"][0]["attempt"] for row in rows] == [None, 1]
    assert [row["budgets"][0]["actual"] for row in rows] == [20, 20]


def test_energy_is_judged_by_the_first_attempt(reruns, monkeypatch, tmp_path):
    try:
        environment = Standin(boards=(Board(uuid=UUID, base_w=300.0, counter_period_s=0.02),)).environment(tmp_path)
    except StandinUnavailable as why:
        pytest.skip(str(why))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    rows = reruns(
        """
    @pytest.mark.tpf(boundary="device", max_joules=500, max_power_w=1000)
    def test_it(model): model.generate(seconds=2 if attempt() == 1 else 0.2)
    """,
        "--reruns",
        "2",
    )
    reruns.result.assert_outcomes(failed=1)
    reruns.result.stdout.fnmatch_lines(["*over max_joules=500 at boundary device*, in its first attempt (of 3)"])
    assert [verdicts(row) for row in rows] == [{"joules": "fail", "power_w": "pass"}] * 3
    assert rows[0]["energy"]["it_j"] > 500 > rows[2]["energy"]["it_j"]
    assert rows[2]["budgets"][0]["actual"] == rows[0]["energy"]["it_j"]


@both
def test_a_later_attempt_that_spends_more_does_not_break_what_the_first_kept(reruns, suite, how):
    rows = reruns(
        """
    @pytest.mark.tpf(max_output_tokens=10)
    def test_it(model):
        n = attempt()
        model.generate(tokens=20 if n > 1 else 5)
        assert n > 1
    """,
        "--reruns",
        "1",
        *how,
    )
    reruns.result.assert_outcomes(passed=1)
    assert [row["workload"]["output_tokens"] for row in rows] == [5, 20]
    assert [(row["budgets"][0]["verdict"], row["budgets"][0]["attempt"]) for row in rows] == [("pass", None), ("pass", 1)]
    assert suite.report()["summary"]["failed_budgets"] == 0


def test_quality_and_service_are_judged_by_the_latest_attempt(reruns):
    rows = reruns(
        """
    @pytest.mark.tpf(min_quality=0.5, max_e2e_s=10, max_output_tokens=100)
    def test_it(model, tpf):
        n = attempt()
        with tpf.measure(): model.generate()
        tpf.quality(0.2 if n == 1 else 0.8)
    """,
        "--reruns",
        "1",
    )
    reruns.result.assert_outcomes(passed=1)
    assert [verdicts(row)["quality"] for row in rows] == ["fail", "pass"]
    assert [budget["attempt"] for budget in rows[1]["budgets"] if budget["metric"] in ("quality", "e2e_p95_s")] == [None, None]


@both
def test_an_attempt_that_raised_before_anything_was_measured_decides_nothing(reruns, how):
    rows = reruns(
        """
    @pytest.mark.tpf(max_output_tokens=10)
    def test_it(model):
        assert attempt() > 1
        model.generate(tokens=20)
    """,
        "--reruns",
        "1",
        *how,
    )
    reruns.result.assert_outcomes(failed=1)
    assert [(row["attempt"], row["outcome"]) for row in rows] == [(2, "failed")]
    assert "in its first attempt" not in reruns.result.stdout.str()


def test_a_fixture_that_fails_once_costs_an_attempt_and_no_row(reruns):
    rows = reruns(
        """
    @pytest.fixture
    def shaky(): assert attempt() > 1

    @pytest.mark.tpf(max_output_tokens=10)
    def test_it(shaky, model): model.generate()
    """,
        "--reruns",
        "1",
    )
    reruns.result.assert_outcomes(passed=1)
    assert [(row["attempt"], row["outcome"]) for row in rows] == [(2, "passed")]


def test_a_teardown_that_fails_makes_the_attempt_one_that_was_rerun(reruns):
    rows = reruns(
        """
    @pytest.fixture
    def shaky():
        yield
        assert attempt() > 1

    @pytest.mark.tpf
    def test_it(shaky, model): model.generate()
    """,
        "--reruns",
        "1",
    )
    assert [(row["attempt"], row["outcome"]) for row in rows] == [(1, "rerun"), (2, "passed")]


def test_the_markers_and_filters_of_the_plugin_work(reruns):
    rows = reruns(
        """
    @pytest.mark.flaky(reruns=2)
    @pytest.mark.tpf
    def test_it(model):
        model.generate()
        assert attempt() > 2, "flaky"

    @pytest.mark.tpf
    def test_plain(model):
        model.generate()
        raise ValueError("not one of those")
    """,
        "--reruns",
        "1",
        "--reruns-delay",
        "0.01",
        "--only-rerun",
        "flaky",
    )
    reruns.result.assert_outcomes(passed=1, failed=1)
    assert [(row["nodeid"][12:], row["attempt"], row["outcome"]) for row in rows] == [
        ("test_it", 1, "rerun"),
        ("test_it", 2, "rerun"),
        ("test_it", 3, "passed"),
        ("test_plain", 1, "failed"),
    ]


def test_a_contended_attempt_decides_nothing(reruns):
    # Its tokens are known all the same, and decide.
    rows = reruns(
        """
    @pytest.mark.tpf(max_joules=1000, max_output_tokens=10)
    def test_it(model, request):
        import pytest_tpf.measuring as ours
        if attempt() == 1:
            request.node.stash[ours.MEASUREMENT].contended = ("cpu:0",)
            model.generate(tokens=5)
            assert False
        model.generate(tokens=20)
    """,
        "--reruns",
        "1",
    )
    reruns.result.assert_outcomes(passed=1)
    assert [verdicts(row) for row in rows] == [
        {"joules": "not_measured", "output_tokens_per_request": "pass"},
        {"joules": "pass", "output_tokens_per_request": "pass"},
    ]
    assert [budget["attempt"] for budget in rows[1]["budgets"]] == [None, 1]


@pytest.mark.stress
def test_a_rerun_after_a_worker_died_is_measured(reruns):
    rows = reruns(
        """
    import os

    @pytest.mark.tpf
    def test_it(model):
        model.generate()
        if attempt() == 1: os._exit(1)
    """,
        "--reruns",
        "1",
        "-n",
        "1",
    )
    assert [(row["outcome"], row["workload"]["output_tokens"]) for row in rows] == [("passed", 8)]
    assert "was not measured" not in reruns.result.stdout.str()


def test_a_worker_that_dies_between_two_attempts_launders_nothing(reruns):
    rows = reruns(
        """
    import os

    @pytest.mark.tpf(max_output_tokens=10)
    def test_it(model):
        n = attempt()
        if n == 2: os._exit(1)
        model.generate(tokens=20 if n == 1 else 5)
    """,
        "--reruns",
        "3",
        "-n",
        "1",
    )
    assert [(row["attempt"], row["outcome"], row["workload"]["output_tokens"]) for row in rows] == [(1, "rerun", 20), (1, "passed", 5)]
    assert reruns.result.ret == pytest.ExitCode.TESTS_FAILED
    said = "test_it.py::test_it passed when it was run again, but an earlier attempt had broken output_tokens_per_request"
    reruns.result.stdout.fnmatch_lines(["*tpf::gate*", said])


def test_junit_has_each_attempt_with_its_own_figures(reruns, suite):
    reruns(
        """
    @pytest.mark.tpf
    def test_it(model):
        model.generate()
        assert attempt() > 1
    """,
        "--reruns",
        "1",
        "--tpf-junit-properties",
        "--junit-xml",
        "junit.xml",
    )
    text = (suite.path / "junit.xml").read_text()
    cases = text.split("<testcase")[1:]
    assert [case.count('name="tpf_joules_per_token"') for case in cases] == [1, 1]
    assert len(set(re.findall(r'name="tpf_e2e_p50_s" value="(.*?)"', text))) == 2
