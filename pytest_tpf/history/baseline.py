"""The baseline file: read as anything may stand there, written so that a reviewer sees what changed."""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_tpf.codec import as_dict, from_dict
from pytest_tpf.history.entries import BASELINE_VERSION, BaselineFile
from pytest_tpf.report.errors import ReportError
from pytest_tpf.report.schema import load_schema
from pytest_tpf.report.stream import parse_json
from pytest_tpf.report.walk import check_depth
from pytest_tpf.report.wording import json_path, line, printable, say
from pytest_tpf.report.write import write_atomically

if TYPE_CHECKING:
    import jsonschema_rs

MAX_BYTES = 64 * 2**20
_SCHEMA = "tpf-baseline-1.0.schema.json"
_ROUND = re.compile(r"\{\s+(\"device_j\"[^{}]*?)\s+\}")  # its first name, sorted; no text can look like it, quotes are escaped there
_INDENT = re.compile(r"\s*\n\s*")


def read_baseline(path: str | os.PathLike[str]) -> BaselineFile | None:
    """The baseline in ``path``; None where there is no such file.

    Raises:
        ReportError: one line: it can't be read, isn't JSON, or isn't a baseline.
    """
    where = printable(os.fspath(path))
    try:
        with open(path, "rb") as file:
            text = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ReportError(f"{where}: can't be read: {getattr(error, 'strerror', None) or error}") from None
    try:
        return from_dict(BaselineFile, _checked(text))
    except ReportError as error:
        raise ReportError(f"{where}: {error}") from None


def _checked(text: bytes) -> Mapping[str, Any]:
    if len(text) > MAX_BYTES:
        raise ReportError(f"larger than {MAX_BYTES} bytes")
    if text.startswith((b"<<<<<<<",)) or b"\n<<<<<<< " in text:
        raise ReportError("has merge markers in it: keep one side, or delete the file and make it anew with --tpf-accept")
    data = parse_json(text)
    check_depth(data)
    if isinstance(data, dict) and "schema_version" in data:
        raise ReportError("is a report, not a baseline; compare with a report by --tpf-compare")
    version = data.get("baseline_version") if isinstance(data, dict) else None
    if version != BASELINE_VERSION:
        said = f"baseline_version is {ascii(version)[:40]}" if version else "has no baseline_version"
        raise ReportError(f"{said}, expected {BASELINE_VERSION!r}; is this a baseline?")
    problems = list(_problems(data))
    if problems:
        raise ReportError(problems[0] + (f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""))
    return data  # type: ignore[no-any-return] # the schema says it is an object


def _problems(data: Any) -> Iterator[str]:
    try:
        if _quick().is_valid(data):
            return
    except ValueError:  # text that UTF-8 can't carry
        pass
    from jsonschema import Draft202012Validator

    for problem in Draft202012Validator(load_schema(_SCHEMA)).iter_errors(data):
        yield line(json_path(problem.absolute_path), say(problem))


@functools.cache
def _quick() -> jsonschema_rs.Draft202012Validator:
    from jsonschema_rs import Draft202012Validator

    return Draft202012Validator(load_schema(_SCHEMA))


def write_baseline(path: str | os.PathLike[str], baseline: BaselineFile) -> None:
    """Write the file, sorted, a round a line, atomically; missing folders are made.

    Raises:
        ReportError: it can't be written, or nobody could read it again; an older file is left as it was.
    """
    if problem := next(_problems(as_dict(baseline)), None):
        raise ReportError(f"{printable(os.fspath(path))}: not written, the baseline is invalid: {problem}")
    write_atomically(Path(path), baseline_text(baseline))


def baseline_text(baseline: BaselineFile) -> str:
    """The text of the file: keys sorted, so that equal baselines are equal texts, and each round on one line."""
    indented = json.dumps(as_dict(baseline), indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return _ROUND.sub(lambda found: "{" + _INDENT.sub(" ", found[1]) + "}", indented) + "\n"
