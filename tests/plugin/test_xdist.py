"""Suites under pytest-xdist: boards are measured by one worker at a time, and every record reaches the one report."""

from __future__ import annotations

import itertools

import pytest

from pytest_tpf.measure.exclusive import exclusive
from pytest_tpf.report.validate import validate
from tests.standin import Board, Standin, StandinUnavailable

UUID = "GPU-33333333-4444-5555-6666-777777777777"

MANY = """
    import os, time

    class TestIt:
        @pytest.mark.tpf(boundary="device", max_output_tokens=8, min_quality=0.5)
        @pytest.mark.parametrize("n", range(2))
        def test_method(self, model, n, tpf): work(model, tpf)

    @pytest.mark.tpf(boundary="device", max_output_tokens=8, min_quality=0.5)
    @pytest.mark.xdist_group("board")
    @pytest.mark.parametrize("n", range(2))
    def test_function(model, n, tpf): work(model, tpf)

    def test_plain(): pass

    def work(model, tpf):
        with tpf.measure():
            start_s = time.perf_counter()
            model.generate(seconds=0.2)
            tpf.extra["span"] = [start_s, time.perf_counter()]
            tpf.extra["worker"] = os.environ.get("PYTEST_XDIST_WORKER", "")
        tpf.quality(0.9)
"""
NAMES = sorted([f"TestIt::test_method[{n}]" for n in range(2)] + [f"test_function[{n}]" for n in range(2)])

SMALL = """
    @pytest.mark.tpf(max_output_tokens=8)
    @pytest.mark.parametrize("n", range(3))
    def test_it(model, n): model.generate()
"""


@pytest.fixture
def plugged(monkeypatch, tmp_path):
    try:
        environment = Standin(boards=(Board(uuid=UUID, base_w=300.0, counter_period_s=0.02),)).environment(tmp_path)
    except StandinUnavailable as why:
        pytest.skip(str(why))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


def names_of(suite) -> list[str]:
    assert validate(suite.report()) == []
    return sorted(test["nodeid"].partition("::")[2] for test in suite.report()["tests"])


def took_turns(tests) -> bool:
    spans = sorted(test["extra"]["span"] for test in tests)
    return all(later[0] >= earlier[1] for earlier, later in itertools.pairwise(spans))


@pytest.mark.parametrize(
    "dist", ["load", *(pytest.param(rare, marks=pytest.mark.stress) for rare in ("loadfile", "loadgroup")), "loadscope", "worksteal"]
)
def test_workers_take_turns_and_make_one_report(suite, plugged, dist):
    suite.run(MANY, "-n", "3", "--dist", dist, subprocess=True).assert_outcomes(passed=5)
    assert names_of(suite) == NAMES
    tests = suite.report()["tests"]
    assert took_turns(tests)
    for test in tests:
        if test["energy"]["device_j"] is None:  # a machine too busy to read the counter in time says so
            assert test["energy"]["reasons"]
        else:
            assert test["energy"]["device_j"] == pytest.approx(300.0 * test["service"]["duration_s"], rel=0.03)
        assert [budget["verdict"] for budget in test["budgets"]] == ["pass", "pass"]


@pytest.mark.stress
def test_each_worker_measures_each_test_in_its_turn(suite, plugged):
    suite.run(MANY, "-n", "2", "--dist", "each", subprocess=True).assert_outcomes(passed=10)
    assert names_of(suite) == sorted(NAMES * 2)
    tests = suite.report()["tests"]
    assert took_turns(tests)
    assert {(test["nodeid"].partition("::")[2], test["extra"]["worker"]) for test in tests} == set(itertools.product(NAMES, ["gw0", "gw1"]))


