"""What changes the history. Every function is called in the transaction of the one writer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Select, delete, exists, func, insert, select, update

from pytest_tpf.history._queries import INFO, chunks
from pytest_tpf.history._schema import LABEL, RUN, SERIES, TEST
from pytest_tpf.history.rows import Rows, at_us
from pytest_tpf.history.runs import Saved


def save(connection: Connection, rows: Rows, name: str | None) -> Saved:
    """Insert a report, unless its id is there already; with a ``name`` it gets that in both cases."""
    known = connection.scalar(select(RUN.c.id).where(RUN.c.report_id == rows.run["report_id"]))
    if known is not None:
        if name:
            connection.execute(update(RUN).where(RUN.c.id == known).values(name=name))
        return Saved(run_id=known, is_new=False, tests=len(rows.tests))
    return Saved(run_id=_insert(connection, rows, name), is_new=True, tests=len(rows.tests))


def _insert(connection: Connection, rows: Rows, name: str | None) -> int:
    run_id = connection.execute(insert(RUN).values({**rows.run, "name": name}).returning(RUN.c.id)).scalar_one()
    series = _series_of(connection, {test["key"] for test in rows.tests}, rows.run["branch"] or "", rows.run["fingerprint"])
    for some in chunks(rows.tests):
        connection.execute(insert(TEST), [_row(test, run_id, series) for test in some])
    if rows.labels:
        connection.execute(insert(LABEL), [{"name": label, "value": value, "run_id": run_id} for label, value in sorted(rows.labels)])
    return int(run_id)


def _row(test: Mapping[str, Any], run_id: int, series: Mapping[str, int]) -> dict[str, Any]:
    return {"run_id": run_id, "series_id": series[test["key"]], **{name: value for name, value in test.items() if name != "key"}}


def _series_of(connection: Connection, keys: Iterable[str], branch: str, fingerprint: str) -> dict[str, int]:
    """The series' numbers by their keys; those that are missing are made."""
    numbers: dict[str, int] = {}
    columns = select(SERIES.c.key, SERIES.c.id).where(SERIES.c.branch == branch, SERIES.c.fingerprint == fingerprint)
    for some in chunks(sorted(keys)):
        known = columns.where(SERIES.c.key.in_(some))
        found = {row.key: row.id for row in connection.execute(known)}
        missing = [{"key": key, "branch": branch, "fingerprint": fingerprint} for key in some if key not in found]
        if missing:
            connection.execute(insert(SERIES), missing)
            found = {row.key: row.id for row in connection.execute(known)}
        numbers |= found
    return numbers


def prunable(keep: int | None, before: str | None, *, named: bool) -> Select[Any]:
    """The runs that may go, newest first (see ``Store.prune``)."""
    chosen = select(*INFO).order_by(RUN.c.at_us.desc(), RUN.c.id.desc())
    if not named:
        chosen = chosen.where(RUN.c.name.is_(None))
    if before is not None:
        chosen = chosen.where(RUN.c.at_us < at_us(before))
    if keep is not None:
        series, newest = (TEST.c.series_id, TEST.c.is_reference), (TEST.c.at_us.desc(), TEST.c.id.desc())
        places = select(TEST.c.run_id, func.row_number().over(partition_by=series, order_by=newest).label("place")).subquery()
        chosen = chosen.where(RUN.c.id.not_in(select(places.c.run_id).where(places.c.place <= keep)))
    return chosen


def delete_runs(connection: Connection, run_ids: Sequence[int]) -> None:
    """Delete runs with their tests and labels, and the series that have no test left."""
    for some in chunks(run_ids):
        connection.execute(delete(RUN).where(RUN.c.id.in_(some)))
    if run_ids:
        connection.execute(delete(SERIES).where(~exists().where(TEST.c.series_id == SERIES.c.id)))
