"""A report onto the disk: whole or not at all."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pytest_tpf.codec import as_dict
from pytest_tpf.records import Report
from pytest_tpf.report.errors import ReportError
from pytest_tpf.report.read import Part
from pytest_tpf.report.validate import Validation, parts_of
from pytest_tpf.report.wording import printable

_ENCODER = json.JSONEncoder(allow_nan=False, ensure_ascii=False)  # json.dumps would make one for every call


def write_report(path: str | os.PathLike[str], report: Report | Mapping[str, Any]) -> None:
    """Validate ``report`` (the record, or ``codec.as_dict`` of it) and write it to ``path`` as UTF-8 JSON in the order of its fields.

    Each test is one line, so that ``grep``, ``diff`` and ``git`` can tell tests apart. Missing parent folders are made. Whoever reads
    ``path`` meanwhile sees the older report or the new one, never a part.

    Raises:
        ReportError: the report is invalid (``problems`` says how), or the path can't be written; an older report is left as it was.
    """
    validation = Validation()
    lines = [json_line(test) for test in validation.tests(_parts(report))]
    if validation.problems:
        first, *others = validation.problems
        more = f" (and {len(others)} more)" if others else ""
        text = f"{printable(os.fspath(path))}: not written, the report is invalid: {first}{more}"
        raise ReportError(text, validation.problems)
    write_atomically(path, report_text(validation.head, lines))


def write_unchecked(path: str | os.PathLike[str], report: Report | Mapping[str, Any]) -> None:
    """Write a report that is invalid, for whoever finds out why: no reader takes it, but what was measured is in it.

    Raises:
        ReportError: the path can't be written, or the report has no end.
    """
    try:
        text = json.dumps(as_dict(report), ensure_ascii=False, default=repr, skipkeys=True, indent=1)
    except (ValueError, RecursionError):
        raise ReportError(f"{printable(os.fspath(path))}: not written, the report has no end") from None
    write_atomically(path, f"{text}\n")


def _parts(report: Report | Mapping[str, Any]) -> Iterator[Part]:
    """The tests of a record become builtins one at a time."""
    if not isinstance(report, Report):
        return parts_of(report)
    head = as_dict(dataclasses.replace(report, tests=()))
    return itertools.chain(head.items(), enumerate(map(as_dict, report.tests)))


def report_text(head: Mapping[str, Any], tests: Iterable[str]) -> Iterator[str]:
    """The text of a report, piece by piece: each member on a line, and each of the ``tests`` (see ``json_line``), before the summary."""
    yield "{"
    for name in [name for name in head if name not in ("tests", "summary")]:
        yield f"\n{json_line(name)}: {json_line(head[name])},"
    yield '\n"tests": ['
    comma = ""
    for test in tests:
        yield f"{comma}\n{test}"
        comma = ","
    yield f'\n],\n"summary": {json_line(head["summary"])}\n}}\n'


def json_line(value: Any) -> str:
    """``value``, for example a test as builtins, as JSON on one line."""
    return _ENCODER.encode(value)


def write_atomically(path: str | os.PathLike[str], text: str | Iterable[str]) -> None:
    """``text``, whole or in pieces, as the whole content of ``path``: written beside it, synced, renamed.

    Raises:
        ReportError: full disk, no permission, a folder in the way; what stood at ``path`` is untouched.
    """
    pieces = (text,) if isinstance(text, str) else text
    # a lone surrogate (an undecodable file name) becomes \\udcXX, which is its JSON escape
    content = (piece.encode("utf-8", "backslashreplace") for piece in pieces)
    try:
        target = Path(os.path.realpath(path))  # through a symbolic link, not over it
        if target.exists() and not target.is_file():
            with target.open("wb") as file:  # a pipe or a device: renaming would replace the node itself; a folder raises
                file.writelines(content)
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        _replace(target, content)
    except FileExistsError as error:
        raise ReportError(f"{printable(os.fspath(path))}: can't be written: {printable(str(error.filename))} is not a folder") from None
    except (OSError, ValueError) as error:  # ValueError: a path that no file can have
        reason = getattr(error, "strerror", None) or error
        raise ReportError(f"{printable(os.fspath(path))}: can't be written: {reason}") from None


def _replace(target: Path, content: Iterable[bytes]) -> None:
    descriptor, temporary = tempfile.mkstemp(prefix=f".{target.name[:100]}.", suffix=".tmp", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.writelines(content)
            file.flush()
            os.fchmod(file.fileno(), _mode_for(target))
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _mode_for(target: Path) -> int:
    """An older report keeps its mode; a new one gets what the umask gives (a temporary file would be private)."""
    with contextlib.suppress(OSError):
        return target.stat().st_mode & 0o777
    umask = os.umask(0o022)  # reading it means setting it
    os.umask(umask)
    return 0o666 & ~umask
