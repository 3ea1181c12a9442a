"""Result files, recognised by what they hold."""

from __future__ import annotations

import os
from collections.abc import Iterator

from pytest_tpf.imported import aiperf, guidellm, vllm_bench
from pytest_tpf.imported.fields import Fields, NotUsable
from pytest_tpf.imported.point import Point
from pytest_tpf.report.errors import ReportError
from pytest_tpf.report.read import scan_values
from pytest_tpf.report.wording import kind, printable

MAX_BYTES = 256 * 2**20
MAX_VALUE_CHARS = 64 * 2**20
"""Of one result, which is held whole: some ten thousand requests of GuideLLM's, with prompts and answers in them."""

KNOWN = "AIPerf's profile_export_aiperf.json, a result of vllm bench serve (best: --save-detailed), GuideLLM's benchmarks.json"


def read_points(path: str | os.PathLike[str], ahead_s: float) -> list[Point]:
    """Every benchmark of a file, which may hold several results one after the other (``vllm bench serve --append-result``).

    ``ahead_s``: Unix time less ``perf_counter`` on this machine.

    Raises:
        ReportError: it can't be read, isn't JSON, holds nothing that is known, or not what its tool writes; the text names the file.
    """
    where = printable(os.fspath(path))
    found: list[Point] = []
    for value in scan_values(path, max_bytes=MAX_BYTES, max_value_chars=MAX_VALUE_CHARS):
        try:
            found += _points(value, ahead_s)
        except NotUsable as error:
            raise ReportError(f"{where}: {error}") from None
    if not found:
        raise ReportError(f"{where}: holds no benchmark")
    return found


def _points(value: object, ahead_s: float) -> Iterator[Point]:
    if not isinstance(value, dict):
        raise NotUsable(f"holds {kind(value)}, expected object: {KNOWN}")
    document = Fields(value)
    if aiperf.is_export(document):
        yield aiperf.point(document)
    elif guidellm.is_report(document):
        yield from guidellm.points(document)
    elif vllm_bench.is_result(document):
        yield vllm_bench.point(document, ahead_s)
    else:
        raise NotUsable(f"is no result that is known: {KNOWN}")
