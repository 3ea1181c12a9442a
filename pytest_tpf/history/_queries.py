"""The statements that read the history. Those of a comparison are answered by an index; a test asks both databases for their plans."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, FromClause, Select, and_, func, or_, select, true

from pytest_tpf.history._schema import LABEL, RUN, SERIES, TEST
from pytest_tpf.history._text import column_text, original
from pytest_tpf.history.rows import at_us
from pytest_tpf.history.runs import Found, RunFilter, RunInfo, StoredTest

_RUN_COLUMNS = tuple(RunInfo.__dataclass_fields__)
INFO = tuple(RUN.c[name] for name in _RUN_COLUMNS)
"""A run's columns, but for its report; ``run_info`` takes them."""
_TEXTS = ("name", "branch", "ci_run_id")
_AFTER_HEX = "g"
_CHUNK = 500
_T = TypeVar("_T")


def runs_where(wanted: RunFilter, most: int | None = None) -> Select[Any]:
    """The runs of ``wanted``, newest first."""
    return select(*INFO).where(*_conditions(wanted)).order_by(RUN.c.at_us.desc(), RUN.c.id.desc()).limit(most)


def _conditions(wanted: RunFilter) -> Iterator[ColumnElement[bool]]:
    equal = {"name": wanted.name, "branch": wanted.branch, "fingerprint": wanted.fingerprint}
    yield from (RUN.c[name] == column_text(text) for name, text in equal.items() if text is not None)
    begins = {"report_id": wanted.report_id, "commit": wanted.commit}
    yield from (and_(RUN.c[name] >= text, RUN.c[name] < text + _AFTER_HEX) for name, text in begins.items() if text is not None)
    if wanted.is_clean:
        yield or_(RUN.c.dirty == 0, RUN.c.dirty.is_(None))
    if wanted.since is not None:
        yield RUN.c.at_us >= at_us(wanted.since)
    if wanted.until is not None:
        yield RUN.c.at_us < at_us(wanted.until)
    if wanted.label is not None:
        name, value = map(column_text, wanted.label)
        yield RUN.c.id.in_(select(LABEL.c.run_id).where(LABEL.c.name == name, LABEL.c.value == value))
    if wanted.test is not None:
        series = select(SERIES.c.id).where(SERIES.c.key.ilike(_pattern(wanted.test), escape="\\"))
        yield RUN.c.id.in_(select(TEST.c.run_id).where(TEST.c.series_id.in_(series)))


def _pattern(text: str) -> str:
    """A pattern with * and ? in SQL's letters; brackets stand for themselves, for node ids have them."""
    return re.sub(r"[\\%_]", r"\\\g<0>", text).replace("*", "%").replace("?", "_")


def references(found: Found, keys: Sequence[str], fingerprint: str | None, most: int, dialect: str) -> Iterator[Select[Any]]:
    """The statements that find what ``found`` has of ``keys``, some keys at a time."""
    ids = [run.id for run in found.runs]
    for some in chunks(sorted(map(column_text, keys))):
        if found.kind == "branch":
            yield newest_of_branch(some, column_text(found.ref), fingerprint, most, lateral=dialect == "postgresql")
        else:
            yield references_of_runs(some, ids)


def newest_of_branch(keys: Sequence[str], branch: str, fingerprint: str | None, most: int, *, lateral: bool) -> Select[Any]:
    """The newest reference rows of each key on ``branch``, ``most`` of each key and kind of hardware.

    They are taken from the end of the index: however long the history is, no more rows are looked at than are given back. PostgreSQL has
    to be told by a lateral join, which SQLite doesn't know.
    """
    order = (TEST.c.series_id.desc(), TEST.c.is_reference.desc(), TEST.c.at_us.desc(), TEST.c.id.desc())  # the index backwards
    newest = select(TEST.c.id).where(TEST.c.series_id == SERIES.c.id, TEST.c.is_reference == 1).order_by(*order).limit(most)
    newest, rows = newest.correlate(SERIES), TEST.alias()
    if lateral:
        ids = newest.lateral()
        joined: FromClause = SERIES.join(ids, true()).join(rows, rows.c.id == ids.c.id)
    else:
        joined = SERIES.join(rows, rows.c.id.in_(newest))
    chosen = [SERIES.c.key.in_(keys), SERIES.c.branch == branch]
    chosen += [SERIES.c.fingerprint == fingerprint] if fingerprint is not None else []
    return _rows(rows, joined.join(RUN, RUN.c.id == rows.c.run_id)).where(*chosen)


def references_of_runs(keys: Sequence[str], run_ids: Sequence[int]) -> Select[Any]:
    """The reference rows of these keys in these runs."""
    of_run = and_(SERIES.c.branch == func.coalesce(RUN.c.branch, ""), SERIES.c.fingerprint == RUN.c.fingerprint)
    newest = and_(TEST.c.series_id == SERIES.c.id, TEST.c.is_reference == 1, TEST.c.at_us == RUN.c.at_us)  # as the index has it
    joined = RUN.join(SERIES, of_run).join(TEST, and_(newest, TEST.c.run_id == RUN.c.id))
    return _rows(TEST, joined).where(RUN.c.id.in_(run_ids), SERIES.c.key.in_(keys))


def ids_of_run(run_id: int) -> Select[Any]:
    """The ids of a run's rows in the order of its report."""
    return select(TEST.c.id).where(TEST.c.run_id == run_id).order_by(TEST.c.place)


def tests_by_id(ids: Sequence[int]) -> Select[Any]:
    """The rows with these ids, in any order."""
    joined = TEST.join(RUN, TEST.c.run_id == RUN.c.id).join(SERIES, TEST.c.series_id == SERIES.c.id)
    return _rows(TEST, joined).where(TEST.c.id.in_(ids))


def _rows(rows: FromClause, joined: FromClause) -> Select[Any]:
    return select(SERIES.c.key, rows.c.place, rows.c.at_us, rows.c.content, *INFO).select_from(joined)


def run_info(row: Sequence[Any]) -> RunInfo:
    """The run that ``runs_where`` found."""
    values = dict(zip(_RUN_COLUMNS, row, strict=True))
    texts = {name: original(values[name]) for name in _TEXTS if values[name] is not None}
    return RunInfo(**{**values, **texts, "dirty": None if values["dirty"] is None else bool(values["dirty"])})


def stored_tests(rows: Iterable[Sequence[Any]]) -> Iterator[StoredTest]:
    """The rows that one of the other statements found; a run that has many is one object."""
    runs: dict[int, RunInfo] = {}
    for key, place, at, content, *run in rows:
        if run[0] not in runs:
            runs[run[0]] = run_info(run)
        yield StoredTest(key=original(key), place=place, at_us=at, content=bytes(content), run=runs[run[0]])


def chunks(values: Iterable[_T], size: int = _CHUNK) -> Iterator[list[_T]]:
    """``values``, as many at a time as a statement takes well."""
    rest = iter(values)
    while some := list(itertools.islice(rest, size)):
        yield some
