"""All tests of a run against their references: the verdict first, then what a reviewer has to know, bounded. Text from records; pure."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator

from pytest_tpf.records import TestRecord
from pytest_tpf.report.regressions import (
    STANDINGS,
    Standing,
    reference_name,
    regression_lines,
    severity,
    short_id,
    standing,
    was_passing,
    why_not,
)
from pytest_tpf.report.text import counted

MOST_LINES = 20
_MOST_GROUPS = 5  # references and reasons that are told apart
_MOST_NAMES = 3
_OTHERS = "others"


def summary_lines(tests: Iterable[TestRecord], most: int = MOST_LINES) -> list[str]:
    """The verdict, then a line for each figure that regressed, could not be decided or improved, the worst first; then what was not
    compared and why, and what is new. At most about ``most`` lines: the rest is counted. Empty where nothing was compared.

    ``tests`` may be an iterator: it is taken once, and no more of them than are shown are held.
    """
    found = Comparisons()
    worst = heapq.nsmallest(most, (test for test in found.noted(tests) if _is_told(test)), key=severity)
    if not found.any:
        return []
    lines = [line for test in worst for line in regression_lines(test)]
    told = sum(found.counts.get(each, 0) for each in _TOLD)
    return [found.headline(), *_bounded(lines, told - len(worst), most), *(f"{name}: {text}" for name, text in found.groups())]


_TOLD: tuple[Standing, ...] = ("regressed", "inconclusive", "improved")


def _is_told(test: TestRecord) -> bool:
    return standing(test) in _TOLD


def _bounded(lines: list[str], further_tests: int, most: int) -> list[str]:
    more = [counted(len(lines) - most, "more figure")] if len(lines) > most else []
    more += [counted(further_tests, "more test")] if further_tests else []
    return [*lines[:most], *([f"... and {' and '.join(more)}; all of them are in the report"] if more else [])]


class Comparisons:
    """Counts of the tests that went by, and what they were compared with."""

    def __init__(self) -> None:
        self._counts: Counter[Standing] = Counter()
        self._references = _Names()
        self._reasons = _Names()
        self._new = _Names()
        self._passing = _Names()

    def noted(self, tests: Iterable[TestRecord]) -> Iterator[TestRecord]:
        """The same tests, each counted when it is taken."""
        for test in tests:
            self.note(test)
            yield test

    def note(self, test: TestRecord) -> None:
        """Count one more test."""
        found, regression = standing(test), test.regression
        if regression is None and test.attempt > 1:
            return  # its first attempt stands for the test
        self._counts[found] += 1
        if regression is None:
            self._new.add("", test.nodeid)
        elif regression.reference is not None:
            self._references.add(reference_name(regression.reference), test.nodeid)
        if regression is not None and found == "not compared":
            self._reasons.add(why_not(regression), test.nodeid)
        if regression is not None and was_passing(regression):
            self._passing.add("", test.nodeid)

    @property
    def any(self) -> bool:
        """Whether anything was compared, or was to be."""
        return self._counts.total() > self._counts["new"]

    @property
    def counts(self) -> dict[Standing, int]:
        """How many tests stand how, the worst first; nothing where nothing was compared."""
        return {found: count for found in STANDINGS if (count := self._counts[found])} if self.any else {}

    @property
    def references(self) -> str:
        """What tests were compared with: ``main@0123abc``; empty where nothing was found."""
        return ", ".join(self._references.counts)

    @property
    def verdict(self) -> str:
        """``1 regressed, 2 improved, 40 no worse``."""
        return ", ".join(f"{count} {found}" for found, count in self.counts.items())

    def headline(self) -> str:
        """The verdict, and what it was reached against, in one line."""
        return f"{self.verdict}; compared with {self.references}" if self.references else self.verdict

    def facts(self) -> Iterator[tuple[str, str]]:
        """The verdict and the groups for the foot of a table; nothing where nothing was compared."""
        if self.any:
            yield f"against {self.references or 'earlier runs'}", self.verdict
            yield from self.groups()

    def groups(self) -> Iterator[tuple[str, str]]:
        """What was not compared, by its reasons, what is new, and what was worse for a while: (what, text with the first few names)."""
        for reason, count in self._reasons.counts.items():
            yield "not compared", f"{reason}: {self._reasons.named(reason, count)}"
        if new := self.counts.get("new"):
            yield "new", f"nothing to compare with: {self._new.named('', new)}"
        if passing := self._passing.counts[""]:
            yield "measured once more", f"looked worse at first, but not again: {self._passing.named('', passing)}"


class _Names:
    """Counts of tests by a text, with the first few ids of each; texts beyond the first few are counted together."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._first: dict[str, list[str]] = {}

    def add(self, text: str, nodeid: str) -> None:
        text = text if text in self.counts or len(self.counts) < _MOST_GROUPS else _OTHERS
        self.counts[text] += 1
        first = self._first.setdefault(text, [])
        if len(first) < _MOST_NAMES:
            first.append(short_id(nodeid))

    def named(self, text: str, count: int) -> str:
        names = ", ".join(self._first[text])
        return names + (f" and {count - _MOST_NAMES} more" if count > _MOST_NAMES else "")
