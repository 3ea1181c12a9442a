"""What do very large reports cost: to make, and to read again? 1,000, 10,000 and 100,000 tests.

    python benchmarks/report_load.py [--tests 1000 10000 100000]

Making one, in a process of its own for each size: records arrive as builtins, as they do from a worker; then the report is built, validated
and written, and the table rendered. Memory is the peak above what the process had before the first record came. Reading: `tpf validate`,
`tpf show` and `tpf merge` (of two halves) as processes, with their CPU time and whole peak.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tabulate import tabulate

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.peers import environment

SCALED = ("energy", "service", "rounds", "power", "derived")
KEPT = {"headroom", "clock_reasons"}  # fractions


def rows(count: int) -> Iterator[dict[str, Any]]:
    """Tests as builtins, their figures and ids all different."""
    from pytest_tpf.codec import as_dict
    from tests.report.factory import estimated_test, invalid_test, measured_test

    texts = [json.dumps(as_dict(test())) for test in (measured_test, estimated_test, invalid_test, measured_test)]
    chance = random.Random(2605)
    for number in range(count):
        row = json.loads(texts[number % len(texts)])
        row |= {name: scaled(row[name], chance.uniform(0.5, 2.0)) for name in SCALED}
        row["nodeid"] = f"tests/area_{number % 37}/test_models_{number % 101}.py::test_answers[{number}-batch-{number % 7}]"
        yield row


def scaled(value: Any, factor: float) -> Any:
    if isinstance(value, float):
        return value * factor
    if isinstance(value, dict):
        return {name: item if name in KEPT else scaled(item, factor) for name, item in value.items()}
    return [scaled(item, factor) for item in value] if isinstance(value, list) else value


def make(count: int, path: str) -> None:
    """In the child: write the report and its halves; print the CPU seconds of each step and the megabytes above the start."""
    from pytest_tpf.codec import from_dict
    from pytest_tpf.records import TestRecord
    from pytest_tpf.report.build import build_report
    from pytest_tpf.report.terminal import render_summary
    from pytest_tpf.report.write import write_report
    from tests.report import factory

    where = (factory.environment(), factory.facility(), factory.meters())
    before_mb, arrive_s, records = resident_mb(), 0.0, []
    for row in rows(count):
        start_s = time.process_time()
        records.append(from_dict(TestRecord, row))
        arrive_s += time.process_time() - start_s
    start_s = time.process_time()
    report = build_report(records, *where)
    write_report(path, report)
    written_s = time.process_time()
    render_summary(report, rows=100)
    table_s = time.process_time() - written_s
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    for number in (0, 1):
        write_report(f"{path}.{number}", build_report(records[number::2], *where))
    print(json.dumps([arrive_s, written_s - start_s, table_s, peak_mb - before_mb]))


def resident_mb() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def made(count: int, path: Path) -> list[float]:
    """What ``make`` prints."""
    command = [sys.executable, __file__, "--make", str(path), "--tests", str(count)]
    return list(json.loads(subprocess.run(command, env=environment(), capture_output=True, text=True, check=True).stdout))


def verb(*arguments: str) -> tuple[float, float]:
    """CPU seconds and peak megabytes of ``tpf`` with these arguments."""
    process = subprocess.Popen([sys.executable, "-m", "pytest_tpf.cli.main", *arguments], env=environment(), stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"tpf {' '.join(arguments)}: exit code {process.returncode}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def measured(count: int, folder: Path) -> tuple[list[float], list[list[Any]]]:
    path = folder / "report.json"
    making = made(count, path)
    verbs = {
        "validate": ["validate", str(path)],
        "show": ["show", str(path)],
        "merge": ["merge", f"{path}.0", f"{path}.1", "-o", f"{path}.merged"],
    }
    reading = [[f"tpf {name}", count, *verb(*arguments)] for name, arguments in verbs.items()]
    return [count, path.stat().st_size / 2**20, *making], reading


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tests", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--make", metavar="PATH", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.make:
        make(arguments.tests[0], arguments.make)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        found = [measured(count, Path(folder)) for count in arguments.tests]
    headings = ["tests", "size (MB)", "arrive (CPU s)", "build, validate, write (CPU s)", "table (CPU s)", "memory (MB)"]
    print(tabulate([row for row, _ in found], headings, floatfmt=".2f"), "\n")
    reading = sorted(row for _, rows_of_size in found for row in rows_of_size)
    print(tabulate(reading, ["", "tests", "CPU (s)", "peak (MB)"], floatfmt=".1f"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