def test_a_board_that_somebody_else_keeps_leaves_tokens_and_quality(suite, plugged):
    hasty = "\nimport pytest_tpf.session\npytest_tpf.session.LOCK_LIMIT_S = pytest_tpf.session.IMPATIENT_S = 0.2\n"
    (suite.path / "conftest.py").write_text((suite.path / "conftest.py").read_text() + hasty)
    with exclusive([UUID], 1.0):
        suite.run(
            """
            @pytest.mark.tpf(boundary="device", max_joules=1000, max_output_tokens=8, min_quality=0.5)
            @pytest.mark.parametrize("n", range(3))
            def test_it(model, n, tpf):
                with tpf.measure(): model.generate()
                tpf.quality(0.9)
        """,
            "-n",
            "2",
            subprocess=True,
        ).assert_outcomes(passed=3)
    assert names_of(suite) == [f"test_it[{n}]" for n in range(3)]
    for test in suite.report()["tests"]:
        assert (test["energy"]["it_j"], test["energy"]["reasons"]) == (None, ["contended"])
        assert [budget["verdict"] for budget in test["budgets"]] == ["not_measured", "pass", "pass"]


@pytest.mark.parametrize(
    "options",
    [
        ["-n", "0"],
        ["-p", "no:xdist"],
        pytest.param(["--dist", "no"], marks=pytest.mark.stress),
        pytest.param(["--dist", "no", "-n", "0"], marks=pytest.mark.stress),
        pytest.param(["-n", "4", "--maxprocesses", "1"], marks=pytest.mark.stress),
        pytest.param(["-n", "1"], marks=pytest.mark.stress),
    ],
    ids=" ".join,
)
def test_one_process_makes_the_same_report(suite, options):
    suite.run(SMALL, *options, subprocess=True).assert_outcomes(passed=3)
    assert names_of(suite) == [f"test_it[{n}]" for n in range(3)]


@pytest.mark.parametrize("dist", ["load", pytest.param("worksteal", marks=pytest.mark.stress)])
def test_a_run_that_stops_at_the_first_failure_keeps_what_was_measured(suite, dist):
    result = suite.run(
        """
        @pytest.mark.tpf(max_output_tokens=2)
        def test_a(model): model.generate()

        @pytest.mark.tpf
        @pytest.mark.parametrize("n", range(20))
        def test_b(model, n): model.generate(seconds=0.2)
    """,
        "-n",
        "2",
        "--dist",
        dist,
        "-x",
        subprocess=True,
    )
    assert result.ret == pytest.ExitCode.INTERRUPTED
    names = names_of(suite)
    assert "test_a" in names
    assert len(names) == len(set(names)) < 21
    outcomes = result.parseoutcomes()
    assert len(names) == outcomes.get("passed", 0) + outcomes["failed"]


# Where scopes are dealt out, xdist 3.8 runs the deadly test again in each new worker, or hangs (its issues 1323, 1327 and 1378).
WAYS_TO_DIE = {
    "os._exit": ("os._exit(1)", ()),
    "SIGKILL": ("os.kill(os.getpid(), 9)", ("--dist", "worksteal")),
    "in a group": ("os._exit(1)", ("--dist", "loadgroup", "--max-worker-restart", "0")),
}


@pytest.mark.parametrize("way", ["SIGKILL", *(pytest.param(way, marks=pytest.mark.stress) for way in ("os._exit", "in a group"))])
def test_the_test_whose_worker_died_is_named(suite, way):
    death, options = WAYS_TO_DIE[way]
    result = suite.run(
        f"""
        import os, time

        @pytest.mark.tpf
        @pytest.mark.xdist_group("first")
        def test_a(model): model.generate()

        @pytest.mark.tpf
        @pytest.mark.xdist_group("second")
        def test_b(model):
            time.sleep(2)  # the others are done
            model.generate()
            {death}
    """,
        "-n",
        "2",
        *options,
        subprocess=True,
    )
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert names_of(suite) == ["test_a"]
    result.stdout.fnmatch_lines(["tpf: test_it.py::test_b was not measured: the worker that ran it died"])


