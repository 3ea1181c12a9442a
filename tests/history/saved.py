"""Reports for the history: small, all different, as a run of a suite would make them."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Sequence
from typing import Any

from pytest_tpf.records import Report, TestRecord
from tests.report import factory

MAIN = "0123456789abcdef0123456789abcdef01234567"
HARDWARE = factory.environment().hardware_fingerprint
OTHER_HARDWARE = "ffeeddccbbaa9988"


def run(
    *tests: TestRecord,
    at: str = "2026-01-01T00:00:00Z",
    branch: str | None = "main",
    commit: str | None = MAIN,
    dirty: bool | None = False,
    fingerprint: str = HARDWARE,
) -> Report:
    """A report of these tests (by default the factory's three)."""
    report = factory.report(*tests)
    source = dataclasses.replace(report.environment.source, branch=branch, commit=commit, dirty=dirty)
    environment = dataclasses.replace(report.environment, source=source, hardware_fingerprint=fingerprint)
    return dataclasses.replace(report, report_id=str(uuid.uuid4()), created_at=at, environment=environment)


def a_test(nodeid: str, **changes: Any) -> TestRecord:
    return factory.measured_test(nodeid=nodeid, **changes)


def nights(count: int, nodeids: Sequence[str], **where: Any) -> list[Report]:
    """So many runs of these tests, a day apart, the first one the oldest."""
    tests = [a_test(nodeid) for nodeid in nodeids]
    return [run(*tests, at=f"2026-{1 + day // 28:02}-{1 + day % 28:02}T02:00:00Z", **where) for day in range(count)]
