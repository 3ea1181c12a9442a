"""How long does a comparison wait for the history, with a million rows in it?

    python -m benchmarks.history_load [--rows 1000000] [--folder DIR] [--write]

Fills SQLite with runs of a suite of 200 tests: half of them on `main`, the others on 25 branches, on two kinds of hardware in turn, their
rows those of `benchmarks.report_load`, compressed as the history keeps them. Twenty different reports are made; the runs repeat their
rows with ids and times of their own. Then it asks what a comparison with `main` asks, for tests drawn at random, saves and loads.

Beside it pytest-benchmark's storage, in the same run: the JSON file of a suite of 200 benchmarks that it has run and saved itself, copied
under other numbers, read by its own `FileStorage`. Its `--benchmark-compare` reads all of them and takes the last.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tabulate import tabulate

from benchmarks.peers import environment, plugins_python, version_of
from benchmarks.published import machine, machine_line, replace_part
from benchmarks.quiet import Watch
from benchmarks.report_load import rows as made_rows

ROOT = Path(__file__).resolve().parents[1]
PAGE, PART = ROOT / "docs" / "benchmarks.md", "history-load"
TESTS, BRANCHES, VARIANTS, SAVES = 200, 25, 20, 20
HARDWARE = ("00112233445566aa", "00112233445566bb")
PEER_RUNS = 500
_START = datetime(2024, 1, 1, tzinfo=UTC)


def reports(count: int) -> Iterator[Any]:
    """Reports of the suite whose figures differ."""
    from pytest_tpf.codec import from_dict
    from pytest_tpf.records import TestRecord
    from pytest_tpf.report.build import build_report
    from tests.report import factory

    rows, ids = made_rows(TESTS * count), [row["nodeid"] for row in made_rows(TESTS)]
    for _ in range(count):
        tests = [from_dict(TestRecord, {**next(rows), "nodeid": nodeid, "outcome": "passed"}) for nodeid in ids]
        yield build_report(tests, factory.environment(), factory.facility(), factory.meters())


def place(number: int) -> tuple[str, str, str]:
    """Branch, hardware and time of a run."""
    branch = "main" if number % 2 else f"feature-{number // 2 % BRANCHES}"
    at = _START + timedelta(minutes=20 * number)
    return branch, HARDWARE[number // 2 % 2], at.strftime("%Y-%m-%dT%H:%M:%SZ")


def fill(store: Any, runs: int) -> float:
    """Seconds it took to insert so many runs, a transaction each, without making and compressing their rows."""
    from pytest_tpf.history import _writes
    from pytest_tpf.history.rows import at_us, rows_of

    variants = [rows_of(report) for report in reports(VARIANTS)]
    start_s = time.perf_counter()
    for number in range(runs):
        branch, fingerprint, created_at = place(number)
        moment, variant = at_us(created_at), variants[number % VARIANTS]
        own = {"report_id": str(uuid.uuid4()), "at_us": moment, "created_at": created_at, "branch": branch, "fingerprint": fingerprint}
        tests = tuple({**test, "at_us": moment} for test in variant.tests)
        with store._database.writing() as connection:
            _writes.save(
                connection, dataclasses.replace(variant, run={**variant.run, **own, "commit": f"{number:040x}"}, tests=tests), None
            )
    return time.perf_counter() - start_s


def timed(count: int, work: Callable[[], Any]) -> list[float]:
    """Milliseconds of each call."""
    taken: list[float] = []
    for _ in range(count):
        start_s = time.perf_counter()
        work()
        taken.append(1000 * (time.perf_counter() - start_s))
    return taken


def asked(store: Any, chance: random.Random, tests: int, ref: str, *, unpacked: bool) -> Callable[[], Any]:
    """A comparison's question: the last 20 runs of so many tests, perhaps as records."""
    from pytest_tpf.history.identity import key_of

    keys = [key_of(row["nodeid"], row["labels"]) for row in made_rows(TESTS)]

    def ask() -> None:
        found = store.find(ref, HARDWARE[0])
        rows = store.earlier(found, chance.sample(keys, tests), HARDWARE[0])
        if len(rows) != tests:
            raise SystemExit(f"{tests - len(rows)} tests were not found")
        if unpacked:
            for stored in rows.values():
                for row in stored:
                    _ = row.test

    return ask


def cold(url: str, question: Callable[[Any], Callable[[], Any]], count: int) -> list[float]:
    """Milliseconds of opening and one question, the file forgotten by the system before each."""
    from pytest_tpf.history.storage import open_store

    file = url.removeprefix("sqlite:///")

    def once() -> None:
        with open_store(url) as store:
            question(store)()

    taken = []
    for _ in range(count):
        descriptor = os.open(file, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)
        taken += timed(1, once)
    return taken