def test_a_strict_gate_names_the_test_whose_worker_died(suite):
    result = suite.run(
        """
        import os

        @pytest.fixture
        def heavy(): os._exit(1)

        @pytest.mark.tpf
        def test_a(heavy, model): model.generate()

        @pytest.mark.tpf
        def test_b(model): model.generate()
    """,
        "-n",
        "1",
        "--tpf-gate",
        "strict",
        subprocess=True,
    )
    result.stdout.fnmatch_lines(["*tpf::gate*", "*test_it.py::test_a was not measured: the worker that ran it died*"])


@pytest.mark.stress
def test_where_no_worker_lived_the_test_is_named_all_the_same(suite):
    result = suite.run(
        """
        import os

        @pytest.mark.tpf
        def test_a(model): model.generate()

        @pytest.mark.tpf
        def test_b(model): os._exit(1)
    """,
        "-n",
        "1",
        "--max-worker-restart",
        "0",
        subprocess=True,
    )
    assert names_of(suite) == ["test_a"]
    result.stdout.fnmatch_lines(["tpf: test_it.py::test_b was not measured: the worker that ran it died"])


@pytest.mark.stress
def test_a_worker_that_dies_after_the_test_has_lost_nothing(suite):
    result = suite.run(
        """
        import os

        @pytest.fixture
        def deadly():
            yield
            os._exit(1)

        @pytest.mark.tpf
        def test_a(deadly, model): model.generate()
    """,
        "-n",
        "1",
        subprocess=True,
    )
    assert names_of(suite) == ["test_a"]
    assert "was not measured" not in result.stdout.str()


@pytest.mark.stress
def test_a_dead_worker_of_an_unmeasured_test_is_pytests_own_news(suite):
    source = SMALL + "\n    def test_plain():\n        import os\n        os._exit(1)\n"
    result = suite.run(source, "-n", "2", subprocess=True)
    result.assert_outcomes(passed=3, failed=1)
    assert "was not measured" not in result.stdout.str()


def test_a_suite_that_measures_nothing_hears_nothing_of_its_dead_workers(suite):
    result = suite.run("    import os\n    def test_a(): os._exit(1)\n    def test_b(): pass\n", "-n", "1", subprocess=True)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert "tpf: " not in result.stdout.str().partition("replacing")[2]
    assert not (suite.path / "report.json").exists()


def test_the_board_is_free_after_its_worker_died(suite, plugged):
    suite.run(
        """
        import os

        @pytest.mark.tpf(boundary="device")
        def test_a(model):
            model.generate()
            os.kill(os.getpid(), 9)

        @pytest.mark.tpf(boundary="device")
        @pytest.mark.parametrize("n", range(3))
        def test_b(model, n): model.generate()
    """,
        "-n",
        "2",
        subprocess=True,
    )
    assert names_of(suite) == [f"test_b[{n}]" for n in range(3)]
    assert all(test["energy"]["reasons"] != ["contended"] for test in suite.report()["tests"])


def test_a_run_of_workers_that_measured_nothing_fails_the_gate(suite):
    source = """
        @pytest.mark.tpf
        @pytest.mark.skip
        def test_it(model): model.generate()
    """
    for options in ((), ("-n", "2")):
        result = suite.run(source, "--tpf-gate", "strict", *options, subprocess=True)
        assert result.ret == pytest.ExitCode.TESTS_FAILED
        result.stdout.fnmatch_lines(["*nothing was measured: no measured test ran to its end*"])


@pytest.mark.stress
def test_groups_are_no_part_of_a_tests_name(suite):
    source = """
        @pytest.mark.tpf
        @pytest.mark.xdist_group("board")
        @pytest.mark.parametrize("n", ["a@b", "c"])
        def test_it(model, n): model.generate()
    """
    suite.run(source, "-n", "2", "--dist", "loadgroup", subprocess=True).assert_outcomes(passed=2)
    grouped = names_of(suite)
    suite.run(source, subprocess=True).assert_outcomes(passed=2)
    assert grouped == names_of(suite) == ["test_it[a@b]", "test_it[c]"]
