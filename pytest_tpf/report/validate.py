"""Is this a valid report? Every problem is one line: where, and what is wrong.

A report is judged part by part, its tests one after the other and then the rest, so that one from a file never has to be held whole.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pytest_tpf.report.against import problems_against
from pytest_tpf.report.errors import ReportError
from pytest_tpf.report.read import Part
from pytest_tpf.report.schema import load_schema, schema_for
from pytest_tpf.report.tally import Tally
from pytest_tpf.report.walk import is_plain_json, walk
from pytest_tpf.report.wording import json_path, kind, line, show

MAX_PROBLEMS = 100

Place = tuple[str | int, ...]


def validate(report: Any) -> list[str]:
    """What is wrong with ``report`` (parsed JSON, or ``codec.as_dict`` of a Report); empty where nothing is.

    At most ``MAX_PROBLEMS`` lines of at most 300 printable ASCII characters: ``$.tests[0].energy.it_j: -1 is less than 0``.
    Nothing is fetched, nothing in the report is run, and no input made of builtins makes it raise.
    """
    return checked(parts_of(report)).problems if isinstance(report, dict) else [f"$: is {kind(report)}, expected object"]


def checked(parts: Iterable[Part]) -> Validation:
    """The validation of a report whose parts went by."""
    validation = Validation()
    for _ in validation.tests(parts):
        pass
    return validation


def parts_of(report: Mapping[str, Any]) -> Iterator[Part]:
    """A report in memory as ``scan_report`` gives one from a file."""
    tests: list[Any] | None = report["tests"] if isinstance(report.get("tests"), list) else None
    for name, value in report.items():
        yield str(name), [] if name == "tests" and tests is not None else value
    yield from enumerate(tests or ())


class Validation:
    """One report as it goes by.

    Attributes:
        problems: what is wrong, one line each; known when ``tests`` is exhausted.
        head: the report without its tests (``tests`` is empty).
        tally: what its valid tests come to.
    """

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.head: dict[str, Any] = {}
        self.tally = Tally()
        self._closed: bool | None = None

    def tests(self, parts: Iterable[Part]) -> Iterator[dict[str, Any]]:
        """The valid tests, one by one; ends early where problems abound, or no schema is known for the report."""
        for key, value in parts:
            if isinstance(key, str):
                self.head[key] = value
            elif not self._version_is_known() or len(self.problems) > MAX_PROBLEMS:
                break
            elif not self._take(_of_test(value, ("tests", key), closed=self._closed is True)):
                self.tally.add(value)
                yield value
        else:
            self._check_head()
        self.problems = _cut(self.problems)

    def _take(self, problems: Iterable[str]) -> bool:
        found = list(itertools.islice(problems, MAX_PROBLEMS + 1))
        self.problems += found
        return bool(found)

    def _version_is_known(self) -> bool:
        if self._closed is None and not self._take(_of_version(self.head)):
            self._closed = schema_for(self.head["schema_version"]) is load_schema()
        return self._closed is not None

    def _check_head(self) -> None:
        if not self._version_is_known() or self._take(_not_json(self.head, ())):
            return
        self._take(problems_against(self.head, "Report", closed=self._closed is True))
        self._take(() if self.problems else self.tally.miscounts(self.head["summary"]))


def _of_test(test: Any, path: Place, *, closed: bool) -> Iterator[str]:
    """Three sieves, each only for what came through the one before."""
    sound = True
    for sieve in (_not_json, functools.partial(_against_schema, closed=closed), _contradictions):
        for problem in sieve(test, path):
            sound = False
            yield problem
        if not sound:
            return


def _against_schema(test: Any, path: Place, *, closed: bool) -> Iterator[str]:
    return problems_against(test, "TestRecord", closed=closed, path=path)


def _of_version(head: Mapping[str, Any]) -> Iterator[str]:
    if "schema_version" not in head:
        yield "$: missing key 'schema_version'; is this a report?"
        return
    version = head["schema_version"]
    if not isinstance(version, str):
        yield f"$.schema_version: is {kind(version)}, expected string"
        return
    try:
        schema_for(version)
    except ReportError as error:
        yield line("$.schema_version", str(error))


def _cut(problems: list[str]) -> list[str]:
    return [*problems[:MAX_PROBLEMS], "... and more problems"] if len(problems) > MAX_PROBLEMS else problems


def _not_json(part: Any, path: Place) -> Iterator[str]:
    """Non-finite numbers and what JSON can't carry, anywhere: also under ``extra``, where the schema doesn't look."""
    if is_plain_json(part):
        return
    try:
        for inner, value in walk(part):
            where = json_path((*path, *inner))
            if isinstance(value, float) and not math.isfinite(value):
                yield line(where, f"{value} is not a finite number")
            elif value is not None and not isinstance(value, (str, int, float, dict, list)):
                yield line(where, f"is {kind(value)}, which JSON can't carry")
            for key in value if isinstance(value, dict) else ():
                if not isinstance(key, str):
                    yield line(where, f"a key is {kind(key)}, expected string")
    except ReportError as error:
        yield line(json_path(path), str(error))


def _contradictions(test: Mapping[str, Any], path: Place) -> Iterator[str]:
    """Figures of a schema-valid test that contradict each other."""
    intervals = [("mandated.joules_per_token", test["mandated"]["joules_per_token"]["ci95"])]
    intervals += [(f"budgets[{place}]", budget["ci95"]) for place, budget in enumerate(test["budgets"])]
    for place, interval in intervals:
        if interval is not None and interval[0] > interval[1]:
            yield f"{json_path(path)}.{place}.ci95: low {show(interval[0])} is above high {show(interval[1])}"
