"""What is wrong, at the tests' own lines in a pull request: GitHub's workflow commands (``::error file=...::...``). Pure.

Source: GitHub, "Workflow commands for GitHub Actions". It shows at most ten errors and ten warnings of a step.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping, Sequence

from pytest_tpf.records import TestRecord, record
from pytest_tpf.report.broken import budget_lines, is_expected
from pytest_tpf.report.columns import sorted_tests
from pytest_tpf.report.regressions import regression_lines, standing
from pytest_tpf.report.text import counted, plain

Location = tuple[str, int | None]
"""The test's file, relative to the root that pytest found, and its line there, counted from 0 as pytest does."""

MOST = 10
_LONGEST_MESSAGE = 4000
_ERROR, _WARNING = "error", "warning"


@record
class _Finding:
    """A command before it is one."""

    level: str
    title: str
    message: str
    place: Location | None = None


def annotation_lines(
    tests: Sequence[TestRecord], locations: Mapping[str, Location], problems: Sequence[str] = (), root: str = "", *, strict: bool = False
) -> list[str]:
    """The commands, one a line: errors for regressions and broken budgets, warnings for what could not be told.

    Args:
        tests: all that were measured; the worst come first.
        locations: by node id; where one is missing, the node id's own file is taken.
        problems: what only the whole run knows, one line each; errors without a place.
        root: the folder that pytest's root is in the repository; empty where they are the same.
        strict: what could not be told is an error, too.
    """
    ordered = sorted_tests(tests)
    found = [_Finding(level=_ERROR, title="tpf", message=plain(problem)) for problem in problems if plain(problem) not in _told(ordered)]
    found += [each for test in ordered for each in _of_test(test, locations.get(test.nodeid), strict)]
    return [_command(each, root) for level in (_ERROR, _WARNING) for each in _bounded([one for one in found if one.level == level])]


def _told(tests: Sequence[TestRecord]) -> set[str]:
    return {line for test in tests for line in regression_lines(test)}


def _of_test(test: TestRecord, location: Location | None, strict: bool) -> Iterator[_Finding]:
    """At most one for each kind of finding, with all its lines."""
    place = location or (test.nodeid.partition("::")[0], None)
    undecided = _ERROR if strict else _WARNING
    if standing(test) in ("regressed", "inconclusive", "not compared"):
        level = _ERROR if standing(test) == "regressed" else undecided
        yield _Finding(level=level, title=f"tpf: {standing(test)}", message="\n".join(regression_lines(test)), place=place)
    if test.verdict != "pass" and test.budgets and not is_expected(test):
        level, title = (_ERROR, "tpf: budget broken") if test.verdict == "fail" else (undecided, "tpf: budget could not be judged")
        yield _Finding(level=level, title=title, message="\n".join(budget_lines(test)), place=place)


def _bounded(found: Sequence[_Finding]) -> list[_Finding]:
    """Ten, of which the last one counts the rest."""
    if len(found) <= MOST:
        return list(found)
    rest = counted(len(found) - MOST + 1, f"more {found[0].level}")
    return [*found[: MOST - 1], _Finding(level=found[0].level, title="tpf", message=f"{rest}; all of them are in the report")]


def _command(found: _Finding, root: str) -> str:
    properties = {"title": found.title}
    if found.place is not None:
        file, line = found.place
        start = {} if line is None else {"line": str(line + 1)}
        properties = {"file": posixpath.normpath(posixpath.join(root, file.replace("\\", "/"))), **start, **properties}
    told = ",".join(f"{name}={_escaped(plain(value), ':,')}" for name, value in properties.items())
    return f"::{found.level} {told}::{_escaped(_cut(found.message))}"


def _escaped(text: str, also: str = "") -> str:
    """As GitHub's toolkit does (``escapeData``, ``escapeProperty``)."""
    for char in f"%\r\n{also}":
        text = text.replace(char, f"%{ord(char):02X}")
    return text


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_MESSAGE else f"{text[:_LONGEST_MESSAGE]}..."
