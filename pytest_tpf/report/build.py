"""The report from its parts."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import uuid
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from pytest_tpf import __version__
from pytest_tpf.records import (
    SCHEMA_VERSION,
    Environment,
    Facility,
    Generator,
    MeterInfo,
    Report,
    Summary,
    TestRecord,
)

MAX_TEXT, MAX_NAME = 8192, 1024
"""What the schema allows for ids and remarks, and for names (characters)."""

MAX_EXTRA = 4 * 2**20
"""What a test may add (characters of JSON): readers hold one test at a time, and bound it."""


def build_report(tests: Iterable[TestRecord], environment: Environment, facility: Facility, meters: Iterable[MeterInfo]) -> Report:
    """A new report with its own id and the time of now (UTC), and the summary of ``tests``.

    Texts that tests bring along and that are longer than the schema allows are cut in the middle (a prompt as a test's parameter is
    its id, too); the cut carries a digest of the whole, so that two long ids stay two.
    """
    rows = tuple(map(_bounded, tests))
    return Report(
        schema_version=SCHEMA_VERSION,
        report_id=str(uuid.uuid4()),
        created_at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        generator=Generator(name="pytest-tpf", version=__version__),
        environment=environment,
        facility=facility,
        meters=tuple(meters),
        tests=rows,
        summary=summarize(rows),
    )


def _bounded(test: TestRecord) -> TestRecord:
    extra, warnings = test.extra, test.warnings
    if extra and (length := _length(extra)) > MAX_EXTRA:
        extra, warnings = {}, (*warnings, f"tpf.extra is left out: {length} characters of JSON, more than {MAX_EXTRA}")
    elif _is_short(test):
        return test
    return dataclasses.replace(
        test,
        nodeid=_cut(test.nodeid, MAX_TEXT),
        group=None if test.group is None else _cut(test.group, MAX_NAME),
        labels={_cut(name, MAX_NAME): _cut(text, MAX_TEXT) for name, text in test.labels.items()},
        params={_cut(name, MAX_NAME): _cut(text, MAX_TEXT) for name, text in test.params.items()},
        warnings=tuple(_cut(text, MAX_TEXT) for text in warnings),
        extra=extra,
    )


def _is_short(test: TestRecord) -> bool:
    """Nearly always; then the record is taken as it is."""
    names = (test.group or "", *test.labels, *test.params)
    texts = (test.nodeid, *test.labels.values(), *test.params.values(), *test.warnings)
    return max(map(len, names)) <= MAX_NAME and max(map(len, texts)) <= MAX_TEXT


def _length(extra: dict[str, Any]) -> int:
    try:
        return len(json.dumps(extra, default=repr, skipkeys=True))
    except (ValueError, RecursionError):  # it holds itself, or is too deep: validation will say so
        return 0


def _cut(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    digest = hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:16]
    middle = f"[... {len(text)} characters, sha256 {digest} ...]"
    rest = limit - len(middle)
    return text[: rest - rest // 4] + middle + text[len(text) - rest // 4 :]


def summarize(tests: Sequence[TestRecord]) -> Summary:
    """The run in six numbers. An estimate isn't counted as measured, but its joules are in the total (None where none are known)."""
    known_j = [test.energy.it_j for test in tests if test.energy.it_j is not None]
    return Summary(
        tests=len(tests),
        measured=sum(is_measured(test) for test in tests),
        failed_budgets=sum(budget.verdict == "fail" for test in tests for budget in test.budgets),
        regressions=sum(test.regression is not None and test.regression.verdict == "fail" for test in tests),
        total_it_j=math.fsum(known_j) if known_j else None,
        total_output_tokens=sum(test.workload.output_tokens for test in tests),
    )


def is_measured(test: TestRecord) -> bool:
    """Whether the test's energy is known and comes from meters alone."""
    return test.energy.it_j is not None and test.energy.trust == "measured"
