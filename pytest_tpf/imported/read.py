"""Result files, recognised by what they hold."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from pytest_tpf.imported import aiperf, guidellm, vllm_bench
from pytest_tpf.imported.fields import Fields, NotUsable
from pytest_tpf.imported.point import Point
from pytest_tpf.report.errors import ReportError
from pytest_tpf.report.read import Part, scan_objects
from pytest_tpf.report.wording import printable

MAX_BYTES = 2**30
MAX_VALUE_CHARS = 32 * 2**20
"""Of what is held whole: one benchmark of GuideLLM's (some thousand requests with prompts and answers), one of vLLM's arrays."""

KNOWN = "AIPerf's profile_export_aiperf.json, a result of vllm bench serve (best: --save-detailed), GuideLLM's benchmarks.json"


def read_points(path: str | os.PathLike[str], ahead_s: float) -> list[Point]:
    """Every benchmark of a file, which may hold several results one after the other (``vllm bench serve --append-result``).

    ``ahead_s``: Unix time less ``perf_counter`` on this machine.

    Raises:
        ReportError: it can't be read, isn't JSON, holds nothing that is known, or not what its tool writes; the text names the file.
    """
    where = printable(os.fspath(path))
    found: list[Point] = []
    for members in scan_objects(path, guidellm.BENCHMARKS, max_bytes=MAX_BYTES, max_value_chars=MAX_VALUE_CHARS):
        try:
            found += _points(members, ahead_s)
        except NotUsable as error:
            raise ReportError(f"{where}: {error}") from None
    if not found:
        raise ReportError(f"{where}: holds no benchmark")
    return found


def _points(members: Iterator[Part], ahead_s: float) -> Iterator[Point]:
    """The benchmarks of one object; GuideLLM's are taken as they go by, so that only one of them is held at a time."""
    head: dict[str, Any] = {}
    document, benchmarks = Fields(head), list[Point]()
    for name, value in members:
        if isinstance(name, str):
            head[name] = value
        elif guidellm.is_report(document):
            benchmarks.append(guidellm.point(document.item(guidellm.BENCHMARKS, name, value), name))
        else:
            raise NotUsable(f"is no result that is known: {KNOWN}")
    if aiperf.is_export(document):
        yield aiperf.point(document)
    elif guidellm.is_report(document):
        yield from (guidellm.named(each, document) for each in benchmarks)
    elif vllm_bench.is_result(document):
        yield vllm_bench.point(document, ahead_s)
    else:
        raise NotUsable(f"is no result that is known: {KNOWN}")
