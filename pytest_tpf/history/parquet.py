"""A history as a flat Parquet table, a row a test and a column a figure, for analysis. It is not for coming back: see ``archive``."""

from __future__ import annotations

import dataclasses
import os
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, NamedTuple

from pytest_tpf.history.errors import HistoryError
from pytest_tpf.history.runs import RunInfo, StoredTest
from pytest_tpf.history.store import Store
from pytest_tpf.records import TestRecord
from pytest_tpf.report.wording import printable

SUFFIX = ".parquet"
_ROWS_AT_ONCE = 5000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Column(NamedTuple):
    """``path`` leads to the figure in a row of a report; ``kind`` is text, whole, number, truth, or a map to texts or numbers."""

    name: str
    path: tuple[str | int, ...]
    kind: str


_KINDS = {str: "text", int: "whole", float: "number", bool: "truth"}
_MAPS = {dict[str, str]: "texts", dict[str, float]: "numbers", dict[str, float | None]: "numbers"}
_RUN_COLUMNS: dict[str, tuple[str, Callable[[RunInfo], Any]]] = {
    "report_id": ("text", lambda run: run.report_id),
    "saved_as": ("text", lambda run: run.name),
    "fingerprint": ("text", lambda run: run.fingerprint),
    "branch": ("text", lambda run: run.branch),
    "commit": ("text", lambda run: run.commit),
    "dirty": ("truth", lambda run: run.dirty),
    "ci_run_id": ("text", lambda run: run.ci_run_id),
}


def columns() -> list[Column]:
    """The figures of a test that fit into a column: ``energy.it_j``, or ``mandated.joules_per_token.ci95.low``. Lists are left out."""
    return list(_columns(TestRecord, (), ""))


def _columns(record: type, path: tuple[str | int, ...], prefix: str) -> Iterator[Column]:
    hints = typing.get_type_hints(record)
    for field in dataclasses.fields(record):
        place, name = (*path, field.name), f"{prefix}{field.name}"
        hint = _without_none(hints[field.name])
        if dataclasses.is_dataclass(hint) and isinstance(hint, type):
            yield from _columns(hint, place, f"{name}.")
        elif hint == tuple[float, float]:
            yield Column(f"{name}.low", (*place, 0), "number")
            yield Column(f"{name}.high", (*place, 1), "number")
        elif hint in _MAPS:
            yield Column(name, place, _MAPS[hint])
        elif typing.get_origin(hint) is typing.Literal:
            yield Column(name, place, "text")
        elif hint in _KINDS:
            yield Column(name, place, _KINDS[hint])


def _without_none(hint: Any) -> Any:
    if typing.get_origin(hint) not in (UnionType, typing.Union):
        return hint
    rest = [kind for kind in typing.get_args(hint) if kind is not NoneType]
    return rest[0] if len(rest) == 1 else hint


def write_parquet(store: Store, runs: Iterable[RunInfo], path: str) -> int:
    """Write a row for each test of these runs to ``path``, whole or not at all; the number of rows.

    Raises:
        HistoryError: pyarrow is missing, ``path`` can't be written, or the database fails.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError:
        raise HistoryError('Parquet needs pyarrow: pip install "pytest-tpf[parquet]"') from None
    types = {
        "text": pyarrow.string(),
        "whole": pyarrow.int64(),
        "number": pyarrow.float64(),
        "truth": pyarrow.bool_(),
        "texts": pyarrow.map_(pyarrow.string(), pyarrow.string()),
        "numbers": pyarrow.map_(pyarrow.string(), pyarrow.float64()),
    }
    figures = columns()
    named = [(name, kind) for name, (kind, _) in _RUN_COLUMNS.items()] + [("key", "text")] + [(f.name, f.kind) for f in figures]
    schema = pyarrow.schema([("created_at", pyarrow.timestamp("us", "UTC")), *((name, types[kind]) for name, kind in named)])
    target = Path(path)
    draft = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    count = 0
    try:
        with pyarrow.parquet.ParquetWriter(draft, schema, compression="zstd") as writer:
            for rows in _batches(store, runs, figures):
                writer.write_table(pyarrow.Table.from_pylist(rows, schema))
                count += len(rows)
        os.replace(draft, target)
    except (OSError, ValueError, OverflowError) as error:
        raise HistoryError(f"{printable(path)}: can't be written: {getattr(error, 'strerror', None) or error}") from None
    finally:
        draft.unlink(missing_ok=True)
    return count


def _batches(store: Store, runs: Iterable[RunInfo], figures: list[Column]) -> Iterator[list[dict[str, Any]]]:
    rows: list[dict[str, Any]] = []
    for run in runs:
        for test in store.tests_of(run):
            rows.append(_row(test, figures))
            if len(rows) == _ROWS_AT_ONCE:
                yield rows
                rows = []
    if rows:
        yield rows


def _row(stored: StoredTest, figures: list[Column]) -> dict[str, Any]:
    row = {name: _plain(value(stored.run)) for name, (_, value) in _RUN_COLUMNS.items()}
    data = stored.data
    found = {figure.name: _plain(_at(data, figure)) for figure in figures}
    return {"created_at": _EPOCH + timedelta(microseconds=stored.at_us), **row, "key": _plain(stored.key), **found}


def _at(data: Any, figure: Column) -> Any:
    for step in figure.path:
        data = None if data is None else data.get(step) if isinstance(step, str) else data[step]
    return float(data) if figure.kind == "number" and data is not None else data


def _plain(value: Any) -> Any:
    """Text without lone surrogates, which Parquet can't hold; a map as pairs."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, Mapping):
        return [(_plain(name), _plain(text)) for name, text in value.items()]
    return value
