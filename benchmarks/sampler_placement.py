"""Where should a sampler live: in a thread of the test process, or in a process of its own?

    python benchmarks/sampler_placement.py [--seconds 4]

Over stand-in boards (1 and 8, counters refreshing every 20 ms), with the main thread idle and with it holding the interpreter lock:

* sweep: the time to read the energy of every board once, in a thread and in a process of its own (median, 95th percentile);
* edge: how far the time taken for an edge is from the true instant of the refresh, for a thread that reads every millisecond and for
  our sampler's process (95th percentile); edges seen: of all refreshes that there were;
* CPU: the share of a core that our sampler's process uses while sampling.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tabulate import tabulate

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pytest_tpf.measure.sampler import Sampler
from pytest_tpf.meters.protocol import MeterOptions
from tests.standin import Board, Standin, many_boards

COUNTER_PERIOD_S = 0.02


class Thread:
    """What most tools do: a thread of the test process that reads every board each millisecond."""

    def __init__(self) -> None:
        import pynvml

        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        self._reads = [lambda handle=handle: pynvml.nvmlDeviceGetTotalEnergyConsumption(handle) for handle in handles]
        self._stop = threading.Event()
        self.sweeps_s: list[float] = []
        self.edges: list[list[float]] = [[] for _ in handles]

    def run(self) -> None:
        """The thread's loop."""
        last = [None] * len(self._reads)
        before = [0.0] * len(self._reads)
        while not self._stop.wait(0.001):
            begin = time.perf_counter()
            for board, read in enumerate(self._reads):
                start, value, end = time.perf_counter(), read(), time.perf_counter()
                if last[board] is not None and value != last[board]:
                    self.edges[board].append((before[board] + end) / 2)
                last[board], before[board] = value, start
            self.sweeps_s.append(time.perf_counter() - begin)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """The thread runs while the context is open."""
        thread = threading.Thread(target=self.run)
        thread.start()
        yield
        self._stop.set()
        thread.join()


def idle(seconds: float) -> None:
    time.sleep(seconds)


def holds_the_lock(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        sum(range(10_000))


def edge_errors_ms(boards: tuple[Board, ...], edges: list[list[float]]) -> list[float]:
    """Distance of each edge from the nearest refresh of its board (ms)."""
    errors = []
    for board, times in zip(boards, edges, strict=True):
        for t in times:
            nearest = min((board.last_refresh_s(t + off) for off in (0.0, COUNTER_PERIOD_S)), key=lambda refresh: abs(refresh - t))
            errors.append(1e3 * abs(t - nearest))
    return errors


def percentile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else float("nan")


def in_a_thread(boards: tuple[Board, ...], main: Callable[[float], None], seconds: float) -> list[object]:
    thread = Thread()
    with thread.running():
        main(seconds)
    sweeps_ms = [1e3 * sweep for sweep in thread.sweeps_s]
    return [*row(boards, sweeps_ms, thread.edges, seconds), "-"]


def in_a_process(boards: tuple[Board, ...], main: Callable[[float], None], seconds: float) -> list[object]:
    sampler = Sampler(["nvml"], MeterOptions(watched_pid=os.getpid()))
    sampler.start()
    sampler.arm()
    time.sleep(0.3)  # the refresh is learned in the first few edges, once a run
    t0 = time.perf_counter()
    main(seconds)
    t1 = time.perf_counter()
    traces = [trace for trace in sampler.collect(t0, t1).traces if trace.channel.energy]
    edges = [[edge.t for edge in trace.edges if t0 <= edge.t <= t1] for trace in traces]
    share = sampler.cpu_share()
    sampler.close()
    return [*row(boards, sweep_alone_ms(main), edges, seconds), f"{100 * share:.1f} %"]


def sweep_alone_ms(main: Callable[[float], None]) -> list[float]:
    """Sweeps in a process of their own while this one's main thread does what it does."""
    code = (
        "import pynvml, time; pynvml.nvmlInit()\n"
        "boards = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]\n"
        "def timed():\n"
        "    begin = time.perf_counter()\n"
        "    for board in boards: pynvml.nvmlDeviceGetTotalEnergyConsumption(board)\n"
        "    return 1e3 * (time.perf_counter() - begin)\n"
        "for _ in range(300): print(timed()); time.sleep(0.001)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        main(1.0)
        return [float(line) for line in process.stdout]


def row(boards: tuple[Board, ...], sweeps_ms: list[float], edges: list[list[float]], seconds: float) -> list[object]:
    errors = edge_errors_ms(boards, edges)
    seen = sum(map(len, edges)) / (len(boards) * seconds / COUNTER_PERIOD_S)
    sweep = f"{statistics.median(sweeps_ms):.2f} / {percentile(sweeps_ms, 0.95):.2f} ms"
    return [sweep, f"{percentile(errors, 0.95):.2f} ms", f"{100 * min(seen, 1):.0f} %"]


def in_child(count: int, seconds: float) -> None:
    """NVML is loaded once in a process, so each number of boards has one."""
    boards = many_boards(count, base_w=300.0, counter_period_s=COUNTER_PERIOD_S, power_period_s=0.02, latency_s=20e-6)
    table = []
    with tempfile.TemporaryDirectory() as folder:
        Standin(boards=boards).preload(Path(folder))
        os.environ.update(Standin(boards=boards).environment(Path(folder)))
        for main in (idle, holds_the_lock):
            for place in (in_a_thread, in_a_process):
                found = place(boards, main, seconds)
                table.append([count, main.__name__.replace("_", " "), place.__name__.replace("in_a_", ""), *found])
    headers = ["boards", "main thread", "sampler", "sweep median / 95th", "edge error 95th", "edges seen", "CPU"]
    print(tabulate(table, headers=headers), end="\n\n", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--boards", type=int, help="only this many (default: 1, then 8)")
    given = parser.parse_args()
    if given.boards:
        in_child(given.boards, given.seconds)
        return 0
    return max(
        subprocess.run([sys.executable, __file__, "--boards", str(count), "--seconds", str(given.seconds)]).returncode for count in (1, 8)
    )


if __name__ == "__main__":
    sys.exit(main())
