"""A report onto the disk: whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pytest_tpf.report.errors import ReportError
from pytest_tpf.report.validate import validate
from pytest_tpf.report.wording import printable


def write_report(path: str | os.PathLike[str], report: Mapping[str, Any]) -> None:
    """Validate ``report`` (``codec.as_dict`` of a Report) and write it to ``path`` as UTF-8 JSON in the order of its fields.

    Each test is one line, so that ``grep``, ``diff`` and ``git`` can tell tests apart. Missing parent folders are made. Whoever reads
    ``path`` meanwhile sees the older report or the new one, never a part.

    Raises:
        ReportError: the report is invalid (``problems`` says how), or the path can't be written; an older report is left as it was.
    """
    problems = validate(report)
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise ReportError(f"{printable(os.fspath(path))}: not written, the report is invalid: {problems[0]}{more}", problems)
    tests = map(test_line, report["tests"])
    write_atomically(path, report_text({name: value for name, value in report.items() if name != "tests"}, tests))


def report_text(head: Mapping[str, Any], tests: Iterable[str]) -> Iterator[str]:
    """The text of a report, piece by piece: its members in the schema's order, ``tests`` (see ``test_line``) before the summary.

    ``tests`` are exhausted before ``summary`` is looked up in ``head``, so that who yields them may count them meanwhile.
    """
    yield "{"
    for name in [name for name in head if name != "summary"]:
        yield f"\n{_json(name)}: {_json(head[name])},"
    yield '\n"tests": ['
    comma = ""
    for test in tests:
        yield f"{comma}\n{test}"
        comma = ","
    yield f'\n],\n"summary": {_json(head["summary"])}\n}}\n'


def test_line(test: Mapping[str, Any]) -> str:
    """A test (as builtins) as JSON on one line."""
    return _json(test)


def _json(value: Any) -> str:
    return json.dumps(value, allow_nan=False, ensure_ascii=False)


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
