"""A history as JSON lines: for a backup, for another database, for other tools.

Each run is a line ``{"tpf_history": 1, "name": ..., "report": {...}}``, the report without its tests, and behind it a line for each of its
tests as the report has them. So a line is never long, ``grep`` and ``jq`` work, and nothing is lost: an import makes the same history.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from pytest_tpf.history.errors import RefusedReport
from pytest_tpf.history.runs import RunInfo, Saved
from pytest_tpf.history.store import Store
from pytest_tpf.report.read import Part, scan_report, scan_values
from pytest_tpf.report.wording import printable
from pytest_tpf.report.write import json_line

SUFFIX = ".jsonl"
MAX_IMPORT_BYTES = 512 * 2**20  # of a report: about 100,000 tests; they are held in memory, compressed, until all are known to be valid
_MARK, _VERSION = "tpf_history", 1
_MAX_NAME = 1024


def archive_lines(store: Store, runs: Iterable[RunInfo]) -> Iterator[str]:
    """The lines of these runs, with line ends.

    Raises:
        HistoryError: the database fails, or a run is no longer there.
    """
    for run in runs:
        yield f"{json_line({_MARK: _VERSION, 'name': run.name, 'report': store.head(run)})}\n"
        for test in store.tests_of(run):
            yield f"{json_line(test.data)}\n"


def import_file(store: Store, path: str, name: str | None = None) -> Iterator[Saved]:
    """Save what is in ``path``, which may be anything: the runs of an archive (``.jsonl``), or one report. What became of each.

    ``name`` is given to all of them; without one, runs of an archive keep theirs. Runs before one that is refused stay saved.

    Raises:
        ReportError: the file can't be read.
        RefusedReport: it holds something else, or an invalid report.
        HistoryError: the database fails.
    """
    where = printable(path)
    if not path.endswith(SUFFIX):
        try:
            yield store.save(scan_report(path, max_bytes=MAX_IMPORT_BYTES), name)
        except RefusedReport as error:
            raise RefusedReport(f"{where}: {error}") from None
        return
    done = 0
    try:
        for run in _Archive(scan_values(path)):
            yield store.save(run.parts(), name or run.name)
            done += 1
    except RefusedReport as error:
        raise RefusedReport(f"{where}: run {done + 1}: {error}") from None


class _Archive:
    """The runs of an archive, one after the other."""

    def __init__(self, values: Iterator[Any]) -> None:
        self._values = values
        self._next = next(values, None)

    def __iter__(self) -> Iterator[_Run]:
        while self._next is not None:
            head = self._next
            yield _Run(head, self._tests())

    def _tests(self) -> Iterator[Any]:
        """What follows, up to the next run."""
        for value in self._values:
            self._next = value
            if isinstance(value, dict) and _MARK in value:
                return
            yield value
        self._next = None


class _Run:
    """One run of an archive, of which anything may be wrong."""

    def __init__(self, head: Any, tests: Iterator[Any]) -> None:
        if not isinstance(head, dict) or _MARK not in head:
            raise RefusedReport(f'is not a line of an exported history: {{"{_MARK}": {_VERSION}, ...}} was expected')
        if head[_MARK] != _VERSION:
            raise RefusedReport("was exported by a newer pytest-tpf; upgrade pytest-tpf")
        name, report = head.get("name"), head.get("report")
        if not isinstance(report, dict) or not (name is None or (isinstance(name, str) and len(name) <= _MAX_NAME)):
            raise RefusedReport("its name or its report is not what an exported history has there")
        self.name: str | None = name
        self._report, self._tests = report, tests

    def parts(self) -> Iterator[Part]:
        """The report, its tests one at a time."""
        yield from {**self._report, "tests": []}.items()
        yield from enumerate(self._tests)
