"""Renewing a baseline: what ran and agreed with itself replaces its entry, everything else stays. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytest_tpf.history.entries import Accepted, BaselineFile, Hardware, describe_hardware, entry_of, samples_of
from pytest_tpf.judge.contrast import figure
from pytest_tpf.judge.regression import NEEDED
from pytest_tpf.judge.sample import REFERENCE_OUTCOMES, Sample
from pytest_tpf.judge.thresholds import DEFAULT, Threshold
from pytest_tpf.records import Environment, TestRecord
from pytest_tpf.report.regressions import short_id

if TYPE_CHECKING:
    from pytest_tpf.history.entries import Entry
    from pytest_tpf.scope import Scope

_MOST_NAMES = 20
_OUTCOMES = {"rerun": "was run again", "interrupted": "was interrupted"}


class Acceptance:
    """One run that renews ``old``. ``thresholds``: two measurements of a test agree where they differ by less."""

    def __init__(self, old: BaselineFile, environment: Environment, accepted: Accepted, thresholds: Sequence[Threshold]) -> None:
        self._old, self._environment, self._accepted = old, environment, accepted
        self._thresholds = [each for each in thresholds if each.metric != "quality"] or list(DEFAULT)
        self._fingerprint = environment.hardware_fingerprint
        self.renewed: dict[str, Entry] = {}
        self.refused: list[str] = []
        """A line for each test that was not accepted: why."""
        self._seen: set[str] = set()

    def take(self, test: TestRecord, sample: Sample) -> None:
        """One test that ran; of its attempts the first that was measured counts, as it does where tests are compared."""
        if test.attempt > 1 and sample.key in self._seen:
            return
        self._seen.add(sample.key)
        remeasured = test.regression.remeasured_rounds if test.regression else 0
        entry = entry_of(sample, remeasured, self._accepted)
        if why_not := self._objection(test, sample, entry):
            self.refused.append(f"not accepted: {short_id(sample.key)}: {why_not}")
        else:
            self.renewed[sample.key] = entry

    def _objection(self, test: TestRecord, sample: Sample, entry: Entry) -> str | None:
        if test.outcome not in REFERENCE_OUTCOMES:
            return f"the test {_OUTCOMES.get(test.outcome, test.outcome)}"
        if sample.uncertainty is None and not any(each.it_j for each in sample.rounds):
            return f"its energy is unknown ({', '.join(sample.reasons) or 'no meter'})"
        if len(entry.runs) < 2:
            return None  # it can be measured only once; the gate will say how many rounds it needs
        newest, first = samples_of(entry, sample.key, self._fingerprint)
        for threshold in self._thresholds:
            one, other = figure(threshold.metric, first), figure(threshold.metric, newest)
            if (one is None) != (other is None):
                return f"measured twice, but {threshold.metric} is known only once; try again"
            if one and other and abs(other - one) > (threshold.amount * one if threshold.kind == "relative" else threshold.amount):
                return f"measured twice, {threshold.metric} differs by {abs(other / one - 1):.1%}: {one:.4g} and {other:.4g}; try again"
        return None

    def file(self) -> BaselineFile:
        """The renewed baseline."""
        known = self._old.hardware.get(self._fingerprint)
        hardware = Hardware(description=describe_hardware(self._environment), tests={**(known.tests if known else {}), **self.renewed})
        return dataclasses.replace(self._old, hardware={**self._old.hardware, self._fingerprint: hardware})

    def lines(self, path: str) -> list[str]:
        """What became of it."""
        count = len(self.renewed)
        head = f"{path}: {count} {'test' if count == 1 else 'tests'} accepted: {self._accepted.reason}"
        few = [key for key, entry in self.renewed.items() if sum(len(run.rounds) for run in entry.runs) < NEEDED]
        thin = [f"accepted with fewer than {NEEDED} rounds, so that nothing can be told: {_named(few)}; give it rounds=N"] if few else []
        return [head if count else f"{path}: no test accepted, it is as it was", *thin]

    def unused(self, scope: Scope) -> list[str]:
        """Entries of this hardware whose tests weren't found; they stay."""
        known = self._old.hardware.get(self._fingerprint)
        gone = [key for key, entry in (known.tests if known else {}).items() if key not in self._seen and scope.has_vanished(entry.nodeid)]
        return [f"unused in the baseline (tpf baseline FILE --drop KEY removes one): {_named(gone)}"] if gone else []


def _named(keys: Sequence[str]) -> str:
    more = f" and {len(keys) - _MOST_NAMES} more" if len(keys) > _MOST_NAMES else ""
    return ", ".join(map(short_id, keys[:_MOST_NAMES])) + more
