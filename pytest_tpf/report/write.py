"""A report onto the disk: whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_tpf.report.errors import ReportError
from pytest_tpf.report.validate import validate
from pytest_tpf.report.wording import printable


def write_report(path: str | os.PathLike[str], report: Mapping[str, Any]) -> None:
    """Validate ``report`` (``codec.as_dict`` of a Report) and write it to ``path`` as UTF-8 JSON in the order of its fields.

    Missing parent folders are made. Whoever reads ``path`` meanwhile sees the older report or the new one, never a part.

    Raises:
        ReportError: the report is invalid (``problems`` says how), or the path can't be written; an older report is left as it was.
    """
    problems = validate(report)
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise ReportError(f"{printable(os.fspath(path))}: not written, the report is invalid: {problems[0]}{more}", problems)
    write_atomically(path, json.dumps(report, allow_nan=False, ensure_ascii=False, indent=1) + "\n")


def write_atomically(path: str | os.PathLike[str], text: str) -> None:
    """``text`` as the whole content of ``path``: written beside it, synced, renamed.

    Raises:
        ReportError: full disk, no permission, a folder in the way; what stood at ``path`` is untouched.
    """
    # a lone surrogate (an undecodable file name) becomes \\udcXX, which is its JSON escape
    content = text.encode("utf-8", "backslashreplace")
    try:
        target = Path(os.path.realpath(path))  # through a symbolic link, not over it
        if target.exists() and not target.is_file():
            target.write_bytes(content)  # a pipe or a device: renaming would replace the node itself; a folder raises
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        _replace(target, content)
    except FileExistsError as error:
        raise ReportError(f"{printable(os.fspath(path))}: can't be written: {printable(str(error.filename))} is not a folder") from None
    except (OSError, ValueError) as error:  # ValueError: a path that no file can have
        reason = getattr(error, "strerror", None) or error
        raise ReportError(f"{printable(os.fspath(path))}: can't be written: {reason}") from None


def _replace(target: Path, content: bytes) -> None:
    descriptor, temporary = tempfile.mkstemp(prefix=f".{target.name[:100]}.", suffix=".tmp", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
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
