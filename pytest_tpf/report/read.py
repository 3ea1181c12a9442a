"""A report from a file that may be anything: bounded memory, no code, no network, one clear line for what is wrong."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from pytest_tpf.report.errors import ReportError
from pytest_tpf.report.walk import walk
from pytest_tpf.report.wording import kind, printable, show

MAX_BYTES = 64 * 2**20  # a row takes about 6 kB, and parsed JSON up to some 25 times its text
_MAX_INTEGER_CHARS = 20  # 64 bits and a sign
_MAX_FLOAT_CHARS = 400  # longer than any float's shortest and any exact decimal that people write


def read_report(path: str | os.PathLike[str], *, max_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """The parsed report in ``path``; it is JSON and an object, but not validated (see ``validate``).

    Raises:
        ReportError: not readable, larger than ``max_bytes``, not UTF-8, not JSON, a key twice, NaN or infinity, a number beyond
            64 bits or a float's range, nested too deeply, or not an object.
    """
    where = printable(os.fspath(path))
    try:
        report = _parse(_text(_bytes(Path(path), max_bytes)))
    except (OSError, ValueError) as error:  # ValueError: a path that no file can have
        raise ReportError(f"{where}: can't be read: {getattr(error, 'strerror', None) or error}") from None
    except ReportError as error:
        raise ReportError(f"{where}: {error}") from None
    if not isinstance(report, dict):
        raise ReportError(f"{where}: holds {kind(report)}, expected object")
    return report


def _bytes(path: Path, max_bytes: int) -> bytes:
    with path.open("rb") as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise ReportError(f"larger than {max_bytes} bytes")
    return content


def _text(content: bytes) -> str:
    if content.startswith(b"\xef\xbb\xbf"):
        raise ReportError("starts with a byte order mark; JSON is plain UTF-8")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ReportError(f"not UTF-8 (byte {error.start}: {error.reason})") from None


def _parse(text: str) -> Any:
    try:
        parsed = json.loads(text, object_pairs_hook=_object, parse_constant=_constant, parse_int=_integer, parse_float=_float)
    except json.JSONDecodeError as error:
        raise ReportError(f"not JSON (line {error.lineno}, column {error.colno}: {error.msg})") from None
    except RecursionError:
        raise ReportError("nested too deeply") from None
    for _ in walk(parsed):  # also bounds what the parser's own limit let through
        pass
    return parsed


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    parsed = dict(pairs)
    if len(parsed) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ReportError(f"key {show(twice)} stands twice in one object")
    return parsed


def _constant(name: str) -> NoReturn:
    raise ReportError(f"{name} is not JSON: numbers are finite")


def _integer(digits: str) -> int:
    if len(digits) > _MAX_INTEGER_CHARS:
        raise ReportError(f"an integer has {len(digits)} digits, more than {_MAX_INTEGER_CHARS}")
    return int(digits)


def _float(digits: str) -> float:
    value = float(digits) if len(digits) <= _MAX_FLOAT_CHARS else math.inf
    if not math.isfinite(value):
        raise ReportError(f"number {digits[:20]}{'...' if len(digits) > 20 else ''} is out of range")
    return value
