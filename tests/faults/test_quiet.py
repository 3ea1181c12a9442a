"""Nothing disturbs the sampler, and the sampler disturbs nothing: edges are kept under load, and boards are read only around windows."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import threading
import time

import pytest

from tests.faults.windows import energies
from tests.standin import Board

BOARD = Board(shape="square", base_w=100.0, swing_w=300.0, period_s=0.7, counter_period_s=0.02)
LENGTH_S = 0.8


def spin(seconds: float = LENGTH_S) -> None:
    """Pure Python: whoever runs this holds the interpreter lock."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        sum(range(2_000))


def hold_the_lock():
    spin()


def sixteen_threads():
    threads = [threading.Thread(target=spin) for _ in range(16)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]


def forks():
    children = []
    for _ in range(8):
        child = os.fork()
        if child == 0:
            spin(0.1)
            os._exit(0)
        children.append(child)
        time.sleep(0.05)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 8


def spawns():
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=time.sleep, args=(0.05,)) for _ in range(2)]
    [worker.start() for worker in workers]
    [worker.join() for worker in workers]


@pytest.mark.parametrize("load", [hold_the_lock, sixteen_threads, forks, spawns])
def test_edges_are_kept_whatever_the_test_does(plugged, sampler, load):
    plugged(BOARD)
    mine = sampler("nvml")
    assert mine.arm() == ()
    t0 = time.perf_counter()
    load()
    t1 = time.perf_counter()
    recording = mine.collect(t0, t1)
    energy = energies(recording, (t0, t1))["gpu:0"]
    assert energy.joules is not None, energy.reasons
    assert abs(energy.joules - BOARD.true_energy_j(t0, t1)) <= 2 * energy.half_width_j
    edges = [edge for edge in recording.traces[0].edges if t0 < edge.t < t1]
    refreshes = (t1 - t0) / BOARD.counter_period_s
    assert len(edges) >= 0.3 * refreshes  # a reader that shares the interpreter lock with the test sees a tenth of them


def calls(path) -> list[tuple[float, str]]:
    return [(float(t), name) for name, t in (line.split() for line in path.read_text().splitlines())]


def test_boards_are_read_around_windows_only(suite, plugged, tmp_path):
    """Not before the first measured test, and not during a slow test that nobody measures."""
    log = tmp_path / "calls"
    plugged(Board(base_w=300.0, counter_period_s=0.02), log=str(log))
    suite.run("""
        import json, pathlib, time

        spans = {}

        def rest(name, first, seconds):
            time.sleep(first)  # meters are opened, or linger for the next measured test
            begin = time.perf_counter()
            time.sleep(seconds)
            spans[name] = [begin, time.perf_counter()]
            pathlib.Path("spans.json").write_text(json.dumps(spans))

        def test_before(): rest("before", 0.0, 0.4)

        @pytest.mark.tpf(boundary="device")
        def test_measured(model): model.generate(seconds=0.2)

        def test_between(): rest("between", 1.7, 0.8)

        @pytest.mark.tpf(boundary="device")
        def test_measured_again(model, tpf):
            with tpf.measure():
                spans["window"] = [time.perf_counter(), time.perf_counter() + 0.2]
                model.generate(seconds=0.2)

        def test_after(): rest("after", 1.7, 0.3)
    """).assert_outcomes(passed=5)
    spans = json.loads((suite.path / "spans.json").read_text())
    found = calls(log)
    during = {name: [call for call in found if begin <= call[0] <= end] for name, (begin, end) in spans.items()}
    assert {name: len(during[name]) for name in ("before", "between", "after")} == {"before": 0, "between": 0, "after": 0}
    assert "nvmlDeviceGetTotalEnergyConsumption" in {name for _, name in during["window"]}
    assert [test["energy"]["valid"] for test in suite.report()["tests"]] == [True, True]


@pytest.mark.stress
def test_four_workers_take_turns_on_one_board(suite, plugged):
    """What a test measured on the board is its own: no two windows overlap, and every energy is the board's over its window."""
    board = Board(base_w=100.0, shape="square", swing_w=200.0, period_s=0.37, counter_period_s=0.02)
    plugged(board)
    suite.run(
        """
        import time

        @pytest.mark.tpf(boundary="device")
        @pytest.mark.parametrize("n", range(8))
        def test_it(model, n, tpf):
            begin = time.perf_counter()
            with tpf.measure():
                model.generate(seconds=0.25)
            tpf.extra["span"] = [begin, time.perf_counter()]
    """,
        "-n",
        "4",
        subprocess=True,
    ).assert_outcomes(passed=8)
    tests = suite.report()["tests"]
    spans = sorted(test["extra"]["span"] for test in tests)
    assert [pair for pair in itertools.pairwise(spans) if pair[1][0] < pair[0][1]] == []
    for test in tests:
        begin, end = test["extra"]["span"]
        energy = test["energy"]
        assert energy["valid"], energy["reasons"]
        # The span lies just around the window, which is not in the report: some milliseconds at 300 W at most.
        slack_j = 300.0 * (end - begin - test["service"]["duration_s"])
        assert abs(energy["device_j"] - board.true_energy_j(begin, end)) <= 2 * energy["uncertainty_j"] + slack_j
