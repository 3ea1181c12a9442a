"""Several reports of one run (xdist, a CI matrix, many nodes) as one: every test kept, none counted twice.

A test's identity is its node id, and its attempts are its rows in one report. The same attempts in two reports are the same test; other
attempts of the same node id contradict, for one of the reports must be wrong about it or be of another run.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytest_tpf.codec import as_dict, from_dict
from pytest_tpf.records import SCHEMA_VERSION, Environment, Facility, MeterInfo
from pytest_tpf.report.build import build_report
from pytest_tpf.report.environment import ci_service
from pytest_tpf.report.errors import ReportError
from pytest_tpf.report.read import scan_report
from pytest_tpf.report.schema import load_schema, schema_for
from pytest_tpf.report.spool import Spool
from pytest_tpf.report.tally import Tally
from pytest_tpf.report.united import united
from pytest_tpf.report.validate import Validation
from pytest_tpf.report.wording import printable, show
from pytest_tpf.report.write import json_line, report_text, write_atomically

_LARGEST_INTEGER = 2**63 - 1
_EXACT_FLOAT = 2**53


def merge_reports(paths: Sequence[str], target: str) -> Merged:
    """Write the union of the reports in ``paths`` to ``target``, atomically; one test at a time is in memory, and each one's id.

    Tests stay in the order in which they come. Environment, facility and meters are united (see ``united``), the summary is counted anew.

    Raises:
        ReportError: a report can't be read or is invalid, two contradict each other, or ``target`` can't be written. One line.
    """
    # beside the target: the folder for temporary files may be in memory, and smaller than the reports
    folder = Path(os.path.realpath(target)).parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with Spool(folder) as lines:
            merged = Merged(lines)
            for path in paths:
                merged.add(path)
            write_atomically(target, report_text(merged.head(), lines))
    except (OSError, ValueError) as error:  # of the spool: the disk is full
        raise ReportError(f"{printable(target)}: can't be written: {getattr(error, 'strerror', None) or error}") from None
    return merged


class Merged:
    """The union so far: its tests are in ``lines``, as JSON, one a line.

    Attributes:
        tally: what its tests come to.
        repeated: how many tests were left out, because an earlier report has them.
    """

    def __init__(self, lines: Spool) -> None:
        self.tally = Tally()
        self.repeated = 0
        self._lines = lines
        self._paths: list[str] = []
        self._common: dict[str, Any] = {}
        self._attempts: dict[str, tuple[int, list[int]]] = {}  # the number of the report that has the test; each attempt's place

    @property
    def tests(self) -> int:
        """How many tests it has; a repeated one is one."""
        return sum(self.tally.trusts.values())

    def add(self, path: str) -> None:
        """Unite with the report in ``path``.

        Raises:
            ReportError: it can't be read, is invalid or contradicts an earlier one.
        """
        self._paths.append(path)
        validation, again = Validation(), Counter[str]()
        for test in validation.tests(scan_report(path)):
            self._add_test(test, again)
        if validation.problems:
            first, *others = validation.problems
            raise self._refusal(f"the report is invalid: {first}" + (f" (and {len(others)} more, see tpf validate)" if others else ""))
        for nodeid, attempts in again.items():
            self._compare(nodeid, attempts == len(self._attempts[nodeid][1]))
        self._unite(validation.head)

    def _add_test(self, test: Mapping[str, Any], again: Counter[str]) -> None:
        """``again`` counts this report's attempts of tests that an earlier one has."""
        nodeid, this_report = test["nodeid"], len(self._paths)
        owner, places = self._attempts.setdefault(nodeid, (this_report, []))
        if owner == this_report:
            places.append(self._lines.add(json_line(test)))
            self.tally.add(test)
        else:
            earlier = places[again[nodeid] : again[nodeid] + 1]
            self._compare(nodeid, [_canonical(json.loads(self._lines.at(place))) for place in earlier] == [_canonical(test)])
            again[nodeid] += 1
            self.repeated += 1

    def _compare(self, nodeid: str, same: bool) -> None:
        if not same:
            earlier = printable(self._paths[self._attempts[nodeid][0] - 1])
            raise self._refusal(f"{show(nodeid)} has other results or inputs than in {earlier}; leave out the report that doesn't count")

    def _unite(self, head: dict[str, Any]) -> None:
        version = head["schema_version"]
        if schema_for(version) is not load_schema():
            raise self._refusal(f"schema_version {version} is newer than {SCHEMA_VERSION}; merge with the version that wrote it")
        try:
            self._common = united(self._common or head, head)
        except ReportError as error:
            raise self._refusal(f"{error} in {printable(self._paths[0])}; such reports can be compared, not merged") from None

    def _refusal(self, reason: str) -> ReportError:
        return ReportError(f"{printable(self._paths[-1])}: not merged: {reason}")

    def head(self) -> dict[str, Any]:
        """The merged report without its tests: new id and time, this program as its generator, the CI run that merges.

        Raises:
            ReportError: the sums are beyond what a report can hold.
        """
        environment = dataclasses.replace(from_dict(Environment, self._common["environment"]), ci=ci_service(os.environ))
        meters = [from_dict(MeterInfo, meter) for meter in self._common["meters"]]
        report = as_dict(build_report((), environment, from_dict(Facility, self._common["facility"]), meters))
        return {**report, "summary": self._summary()}

    def _summary(self) -> dict[str, Any]:
        try:
            summary = self.tally.summary()
        except OverflowError:
            raise self._refusal("the energies add up to more than a number can hold") from None
        if summary["total_output_tokens"] > _LARGEST_INTEGER:
            raise self._refusal("the tokens add up to more than 64 bits can hold")
        return summary


def _canonical(value: Any) -> str:
    """The same for 1 and 1.0, which are one number in JSON, and whatever the order of keys."""
    return json.dumps(_plain_numbers(value), sort_keys=True)


def _plain_numbers(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT_FLOAT:
        return int(value)
    if isinstance(value, dict):
        return {key: _plain_numbers(item) for key, item in value.items()}
    return [_plain_numbers(item) for item in value] if isinstance(value, list) else value
