"""A report as rows of the history. Pure."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from pytest_tpf.codec import as_dict
from pytest_tpf.history._blob import packed
from pytest_tpf.history._text import column_text
from pytest_tpf.history.errors import RefusedReport
from pytest_tpf.history.identity import key_of
from pytest_tpf.judge.sample import REFERENCE_OUTCOMES
from pytest_tpf.record import record
from pytest_tpf.records import Report
from pytest_tpf.report.read import Part
from pytest_tpf.report.validate import Validation, parts_of

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@record
class Rows:
    """What is stored of one report: the run, its tests with their ``key``, and the labels that its tests have."""

    run: dict[str, Any]
    tests: tuple[dict[str, Any], ...]
    labels: frozenset[tuple[str, str]]


def rows_of(report: Report | Mapping[str, Any] | Iterable[Part]) -> Rows:
    """The rows of a report: the record, its ``as_dict``, or its parts as ``scan_report`` gives them, of which only one is held whole.

    Raises:
        RefusedReport: it is invalid. What is in the history is valid.
        ReportError: its file can't be read.
    """
    validation, tests, labels = Validation(), list[dict[str, Any]](), set[tuple[str, str]]()
    for place, test in enumerate(validation.tests(_parts(report))):
        tests.append(_test(place, test, column_text(key_of(test["nodeid"], test["labels"]))))
        labels |= {(column_text(name), column_text(value)) for name, value in test["labels"].items()}
    if validation.problems:
        first_problem, *others = validation.problems
        raise RefusedReport(f"not saved, the report is invalid: {first_problem}{f' (and {len(others)} more)' if others else ''}")
    run = _run(validation.head)
    return Rows(run={**run, "tests": len(tests)}, tests=tuple({**test, "at_us": run["at_us"]} for test in tests), labels=frozenset(labels))


def at_us(created_at: str) -> int:
    """Microseconds since 1970 of a time as reports have it: UTC, with or without fractions, in a leap second perhaps."""
    day, _, clock = created_at.removesuffix("Z").partition("T")
    hours, minutes, seconds = clock.split(":")
    whole, _, fraction = seconds.partition(".")
    start = datetime.fromisoformat(day).replace(tzinfo=UTC)
    since = start - _EPOCH + timedelta(hours=int(hours), minutes=int(minutes), seconds=int(whole), microseconds=int(fraction.ljust(6, "0")))
    return since // timedelta(microseconds=1)


def _parts(report: Report | Mapping[str, Any] | Iterable[Part]) -> Iterable[Part]:
    if isinstance(report, Report):
        return _parts_of_record(report)
    return parts_of(report) if isinstance(report, Mapping) else report


def _parts_of_record(report: Report) -> Iterator[Part]:
    """Its tests become builtins one at a time."""
    head = as_dict(dataclasses.replace(report, tests=()))
    return itertools.chain(head.items(), enumerate(map(as_dict, report.tests)))


def _run(head: Mapping[str, Any]) -> dict[str, Any]:
    environment = head["environment"]
    source, ci = environment["source"], environment["ci"] or {}
    return {
        "report_id": head["report_id"],
        "at_us": _moment(head["created_at"]),
        "created_at": head["created_at"],
        "fingerprint": environment["hardware_fingerprint"],
        "branch": _text(source["branch"]),
        "commit": source["commit"],
        "dirty": source["dirty"] if source["dirty"] is None else int(source["dirty"]),
        "ci_run_id": _text(ci.get("run_id")),
        "head": packed(head),
    }


def _moment(created_at: str) -> int:
    try:
        return at_us(created_at)
    except (ValueError, OverflowError) as error:  # a day that the calendar doesn't have
        raise RefusedReport(f"not saved, the report's created_at is no time: {error}") from None


def _test(place: int, test: Mapping[str, Any], key: str) -> dict[str, Any]:
    first = test.get("attempt", 1) == 1
    return {
        "place": place,
        "key": key,
        "outcome": column_text(test["outcome"]),
        "first_attempt": int(first),
        "energy_valid": int(test["energy"]["valid"]),
        "is_reference": int(first and test["outcome"] in REFERENCE_OUTCOMES),
        "content": packed(test),
    }


def _text(text: str | None) -> str | None:
    return column_text(text) if text else None
