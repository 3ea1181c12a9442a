"""What the reader of a table has to know of all its tests, gathered as they go by."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from pytest_tpf.records import TestRecord
from pytest_tpf.report.comparisons import Comparisons
from pytest_tpf.report.text import counted, plain

_MOST_NOTES = 12


class Remarks:
    """Counts of the tests that went by."""

    def __init__(self) -> None:
        self.tests = 0
        self.boundaries: Counter[str] = Counter()
        self.comparisons = Comparisons()
        self._unmetered: dict[str, None] = {}
        self._estimated = self._marginal = 0
        self._reasons: Counter[str] = Counter()
        self._flags: Counter[str] = Counter()
        self._notes: Counter[str] = Counter()
        self._further_notes: set[int] = set()  # their hashes: there may be as many as tests

    def noted(self, tests: Iterable[TestRecord]) -> Iterator[TestRecord]:
        """The same tests, each counted when it is taken."""
        for test in tests:
            self._note(test)
            yield test

    def _note(self, test: TestRecord) -> None:
        self.tests += 1
        self.boundaries[test.mandated.joules_per_token.boundary] += 1
        self.comparisons.note(test)
        self._unmetered.update(dict.fromkeys(test.energy.unmetered))
        self._estimated += test.energy.trust == "estimated" and test.energy.it_j is not None
        self._marginal += any(budget.marginal and budget.reason is None for budget in test.budgets)
        self._flags.update(flag for flag in test.conditions.flags if flag in self._flags or len(self._flags) < _MOST_NOTES)
        if test.energy.it_j is None:
            self._reasons.update(test.energy.reasons)
        for warning in test.warnings:
            if warning in self._notes or len(self._notes) < _MOST_NOTES:
                self._notes[warning] += 1
            else:
                self._further_notes.add(hash(warning))

    def facts(self) -> Iterator[tuple[str, str]]:
        """Name and text of each remark: how tests compare with earlier runs, what was not metered, what is estimated or marginal, why
        energies are unknown, doubts, warnings."""
        yield from self.comparisons.facts()
        if self._unmetered:
            yield "not metered", ", ".join(map(plain, self._unmetered)) + "; energies leave these out"
        if self._estimated:
            tests = f"{self._estimated} of {counted(self.tests, 'test')}"
            yield "estimated", f"the energy of {tests} (est.): a model of the hardware, not a measurement"
        if self._marginal:
            yield "marginal", f"{counted(self._marginal, 'test')} with a limit inside the interval; more rounds would decide"
        if self._reasons:
            texts = (f"{plain(reason)} ({counted(count, 'test')})" for reason, count in self._reasons.items())
            yield "energy unknown", ", ".join(texts)
        if self._flags:
            texts = (f"{plain(flag)} ({counted(count, 'test')})" for flag, count in self._flags.items())
            yield "compare with care", ", ".join(texts)
        for text, count in self._notes.items():
            yield "note", plain(text) if count == 1 else f"{plain(text)} ({counted(count, 'test')})"
        if self._further_notes:
            yield "note", f"{counted(len(self._further_notes), 'further note')} in the report"
