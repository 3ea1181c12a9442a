"""The history of reports in a database: every report whole, found again by test, hardware, branch, commit, name, time or label.

Reports are kept as they are (see ``_blob``), so ``load`` gives back exactly what was saved. Several processes may save at once: writers
take turns, a save is one transaction, and a report that is there already is left as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from sqlalchemy import select

from pytest_tpf.codec import from_dict
from pytest_tpf.history import _migrations, _queries, _writes
from pytest_tpf.history._database import Database
from pytest_tpf.history._schema import RUN
from pytest_tpf.history._text import column_text, original
from pytest_tpf.history.errors import HistoryError
from pytest_tpf.history.rows import rows_of
from pytest_tpf.history.runs import LATEST, MOST_RUNS, Found, RunFilter, RunInfo, Saved, StoredTest, unpacked_part
from pytest_tpf.records import Report
from pytest_tpf.report.read import Part
from pytest_tpf.report.text import plain

_COMMIT = re.compile(r"[0-9a-f]{7,64}")
_Kind = Literal["latest", "name", "commit", "branch"]


class Store:
    """An open history; a context manager. ``storage.open_store`` makes one, and says what it raises.

    Raises:
        HistoryError: from every method, where the database fails.
    """

    def __init__(self, url: str, folder: Path, *, create: bool = True) -> None:
        self._database = Database(url, folder)
        try:
            self._bring_up_to_date(create=create)
        except BaseException:
            self.close()
            raise

    @property
    def where(self) -> str:
        """The file, or the server and its database, for messages: without password."""
        return self._database.where

    def close(self) -> None:
        """Close the connections."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _bring_up_to_date(self, *, create: bool) -> None:
        database = self._database
        if not create and database.file is not None and not database.file.exists():
            raise HistoryError(f"{self.where}: there is no history yet; pytest --tpf-save begins one")
        if create:
            database.make_folder()
        with database.reading() as connection:
            version = _migrations.version_of(connection)
        if not create and version == 0:
            raise HistoryError(f"{self.where}: there is no history yet; pytest --tpf-save begins one")
        try:
            if version != len(_migrations.STEPS):
                with database.writing() as connection:
                    _migrations.migrate(connection)
        except _migrations.MigrationError as error:
            raise HistoryError(f"{self.where}: {error}") from None

    # --- writing ------------------------------------------------------------------------------------------------------

    def save(self, report: Report | Mapping[str, Any] | Iterable[Part], name: str | None = None) -> Saved:
        """Keep ``report`` (the record, its ``as_dict``, or parts as ``scan_report`` gives them): all of it, or nothing.

        A report whose id is there already is left as it is; a ``name`` is given to it all the same.

        Raises:
            HistoryError: the report is invalid, or can't be written.
            ReportError: its parts come from a file that can't be read.
        """
        rows = rows_of(report)  # before others have to wait for us
        with self._database.writing() as connection:
            return _writes.save(connection, rows, column_text(name) if name else None)

    def prune(self, *, keep: int | None = None, before: str | None = None, named: bool = False, dry_run: bool = False) -> list[RunInfo]:
        """Delete runs, whole ones, and give their room back; the runs that are deleted (would be, in a dry run), newest first.

        Args:
            keep: a run stays while one of its tests is among the newest so many of its series (test, hardware and branch). Rows that others
                may be compared with and rows that not (failed, retried) count apart, so that failures don't push the last good ones out.
            before: a run stays unless it is older than this time (UTC, as in ``created_at``). With ``keep``: it goes where both let it.
            named: also runs that were saved under a name; else they stay.
            dry_run: delete nothing.

        Raises:
            ValueError: neither ``keep`` nor ``before`` is given.
        """
        if keep is None and before is None:
            raise ValueError("prune needs keep or before")
        chosen = _writes.prunable(keep, before, named=named)
        with self._database.reading() if dry_run else self._database.writing() as connection:
            gone = [_queries.run_info(row) for row in connection.execute(chosen)]
            if not dry_run:
                _writes.delete_runs(connection, [run.id for run in gone])
        if gone and not dry_run:
            self._database.shrink()
        return gone

    # --- what this run is compared with -------------------------------------------------------------------------------

    def find(self, ref: str, fingerprint: str | None, most_runs: int = MOST_RUNS) -> Found | None:
        """The runs that ``ref`` means, on hardware with this fingerprint (None: on any); None where there are none.

        In this order: ``latest`` is the newest run; a name, the newest runs that were saved under it; a commit (7 or more digits), its
        runs; a branch, its newest runs. Runs of a checkout with uncommitted changes count, for somebody saved them; but not for a
        commit, whose code they aren't.

        Raises:
            HistoryError: the beginning of a commit fits several.
        """
        with self._database.reading() as connection:
            for kind, wanted, most in _meanings(ref, fingerprint, most_runs):
                rows = connection.execute(_queries.runs_where(wanted, most))
                if runs := tuple(map(_queries.run_info, rows)):
                    if kind == "commit":
                        _check_one_commit(ref, runs)
                    return Found(ref=ref, kind=kind, runs=runs)
        return None

    def earlier(
        self, found: Found, keys: Iterable[str], fingerprint: str | None, most_runs: int = MOST_RUNS
    ) -> dict[str, list[StoredTest]]:
        """What the tests with these keys (``identity.key_of``) were, newest first; a key without rows is left out.

        Of a branch: each test's own newest ``most_runs`` rows, so that a run of a few tests doesn't hide the others'. Else: those of
        ``found.runs``. Only first attempts with an outcome of ``sample.REFERENCE_OUTCOMES``. ``fingerprint`` None: on any hardware.

        A row is unpacked when its ``test`` is asked for and takes some 2 kB until then; whoever has ten thousand keys asks for
        some hundred at a time.
        """
        earlier: dict[str, list[StoredTest]] = {}
        asked = {original(column_text(key)): key for key in keys}
        with self._database.reading() as connection:
            for statement in _queries.references(found, list(asked.values()), fingerprint, most_runs, connection.dialect.name):
                for row in _queries.stored_tests(connection.execute(statement)):
                    earlier.setdefault(asked[row.key], []).append(row)
        return {key: sorted(rows, key=_newest_first)[:most_runs] for key, rows in earlier.items()}

    # --- everything else ----------------------------------------------------------------------------------------------

    def runs(self, wanted: RunFilter | None = None, most: int | None = None) -> list[RunInfo]:
        """The runs that ``wanted`` means (all of them by default), newest first, ``most`` at most."""
        with self._database.reading() as connection:
            return [_queries.run_info(row) for row in connection.execute(_queries.runs_where(wanted or RunFilter(), most))]

    def tests_of(self, run: RunInfo) -> Iterator[StoredTest]:
        """All rows of a run in the order of its report, whatever their outcome; some hundred at a time are in memory.

        Raises:
            HistoryError: the run is no longer there.
        """
        with self._database.reading() as connection:
            ids = list(connection.scalars(_queries.ids_of_run(run.id)))
        if len(ids) != run.tests:
            raise self._gone(run)
        for some in _queries.chunks(ids):
            with self._database.reading() as connection:  # never open while the caller works
                rows = sorted(_queries.stored_tests(connection.execute(_queries.tests_by_id(some))), key=_place)
            if len(rows) != len(some):
                raise self._gone(run)
            yield from rows

    def head(self, run: RunInfo) -> dict[str, Any]:
        """The report without its tests (``tests`` is empty), as builtins.

        Raises:
            HistoryError: the run is no longer there.
        """
        with self._database.reading() as connection:
            head = connection.scalar(select(RUN.c.head).where(RUN.c.id == run.id))
        if head is None:
            raise self._gone(run)
        return dict(unpacked_part(head, f"report {run.report_id}"))

    def load(self, run: RunInfo) -> Report:
        """The report, as it was saved.

        Raises:
            HistoryError: the run is no longer there.
        """
        head = self.head(run)
        return from_dict(Report, {**head, "tests": [stored.data for stored in self.tests_of(run)]})

    def _gone(self, run: RunInfo) -> HistoryError:
        return HistoryError(f"{self.where}: report {run.report_id} is no longer there")


def _meanings(ref: str, fingerprint: str | None, most_runs: int) -> Iterator[tuple[_Kind, RunFilter, int | None]]:
    if not ref:
        return
    if ref == LATEST:
        yield "latest", RunFilter(fingerprint=fingerprint), 1
    yield "name", RunFilter(name=ref, fingerprint=fingerprint), most_runs
    if _COMMIT.fullmatch(ref):
        yield "commit", RunFilter(commit=ref, fingerprint=fingerprint, is_clean=True), None
    yield "branch", RunFilter(branch=ref, fingerprint=fingerprint), most_runs


def _check_one_commit(ref: str, runs: Iterable[RunInfo]) -> None:
    commits = sorted({run.commit for run in runs if run.commit})
    if len(commits) > 1 and ref not in commits:
        raise HistoryError(f"commit {plain(ref)} is the beginning of {len(commits)} commits, {commits[0]} and others; give more digits")


def _place(stored: StoredTest) -> int:
    return stored.place


def _newest_first(stored: StoredTest) -> tuple[int, int]:
    return -stored.at_us, -stored.run.id
