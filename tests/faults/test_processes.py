"""Runs that are interrupted, ended or killed, and tests that fork, spawn, or close what they were given."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pytest_tpf.report.validate import validate
from tests.faults.windows import is_gone
from tests.plugin.conftest import CONFTEST
from tests.standin import Board

BOARD = Board(base_w=300.0, counter_period_s=0.02)
MOST_S = 60.0


def wait_for(path: Path) -> str:
    deadline = time.monotonic() + MOST_S
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    return path.read_text()


LONG = """
    import os, pathlib, time
    from tests.faults.windows import children

    def inside():
        draft = pathlib.Path("draft")
        draft.write_text(" ".join(map(str, children(os.getpid()))))
        draft.rename("inside")

    @pytest.mark.tpf(boundary="device")
    def test_before(model): model.generate(seconds=0.2)

    @pytest.mark.tpf(boundary="device")
    def test_long(model, tpf):
        with tpf.measure():
            model.generate(tokens=5, seconds=0.3)
            inside()
            time.sleep(300)

    @pytest.mark.tpf
    def test_after(model): model.generate()
"""


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (signal.SIGINT, "KeyboardInterrupt"),
        (signal.SIGTERM, "tpf: ended by SIGTERM"),
        pytest.param(signal.SIGHUP, "tpf: ended by SIGHUP", marks=pytest.mark.stress),
    ],
    ids=["SIGINT", "SIGTERM", "SIGHUP"],
)
def test_a_signal_in_a_window_leaves_a_valid_report_with_what_was_measured(suite, plugged, number, says):
    plugged(BOARD)
    suite.write(LONG)
    # under nohup the signal is ignored from the start, and rightly stays so
    as_ever = "default_int_handler" if number is signal.SIGINT else "SIG_DFL"
    heeding = f"import signal, runpy; signal.signal({int(number)}, signal.{as_ever})"
    command = [sys.executable, "-c", f"{heeding}; runpy.run_module('pytest', run_name='__main__')"]
    options = ["-p", "no:cacheprovider", "--tpf-report", "report.json"]
    with subprocess.Popen([*command, *options], cwd=suite.path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        (helper,) = map(int, wait_for(suite.path / "inside").split())
        process.send_signal(number)
        said = process.communicate(timeout=MOST_S)[0]
    assert process.returncode == pytest.ExitCode.INTERRUPTED
    assert says in said
    assert "tpf: report written to report.json" in said
    assert "INTERNALERROR" not in said
    assert validate(suite.report()) == []
    tests = suite.tests()
    assert list(tests) == ["test_before", "test_long"]
    assert tests["test_long"]["outcome"] == "interrupted"
    assert tests["test_long"]["workload"]["output_tokens"] == 5
    for test in tests.values():
        assert test["energy"]["device_j"] == pytest.approx(
            300.0 * (test["service"]["busy_s"] if test is tests["test_before"] else test["service"]["duration_s"]), rel=0.05
        )
    assert is_gone(helper)


@pytest.mark.stress
def test_a_suite_that_handles_sigterm_itself_keeps_its_handler(suite):
    suite.run(
        """
        import os, signal

        seen = []
        signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))

        @pytest.mark.tpf
        def test_it(model):
            model.generate()
            os.kill(os.getpid(), signal.SIGTERM)
            assert seen == [signal.SIGTERM]
    """,
        subprocess=True,
    ).assert_outcomes(passed=1)


@pytest.mark.stress
def test_a_worker_that_is_killed_loses_its_running_test_and_nothing_else(suite, plugged):
    plugged(BOARD)
    result = suite.run(
        """
        import os, pathlib, signal
        from tests.faults.windows import children

        @pytest.mark.tpf(boundary="device")
        @pytest.mark.parametrize("n", range(6))
        def test_it(model, n):
            model.generate(seconds=0.2)
            if n == 2:
                pathlib.Path("orphans").write_text(" ".join(map(str, children(os.getpid()))))
                os.kill(os.getpid(), signal.SIGKILL)
    """,
        "-n",
        "2",
        subprocess=True,
    )
    result.assert_outcomes(passed=5, failed=1)
    result.stdout.fnmatch_lines(["*worker 'gw*' crashed while running 'test_it.py::test_it?2?'*"])
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    report = suite.report()
    assert validate(report) == []
    assert sorted(test["params"]["n"] for test in report["tests"]) == ["0", "1", "3", "4", "5"]
    assert all(test["energy"]["valid"] for test in report["tests"])
    (orphan,) = map(int, (suite.path / "orphans").read_text().split())
    deadline = time.monotonic() + 20
    while not is_gone(orphan) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert is_gone(orphan)


AT_ONCE = """
import pytest_tpf.checkpoint
pytest_tpf.checkpoint.EVERY_S, pytest_tpf.checkpoint._COST_SHARE = 0.0, 1e9
"""


def test_a_run_that_is_killed_leaves_what_was_measured_beside_its_report(suite, plugged):
    """Killed for memory, or by a time limit that ends the process: nothing runs any more that could write a report."""
    plugged(BOARD)
    (suite.path / "report.json").write_text("older")
    (suite.path / "conftest.py").write_text(CONFTEST + AT_ONCE)
    killed = """
        import os, signal

        @pytest.mark.tpf(boundary="device")
        @pytest.mark.parametrize("n", range(3))
        def test_it(model, n):
            model.generate(seconds=0.2)
            if n == 2 and {kill}:
                os.kill(os.getpid(), signal.SIGKILL)
    """
    result = suite.run(killed.format(kill=True), subprocess=True)
    assert result.ret == -signal.SIGKILL
    assert (suite.path / "report.json").read_text() == "older"
    partial = json.loads((suite.path / "report.json.partial").read_text())
    assert validate(partial) == []
    assert [test["params"]["n"] for test in partial["tests"]] == ["0", "1"]
    assert all(test["energy"]["valid"] for test in partial["tests"])
    suite.run(killed.format(kill=False), subprocess=True).assert_outcomes(passed=3)
    assert len(suite.report()["tests"]) == 3
    assert not (suite.path / "report.json.partial").exists()


def test_a_time_limit_that_raises_in_the_test_keeps_what_was_measured(suite, plugged):
    """As pytest-timeout does it by default: an exception out of a signal handler."""
    plugged(BOARD)
    suite.run("""
        import signal, time

        @pytest.mark.tpf(boundary="device")
        def test_it(model, tpf):
            signal.signal(signal.SIGALRM, lambda number, frame: pytest.fail("Timeout >0.5s"))
            signal.setitimer(signal.ITIMER_REAL, 0.5)
            with tpf.measure():
                model.generate(tokens=5, seconds=0.2)
                time.sleep(300)
    """).assert_outcomes(failed=1)
    test = suite.test()
    assert test["outcome"] == "failed"
    assert test["workload"]["output_tokens"] == 5
    assert test["energy"]["device_j"] == pytest.approx(300.0 * test["service"]["duration_s"], rel=0.05)


def test_an_exception_out_of_two_windows_closes_both_and_keeps_both(suite, plugged):
    plugged(BOARD)
    suite.run("""
        @pytest.mark.tpf(boundary="device")
        def test_it(model, tpf):
            with tpf.measure():
                model.generate(tokens=5, seconds=0.2)
                with tpf.measure():
                    model.generate(tokens=3, seconds=0.2)
                    raise RuntimeError("inside")

        @pytest.mark.tpf(boundary="device")
        def test_next(model): model.generate(seconds=0.2)
    """).assert_outcomes(failed=1, passed=1)
    tests = suite.tests()
    assert tests["test_it"]["outcome"] == "failed"
    assert tests["test_it"]["workload"]["output_tokens"] == 8
    assert tests["test_it"]["energy"]["device_j"] == pytest.approx(300.0 * 0.4, rel=0.2)  # the time in both is counted once
    assert tests["test_next"]["energy"]["valid"]


def test_a_child_that_comes_back_from_the_test_writes_no_report_and_ends(suite, plugged):
    plugged(BOARD)
    result = suite.run(
        """
        import os, time

        PARENT = os.getpid()

        @pytest.mark.tpf(boundary="device")
        def test_forks(model):
            model.generate(tokens=5, seconds=0.2)
            if os.fork() == 0:
                time.sleep(0.5)  # the parent is done with this test when the child comes back

        @pytest.mark.tpf(boundary="device")
        def test_next(model): model.generate(seconds=0.2)

        def test_outlives_the_child():
            if os.getpid() == PARENT:
                assert os.wait()[1] == 0
    """,
        subprocess=True,
    )
    assert result.ret == 0
    tests = suite.tests()
    assert validate(suite.report()) == []
    assert list(tests) == ["test_forks", "test_next"]
    assert all(test["energy"]["valid"] for test in tests.values())
    assert "Traceback" not in result.stdout.str()


@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.stress)])
def test_work_in_child_processes_is_measured_and_they_leave_nothing(suite, plugged, method):
    plugged(BOARD)
    result = suite.run(
        f"""
        import multiprocessing, time

        def work(seconds):
            end = time.perf_counter() + seconds
            while time.perf_counter() < end:
                pass

        @pytest.mark.tpf(boundary="device")
        def test_it(tpf):
            with tpf.measure() as window:
                context = multiprocessing.get_context({method!r})
                workers = [context.Process(target=work, args=(0.3,)) for _ in range(2)]
                [worker.start() for worker in workers]
                [worker.join() for worker in workers]
                window.count(output_tokens=5)
            assert [worker.exitcode for worker in workers] == [0, 0]
    """,
        subprocess=True,
    )
    result.assert_outcomes(passed=1)
    test = suite.test()
    assert test["energy"]["device_j"] == pytest.approx(300.0 * test["service"]["duration_s"], rel=0.02)


@pytest.mark.stress
def test_a_child_that_lives_on_does_not_keep_the_board_to_itself(suite, plugged):
    plugged(BOARD)
    suite.run(
        """
        import os, signal, time

        children = []

        @pytest.mark.tpf(boundary="device")
        def test_forks(model):
            child = os.fork()
            if child == 0:
                time.sleep(300)
                os._exit(0)
            children.append(child)
            model.generate(seconds=0.2)

        @pytest.mark.tpf(boundary="device")
        def test_next(model): model.generate(seconds=0.2)

        def test_ends_the_child():
            os.kill(children[0], signal.SIGKILL)
    """,
        subprocess=True,
    ).assert_outcomes(passed=3)
    assert [test["energy"]["reasons"] for test in suite.report()["tests"]] == [[], []]


def test_a_test_that_closes_stdout_and_stderr_keeps_its_row(suite, plugged):
    plugged(BOARD)
    result = suite.run(
        """
        import os

        @pytest.mark.tpf(boundary="device")
        def test_closes(model):
            os.close(1)
            os.close(2)
            model.generate(seconds=0.2)

        @pytest.mark.tpf(boundary="device")
        def test_next(model): model.generate(seconds=0.2)
    """,
        subprocess=True,
    )
    result.assert_outcomes(passed=2)
    assert all(test["energy"]["valid"] for test in suite.report()["tests"])


@pytest.mark.stress
def test_with_nobody_to_print_to_the_report_is_written_all_the_same(suite, plugged):
    """``pytest -s`` and a test that closes descriptor 1: pytest itself stumbles over its output then."""
    plugged(BOARD)
    suite.run(
        """
        import os

        @pytest.mark.tpf(boundary="device")
        def test_closes(model):
            model.generate(seconds=0.2)
            os.close(1)
    """,
        "-s",
        subprocess=True,
    )
    assert suite.test()["energy"]["valid"]
    assert validate(suite.report()) == []