def ours(rows: int, folder: Path) -> tuple[list[list[Any]], dict[str, Any]]:
    """The table's rows, and facts for the text."""
    from pytest_tpf.history.storage import open_store

    url, runs = f"sqlite:///{folder}/history.db", rows // TESTS
    with open_store(url) as store:
        fill_s = fill(store, runs)
    size = (folder / "history.db").stat().st_size
    chance = random.Random(2605)
    commit = next(f"{number:040x}" for number in range(runs - 1, 0, -1) if place(number)[:2] == ("main", HARDWARE[0]))
    with open_store(url) as store:
        found = [
            ["one test, last 20 runs of main", timed(300, asked(store, chance, 1, "main", unpacked=False))],
            ["... and its 20 rows as records", timed(300, asked(store, chance, 1, "main", unpacked=True))],
            ["one test, latest", timed(300, asked(store, chance, 1, "latest", unpacked=False))],
            ["one test, a commit", timed(300, asked(store, chance, 1, commit, unpacked=False))],
            ["200 tests, last 20 runs of main", timed(20, asked(store, chance, TESTS, "main", unpacked=False))],
            ["... and their 4,000 rows as records", timed(5, asked(store, chance, TESTS, "main", unpacked=True))],
        ]
        waiting = iter(list(reports(SAVES)))
        found.append(["saving a report of 200 tests", timed(SAVES, lambda: store.save(next(waiting)))])
        newest = store.runs(most=1)[0]
        found.append(["loading a report of 200 tests", timed(10, lambda: store.load(newest))])
    found.insert(2, ["opening the history", timed(20, lambda: open_store(url).close())])
    chilled = cold(url, lambda store: asked(store, chance, 1, "main", unpacked=False), 20)
    found.insert(3, ["opening and one test, file not in memory", chilled])
    facts = {"rows": runs * TESTS, "runs": runs, "size": size, "rate": runs * TESTS / fill_s, "per_row": size / (runs * TESTS)}
    return found, facts


# --- the peer ---------------------------------------------------------------------------------------------------------

PEER_SUITE = """
import pytest

@pytest.mark.parametrize("number", range({tests}))
def test_answers(benchmark, number):
    benchmark.pedantic(sum, ([1, 2, 3],), rounds=5)
"""

PEER = """
import json, logging, pathlib, sys, time
from pytest_benchmark.storage.file import FileStorage

def timed(work, count):
    taken = []
    for _ in range(count):
        start = time.perf_counter()
        work()
        taken.append(1000 * (time.perf_counter() - start))
    return taken

def opened():
    return FileStorage(sys.argv[1], logging.getLogger())

numbers = [f"{n:04}" for n in range(int(sys.argv[2]) - 19, int(sys.argv[2]) + 1)]
assert len(list(opened().load(*numbers))) == 20
print(json.dumps({"all": timed(lambda: list(opened().load())[-1:], 5), "last 20": timed(lambda: list(opened().load(*numbers)), 20)}))
"""


def peer(folder: Path) -> tuple[list[list[Any]], dict[str, Any]]:
    """The same of pytest-benchmark, over fewer runs; nothing where it can't be installed."""
    python = plugins_python()
    if python is None:
        return [], {}
    (folder / "test_peer.py").write_text(PEER_SUITE.format(tests=TESTS))
    command = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:tpf", "--benchmark-save=peer", "test_peer.py"]
    subprocess.run(command, cwd=folder, env={**environment(), "PYTHONPATH": ""}, check=True, stdout=subprocess.DEVNULL)
    (first,) = folder.glob(".benchmarks/*/0001_peer.json")
    for number in range(2, PEER_RUNS + 1):
        shutil.copy(first, first.with_name(f"{number:04}_peer.json"))
    answer = subprocess.run([str(python), "-c", PEER, str(first.parent), str(PEER_RUNS)], capture_output=True, text=True, check=True)
    taken = json.loads(answer.stdout)
    label = f"pytest-benchmark, {PEER_RUNS} runs"
    found = [[f"{label}: --benchmark-compare", taken["all"]], [f"{label}: reading only the last 20 files", taken["last 20"]]]
    return found, {"version": version_of(python, "pytest-benchmark"), "size": first.stat().st_size * PEER_RUNS}


# --- telling it -------------------------------------------------------------------------------------------------------


def text_of(found: list[list[Any]], facts: dict[str, Any], peer_facts: dict[str, Any], noise: object) -> str:
    """What stands on the page."""
    where = machine()
    lines = [
        [name, f"{statistics.median(taken):,.1f}", f"{sorted(taken)[int(0.95 * (len(taken) - 1))]:,.1f}", len(taken)]
        for name, taken in found
    ]
    table = tabulate(lines, ["", "median (ms)", "95th pct. (ms)", "times"], tablefmt="github", disable_numparse=True)
    beside = (
        f" pytest-benchmark {peer_facts['version']}: {PEER_RUNS} runs of {TESTS} benchmarks are {peer_facts['size'] / 2**20:,.0f} MB."
        if peer_facts
        else ""
    )
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {machine_line(where)}. "
        f"{facts['rows']:,} rows of {facts['runs']:,} runs: {facts['size'] / 2**20:,.0f} MB, {facts['per_row']:,.0f} bytes a row, indexes "
        f"included; inserted at {facts['rate']:,.0f} rows/s.{beside} Machine: {noise}.\n\n{table}"
    )


@contextmanager
def _folder(given: str | None) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=given) as folder:
        yield Path(folder)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--folder", help="where the database is made: a disk with some 2 GB to spare")
    parser.add_argument("--write", action="store_true", help="put the figures into docs/benchmarks.md")
    arguments = parser.parse_args()
    watch = Watch()
    with _folder(arguments.folder) as folder:
        found, facts = ours(arguments.rows, folder)
        beside, peer_facts = peer(folder)
    text = text_of(found + beside, facts, peer_facts, watch.noise())
    print(text)
    if arguments.write:
        replace_part(PAGE, PART, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
