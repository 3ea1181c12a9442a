"""What the history gives back: runs, the tests of runs, and what a reference of the user's leads to. Pure."""

from __future__ import annotations

from typing import Any, Literal

from pytest_tpf.codec import from_dict
from pytest_tpf.history._blob import unpacked
from pytest_tpf.history.errors import HistoryError
from pytest_tpf.record import record
from pytest_tpf.records import TestRecord
from pytest_tpf.report.text import plain

LATEST = "latest"
MOST_RUNS = 20
"""How many runs of a branch or a name a test is compared with, where nobody asks for another number."""


@record
class RunInfo:
    """One saved report, without its tests. ``id`` counts within one history; ``name`` is what it was saved as.

    Texts of more than 200 characters are cut in the middle; the report itself has them whole.
    """

    id: int
    report_id: str
    created_at: str
    fingerprint: str
    name: str | None = None
    branch: str | None = None
    commit: str | None = None
    dirty: bool | None = None
    ci_run_id: str | None = None
    tests: int = 0


@record
class Found:
    """Where a reference leads: its runs on the hardware asked for, newest first, at least one.

    ``kind`` says what ``ref`` turned out to be.
    """

    ref: str
    kind: Literal["latest", "name", "commit", "branch"]
    runs: tuple[RunInfo, ...]


@record
class StoredTest:
    """One row of a saved report: ``place`` is its place there, ``at_us`` the report's time (microseconds since 1970).

    ``content`` is unpacked when ``test`` or ``data`` is asked for, which raises HistoryError where it is damaged.
    """

    run: RunInfo
    key: str
    place: int
    at_us: int
    content: bytes

    @property
    def data(self) -> dict[str, Any]:
        """The row as it stood in the report, as builtins."""
        data: dict[str, Any] = unpacked_part(self.content, f"{self.key} in report {self.run.report_id}")
        return data

    @property
    def test(self) -> TestRecord:
        """The row as a record; about 0.3 ms of work each time."""
        return from_dict(TestRecord, self.data)


@record
class RunFilter:
    """Which runs are meant: those to which all of it applies. Times are those of ``created_at`` (UTC, as a report has them).

    ``label``: (name, value) that one of its tests has. ``test``: a pattern with ``*`` and ``?`` that one of its tests' keys fits,
    whatever the case of letters. ``report_id`` and ``commit`` may be beginnings. ``is_clean``: none whose checkout had changes.
    """

    report_id: str | None = None
    name: str | None = None
    branch: str | None = None
    commit: str | None = None
    fingerprint: str | None = None
    since: str | None = None
    until: str | None = None
    label: tuple[str, str] | None = None
    test: str | None = None
    is_clean: bool = False


def unpacked_part(content: bytes, what: str) -> Any:
    """What a row or a head holds.

    Raises:
        HistoryError: these are not the bytes that were saved.
    """
    try:
        return unpacked(content)
    except ValueError as error:
        raise HistoryError(f"history: {plain(what)}: {error}; import the report again, if there is a copy") from None


@record
class Saved:
    """What became of a report that was to be saved; ``is_new`` is False where the history had it already."""

    run_id: int
    is_new: bool
    tests: int
