"""The JSON Schema of the report, from the installed package or from a checkout; never from the network."""

from __future__ import annotations

import functools
import importlib.resources
import json
import re
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from pytest_tpf.records import SCHEMA_VERSION
from pytest_tpf.report.errors import ReportError

_REPORT = "tpf-report-1.0.schema.json"
_VERSION = re.compile(r"(0|[1-9][0-9]{0,3})\.(0|[1-9][0-9]{0,3})\.(0|[1-9][0-9]{0,3})")
_MAJOR, _MINOR = (int(part) for part in SCHEMA_VERSION.split(".")[:2])


def schema_for(version: str) -> dict[str, Any]:
    """The schema that a report of ``version`` has to follow.

    A newer minor version may only add, so its reports are held to what this version knows and may have unknown keys.

    Raises:
        ReportError: not a version, or of another major version.
    """
    match = _VERSION.fullmatch(version)
    if match is None:
        raise ReportError(f"schema_version {_quoted(version)} is not a version: expected for example {SCHEMA_VERSION}")
    major, minor = int(match[1]), int(match[2])
    if major != _MAJOR:
        raise ReportError(f"schema_version {version} is not supported: this pytest-tpf reads {_MAJOR}.x; use the version that wrote it")
    return load_schema() if minor <= _MINOR else _tolerant_schema()


@functools.cache
def load_schema(file: str = _REPORT) -> dict[str, Any]:
    """The schema in ``file`` (the report's of this version), parsed; callers must not change it."""
    schema: dict[str, Any] = json.loads(_locate(file).read_text(encoding="utf-8"))
    return schema


def _locate(file: str) -> Traversable:
    """The wheel carries the schemas inside the package; a checkout has them beside the package."""
    packaged = importlib.resources.files("pytest_tpf") / "schema" / file
    return packaged if packaged.is_file() else Path(__file__).resolve().parents[2] / "schema" / file


@functools.cache
def _tolerant_schema() -> dict[str, Any]:
    opened: dict[str, Any] = _without_closure(load_schema())
    opened["$id"] = f"{opened['$id']}:or-newer"
    opened["$defs"]["Report"]["properties"]["schema_version"] = {"type": "string"}
    return opened


def _without_closure(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _without_closure(value) for key, value in node.items() if key != "unevaluatedProperties"}
    return [_without_closure(item) for item in node] if isinstance(node, list) else node


def _quoted(text: str) -> str:
    return ascii(text if len(text) <= 40 else f"{text[:39]}…")
