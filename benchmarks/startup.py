"""What does the plugin cost a suite that doesn't use it? Beside pytest-benchmark, in the same environment and the same run.

    python benchmarks/startup.py [--rounds 41]

One empty test; whole pytest processes, in random order within a round; the median of the paired differences to the same run with
neither plugin, which is itself run twice a round: the second shows the noise. Then the cost per unmarked test: our hooks called directly
on collected items, in a suite without a measured test and in one that has one. Goals: under 5 ms, and under 2 us a test.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tabulate import tabulate

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.peers import environment, plugins_python

CONFIGURATIONS = {
    "neither": ("-p", "no:tpf", "-p", "no:benchmark"),
    "neither, again": ("-p", "no:tpf", "-p", "no:benchmark"),
    "pytest-tpf": ("-p", "no:benchmark"),
    "pytest-benchmark": ("-p", "no:tpf"),
}

PER_TEST = """
import json, time

def pytest_collection_finish(session):
    from pytest_tpf import plugin
    config, items = session.config, [i for i in session.items if i.get_closest_marker("tpf") is None]
    measuring = config.pluginmanager.get_plugin("tpf-measuring")
    start = time.perf_counter()
    if measuring is None:
        plugin.pytest_collection_modifyitems(config, list(items))
    else:
        class Call: when = "call"
        for item in items:
            measuring.pytest_runtest_setup(item)
            for wrapper in (measuring.pytest_runtest_call(item), measuring.pytest_runtest_makereport(item, Call)):
                next(wrapper)
                try: wrapper.send(None)
                except StopIteration: pass
    with open("cost.json", "w") as file:
        json.dump((time.perf_counter() - start) / len(items) * 1e6, file)
"""


def wall_and_cpu_ms(command: list[str], folder: str) -> tuple[float, float]:
    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=folder, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed")
    return (time.perf_counter() - start) * 1e3, (usage.ru_utime + usage.ru_stime) * 1e3


def startup(python: Path, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "test_empty.py").write_text("def test_empty(): pass\n")
        commands = {name: [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", *flags] for name, flags in CONFIGURATIONS.items()}
        for command in commands.values():
            wall_and_cpu_ms(command, folder)
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
        for _ in range(rounds):
            for name in random.sample(list(commands), len(commands)):
                found[name].append(wall_and_cpu_ms(commands[name], folder))
    base = found["neither"]
    rows = []
    for name, times in found.items():
        more = [[t[i] - b[i] for t, b in zip(times, base, strict=True)] for i in (0, 1)]
        rows.append(
            [name, statistics.median(t[0] for t in times), *(statistics.median(m) for m in more), statistics.median(t[1] for t in times)]
        )
    print(tabulate(rows, ["plugin", "wall (ms)", "more wall (ms)", "more CPU (ms)", "CPU (ms)"], floatfmt=".1f"))


def per_unmarked_test(python: Path, tests: int = 5000) -> None:
    rows = []
    for name, extra in (("no measured test", ""), ("one measured test", "@pytest.mark.tpf\ndef test_measured(): pass\n")):
        with tempfile.TemporaryDirectory() as folder:
            source = f"import pytest\n@pytest.mark.parametrize('n', range({tests}))\ndef test_it(n): pass\n{extra}"
            Path(folder, "test_many.py").write_text(source)
            Path(folder, "conftest.py").write_text(PER_TEST)
            costs = []
            for _ in range(5):
                command = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:benchmark", "--collect-only"]
                subprocess.run(command, cwd=folder, env=environment(), stdout=subprocess.DEVNULL, check=False)
                costs.append(json.loads(Path(folder, "cost.json").read_text()))
            rows.append([name, statistics.median(costs)])
    print(tabulate(rows, ["suite", "our hooks, per unmarked test (us)"], floatfmt=".2f"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=41)
    arguments = parser.parse_args()
    python = plugins_python()
    if python is None:
        return 1
    startup(python, arguments.rounds)
    print()
    per_unmarked_test(python)
    return 0


if __name__ == "__main__":
    sys.exit(main())
