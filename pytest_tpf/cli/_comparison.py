"""Two reports, or a report and several of its reference, test by test. Holds of each test its samples and its changes, not its record."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_tpf.codec import as_dict, from_dict
from pytest_tpf.history.identity import key_of
from pytest_tpf.history.references import FromReport, Samples
from pytest_tpf.judge.comparison import Terms, compare_test, not_compared, settle
from pytest_tpf.judge.contrast import run_noise
from pytest_tpf.judge.sample import Sample, sample_of
from pytest_tpf.judge.thresholds import METRICS, Threshold
from pytest_tpf.records import Conditions, Reference, Regression, TestRecord, record
from pytest_tpf.report.errors import ReportError
from pytest_tpf.report.read import scan_report
from pytest_tpf.report.regressions import short_id, standing
from pytest_tpf.report.text import plain
from pytest_tpf.report.validate import checked
from pytest_tpf.report.walk import is_plain_json, walk
from pytest_tpf.report.wording import printable

_LEFT_OUT = {"ci", "uuid", "index"}  # of the environment: they differ from run to run
_BEYOND = "not compared: its figures are beyond what can be reckoned with"  # a report may hold any numbers


@record
class Comparison:
    """What became of each test.

    Attributes:
        references: file and head of each report that was compared with, newest first.
        new: file and head of the report that was compared.
        tests: of the new report, in its order: one of each test, with nothing but what a comparison needs.
        vanished: ids of tests that only the reference has.
        differences: what of the environment differs from the newest reference, one line each.
    """

    references: tuple[tuple[str, Mapping[str, Any]], ...]
    new: tuple[str, Mapping[str, Any]]
    tests: tuple[TestRecord, ...]
    vanished: tuple[str, ...]
    differences: tuple[str, ...]
    thresholds: tuple[Threshold, ...]

    @property
    def verdict(self) -> str:
        """fail where a test regressed, inconclusive where that can't be told of each, else pass."""
        found = {standing(test) for test in self.tests}
        if "regressed" in found:
            return "fail"
        is_told = found - {"inconclusive", "not compared", "new"} and not found & {"inconclusive", "not compared"} and not self.vanished
        return "pass" if is_told else "inconclusive"


def compared(paths: Sequence[str], path: str, thresholds: tuple[Threshold, ...], *, across: bool) -> Comparison:
    """The report in ``path`` against those in ``paths`` (at least one), which are runs of one reference.

    Raises:
        ReportError: one can't be read, or is invalid. One line.
    """
    reports = sorted(((each, FromReport(each, Path(each))) for each in paths), key=lambda pair: pair[1].head["created_at"], reverse=True)
    earlier = _samples([report for _, report in reports])
    noises = {each.metric: run_noise(earlier.values(), each.metric) for each in thresholds if METRICS[each.metric].amounts}
    terms = Terms(thresholds=thresholds, family=max(1, len(earlier) * len(thresholds)), noises=noises, across=across)
    head = _head(path)
    rows = _rows(path, head["environment"]["hardware_fingerprint"], earlier, terms, _name([each for each, _ in reports]))
    settled = settle([row.regression for row in rows.values()])
    tests = [dataclasses.replace(row, regression=found) for row, found in zip(rows.values(), settled, strict=True)]
    return Comparison(
        references=tuple((each, report.head) for each, report in reports),
        new=(path, head),
        tests=tuple(tests),
        vanished=tuple(samples[0].nodeid for key, samples in earlier.items() if key not in rows),
        differences=tuple(environment_differences(reports[0][1].head["environment"], head["environment"])),
        thresholds=thresholds,
    )


def _samples(reports: Sequence[FromReport]) -> Samples:
    found: Samples = {}
    for report in reports:
        for key, samples in report.samples(report.expected(None), "").items():
            found.setdefault(key, []).extend(samples)
    return found


def _name(paths: Sequence[str]) -> str:
    return paths[0] if len(paths) == 1 else f"{len(paths)} reports"


def _head(path: str) -> Mapping[str, Any]:
    """Of a report that is read before its tests are compared: its hardware may stand behind them, and be invalid."""
    found = checked(scan_report(path))
    if found.problems:
        raise ReportError(f"{printable(path)}: is no valid report: {found.problems[0]}")
    return found.head


def _rows(path: str, fingerprint: str, earlier: Samples, terms: Terms, name: str) -> dict[str, TestRecord]:
    """Each of the report's tests by its key. Of a test that ran several times the first attempt counts."""
    rows: dict[str, TestRecord] = {}
    slim = _Slim()
    for place, value in scan_report(path):
        if not isinstance(place, int):
            continue
        test = from_dict(TestRecord, value)
        key = key_of(test.nodeid, test.labels)
        if key not in rows:
            rows[key] = slim(test, _regression(test, key, fingerprint, earlier.get(key, []), terms, name))
    return rows


def _regression(test: TestRecord, key: str, fingerprint: str, earlier: list[Sample], terms: Terms, name: str) -> Regression | None:
    if not earlier:
        return None
    newest = earlier[0]
    commit = newest.commit if len({sample.commit for sample in earlier}) == 1 else None
    reference = Reference(source="report", ref=name[:4096], runs=0, rounds=0, commit=commit, recorded_at=newest.recorded_at)
    remeasured = test.regression.remeasured_rounds if test.regression else 0
    try:
        found = compare_test(sample_of(test, key, fingerprint), earlier, terms, reference, remeasured)
    except (ArithmeticError, ValueError):
        return not_compared(_BEYOND, reference)
    return found if is_plain_json(as_dict(found)) else not_compared(_BEYOND, reference)


class _Slim:
    """Makes records that hold nothing but what a comparison needs; the rest is shared by all of one trust."""

    def __init__(self) -> None:
        self._shared: dict[str | None, TestRecord] = {}

    def __call__(self, test: TestRecord, regression: Regression | None) -> TestRecord:
        trust = test.energy.trust
        if trust not in self._shared:
            plain_test = dataclasses.replace(test, labels={}, params={}, budgets=(), rounds=(), warnings=(), extra={}, group=None)
            self._shared[trust] = dataclasses.replace(plain_test, conditions=Conditions())
        return dataclasses.replace(self._shared[trust], nodeid=test.nodeid, outcome=test.outcome, regression=regression, attempt=1)


def environment_differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """``software.torch is 2.13.0, was 2.12.1``: where two environments (as builtins) differ."""
    before, after = _leaves(old), _leaves(new)
    for name in dict.fromkeys((*after, *before)):
        if before.get(name) != after.get(name):
            yield plain(f"{name} is {_told(after.get(name))}, was {_told(before.get(name))}")


def _leaves(environment: Mapping[str, Any]) -> dict[str, Any]:
    return {
        ".".join(map(str, path)): value
        for path, value in walk(environment)
        if not isinstance(value, (dict, list)) and not _LEFT_OUT.intersection(path)
    }


def _told(value: Any) -> str:
    return "unknown" if value is None else short_id(str(value))
