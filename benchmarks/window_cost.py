"""What does a window cost the test that draws it? Ours beside ZeusMonitor's, on the same stand-in boards.

    python benchmarks/window_cost.py [--windows 2000]

Back to back, and cold (20 ms of sleep before each, as between tests); one board and eight. Ours is two clock readings and some
bookkeeping, because the sampler runs elsewhere; what comes later, once a test, is measured too: evaluating it, including the wait for
the counter's next refreshes (20 ms here). Import times are those of fresh processes.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tabulate import tabulate

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.peers import environment, zeus_python
from tests.standin import Standin, many_boards

OURS = """
import sys, time, statistics
from pytest_tpf.markers import Marker
from pytest_tpf.measurement import Measurement
from pytest_tpf.measure.rounds import Effort
from pytest_tpf.records import Facility
from pytest_tpf.session import Session
from pytest_tpf.settings import Settings
windows = int(sys.argv[1])
session = Session(Settings(meter=("nvml",)), Facility())
session.start()
effort = Effort(rounds=None, warmup=0, max_time_s=1.0, target_ci=0.05)
def new():
    return Measurement("test_a.py::test_b", Marker(), effort, session)
measurement = new()
with session.sampling(measurement):
    measurement.start_call()
    def one():
        start = time.perf_counter()
        with measurement.window():
            pass
        return (time.perf_counter() - start) * 1e6
    for _ in range(100): one()
    print("warm", statistics.median(one() for _ in range(windows)))
    cold = []
    for _ in range(windows // 20):
        time.sleep(0.02)
        cold.append(one())
    print("cold", statistics.median(cold))
    measurement.end_run()
evaluations = []
for _ in range(20):
    measurement = new()
    with session.sampling(measurement):
        measurement.start_call()
        with measurement.window():
            measurement_counts = __import__("pytest_tpf.observation").observation.Counts(output_tokens=5)
            measurement.ledger.add_counts(measurement_counts)
            time.sleep(0.1)
        measurement.end_run()
    start = time.perf_counter()
    measurement.result()
    evaluations.append((time.perf_counter() - start) * 1e6)
print("evaluate", statistics.median(evaluations))
session.close()
"""

ZEUS = """
import sys, time, statistics, logging, warnings
warnings.simplefilter("ignore"); logging.disable(logging.CRITICAL)
from zeus.monitor import ZeusMonitor
windows, boards = int(sys.argv[1]), int(sys.argv[2])
monitor = ZeusMonitor(gpu_indices=list(range(boards)), cpu_indices=[])
def one():
    start = time.perf_counter()
    monitor.begin_window("w", sync_execution=False)
    monitor.end_window("w", sync_execution=False)
    return (time.perf_counter() - start) * 1e6
for _ in range(100): one()
print("warm", statistics.median(one() for _ in range(windows)))
cold = []
for _ in range(windows // 20):
    time.sleep(0.02)
    cold.append(one())
print("cold", statistics.median(cold))
"""


def measured(python: str, script: str, variables: dict[str, str], *arguments: str) -> dict[str, float]:
    command = [python, "-c", script, *arguments]
    done = subprocess.run(command, env=environment(**variables), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    lines = [line.split() for line in done.stdout.splitlines()]
    return {words[0]: float(words[1]) for words in lines if len(words) == 2}


def import_ms(python: str, module: str) -> float:
    script = f"import time; t = time.perf_counter(); import {module}; print('import', (time.perf_counter() - t) * 1e3)"
    return statistics.median(measured(python, script, {})["import"] for _ in range(7))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--windows", type=int, default=2000)
    arguments = parser.parse_args()
    zeus = zeus_python()
    rows = []
    for boards in (1, 8):
        with tempfile.TemporaryDirectory() as folder:
            standin = Standin(boards=many_boards(boards, base_w=300.0, counter_period_s=0.02, utilization_percent=0))
            variables = standin.environment(Path(folder))
            ours = measured(sys.executable, OURS, variables, str(arguments.windows))
            rows.append(["pytest-tpf", boards, ours["warm"], ours["cold"], ours["evaluate"] / 1e3])
            if zeus is not None:
                theirs = measured(str(zeus), ZEUS, variables, str(arguments.windows), str(boards))
                rows.append(["ZeusMonitor", boards, theirs["warm"], theirs["cold"], None])
    headings = ["", "boards", "window back to back (us)", "cold (us)", "evaluating a test (ms)"]
    print(tabulate(rows, headings, floatfmt=".1f", missingval="-"))
    after_pytest = "pytest, importlib.metadata; t = time.perf_counter(); import pytest_tpf."
    imports = [
        ["pytest_tpf.plugin (every run, after pytest)", import_ms(sys.executable, after_pytest + "plugin")],
        ["pytest_tpf.measuring (a run that measures)", import_ms(sys.executable, after_pytest + "measuring")],
    ]
    if zeus is not None:
        imports.append(["zeus.monitor", import_ms(str(zeus), "zeus.monitor")])
    print()
    print(tabulate(imports, ["import", "ms"], floatfmt=".1f"))
    return 0


if __name__ == "__main__":
    os.environ.pop("CUDA_VISIBLE_DEVICES", None)
    started = time.perf_counter()
    code = main()
    print(f"({time.perf_counter() - started:.0f} s)", file=sys.stderr)
    sys.exit(code)
