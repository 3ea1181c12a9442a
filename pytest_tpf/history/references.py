"""What a run is compared with: a baseline file, the history, or a report. Each gives earlier measurements by a test's key."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pytest_tpf.history.identity import key_of
from pytest_tpf.judge.comparison import not_compared
from pytest_tpf.judge.sample import REFERENCE_OUTCOMES, Sample, sample_of
from pytest_tpf.records import Reference, Regression

if TYPE_CHECKING:
    from pytest_tpf.history.entries import BaselineFile
    from pytest_tpf.history.runs import Found
    from pytest_tpf.history.store import Store

Samples = dict[str, list[Sample]]


class Earlier(Protocol):
    """Where earlier measurements come from."""

    @property
    def title(self) -> str:
        """What the user named, for messages."""

    def samples(self, keys: Iterable[str], fingerprint: str) -> Samples:
        """Earlier measurements of these tests, newest first; a test without any is left out."""

    def absent(self, key: str, fingerprint: str) -> Regression | None:
        """What is said of a test that has none here; None: it is new, and that is fine."""

    def expected(self, fingerprint: str | None) -> Mapping[str, str]:
        """The tests it has on this hardware (None: on any): their node ids by their keys."""

    def reference(self, samples: list[Sample]) -> Reference:
        """The reference that a test with these earlier measurements is compared with."""

    def close(self) -> None:
        """Let go of what was opened."""


def _reference(source: str, ref: str, samples: list[Sample]) -> Reference:
    newest = samples[0]
    return Reference(
        source=source,  # type: ignore[arg-type] # each caller below names one of them
        ref=ref[:4096],
        runs=len(samples),
        rounds=sum(len(sample.rounds) for sample in samples),
        commit=newest.commit,
        recorded_at=newest.recorded_at,
        note=newest.note,
    )


class FromBaseline:
    """The reviewed file that is kept with the code. ``across``: a test without an entry for this hardware takes that of any other."""

    def __init__(self, path: str, file: BaselineFile, *, across: bool) -> None:
        self.title = path
        self._file, self._across = file, across

    def samples(self, keys: Iterable[str], fingerprint: str) -> Samples:
        """The accepted measurements."""
        from pytest_tpf.history.entries import samples_of

        known = self._file.hardware
        order = [fingerprint, *(other for other in sorted(known) if other != fingerprint)] if self._across else [fingerprint]
        found: Samples = {}
        for key in keys:
            owner = next((each for each in order if each in known and key in known[each].tests), None)
            if owner is not None:
                found[key] = samples_of(known[owner].tests[key], key, owner)
        return found

    def absent(self, key: str, fingerprint: str) -> Regression:
        """A file is complete, or says less than its reviewer thinks: what isn't in it is not judged, and that is told."""
        others = [hardware.description for hardware in self._file.hardware.values() if key in hardware.tests]
        if not others:
            return not_compared(f"not in the baseline {self.title} yet: accept it")
        return not_compared(f"the baseline {self.title} has it on other hardware only ({'; '.join(others[:3])}): accept it on this one too")

    def expected(self, fingerprint: str | None) -> Mapping[str, str]:
        """Every entry of this hardware."""
        chosen = [hardware for each, hardware in self._file.hardware.items() if fingerprint in (None, each)]
        return {key: entry.nodeid for hardware in chosen for key, entry in hardware.tests.items()}

    def reference(self, samples: list[Sample]) -> Reference:
        """The file, and why it was accepted."""
        return _reference("baseline", self.title, samples)

    def close(self) -> None:
        """It was read at once."""


class FromReport:
    """A report file, for example one that is kept with the code. ``head`` is what it holds beside its tests, as builtins.

    Raises:
        ReportError: it can't be read, or is invalid. One line.
    """

    def __init__(self, path: str, file: Path) -> None:
        from pytest_tpf.codec import from_dict
        from pytest_tpf.records import TestRecord
        from pytest_tpf.report.errors import ReportError
        from pytest_tpf.report.read import scan_report
        from pytest_tpf.report.validate import Validation

        self.title = path
        validation, rows = Validation(), []
        for test in validation.tests(scan_report(file)):
            record = from_dict(TestRecord, test)
            if record.outcome in REFERENCE_OUTCOMES and record.attempt == 1:
                rows.append(sample_of(record, key_of(record.nodeid, record.labels), ""))
        if validation.problems:
            raise ReportError(f"{path}: is no valid report: {validation.problems[0]}")
        self.head = head = validation.head
        self._fingerprint = head["environment"]["hardware_fingerprint"]
        self._commit, self._at = head["environment"]["source"]["commit"], head["created_at"]
        self._rows = {row.key: row for row in reversed(rows)}  # of a test that ran several times, the first attempt counts

    def samples(self, keys: Iterable[str], fingerprint: str) -> Samples:
        """Its tests; other hardware is found out when they are compared."""
        import dataclasses

        known = {"fingerprint": self._fingerprint, "commit": self._commit, "recorded_at": self._at}
        return {key: [dataclasses.replace(self._rows[key], **known)] for key in keys if key in self._rows}

    def absent(self, key: str, fingerprint: str) -> None:
        """New since that report."""

    def expected(self, fingerprint: str | None) -> Mapping[str, str]:
        """Every test in it."""
        return {key: row.nodeid for key, row in self._rows.items()}

    def reference(self, samples: list[Sample]) -> Reference:
        """The report."""
        return _reference("report", self.title, samples)

    def close(self) -> None:
        """It was read at once."""


class FromHistory:
    """Runs that were saved: those that ``ref`` means, on this hardware (``across``: on any)."""

    def __init__(self, ref: str, store: Store, most_runs: int, *, across: bool) -> None:
        self.title = ref
        self._ref, self._store, self._most_runs, self._across = ref, store, most_runs, across
        self._found: dict[str | None, Found | None] = {}

    def found(self, fingerprint: str | None) -> Found | None:
        """Where the reference leads on this hardware. Raises HistoryError."""
        hardware = None if self._across else fingerprint
        if hardware not in self._found:
            self._found[hardware] = self._store.find(self._ref, hardware, self._most_runs)
        return self._found[hardware]

    def samples(self, keys: Iterable[str], fingerprint: str) -> Samples:
        """Each test's own newest runs."""
        found = self.found(fingerprint)
        if found is None:
            return {}
        hardware = None if self._across else fingerprint
        rows = self._store.earlier(found, keys, hardware, self._most_runs)
        return {
            key: [sample_of(row.test, key, row.run.fingerprint, row.run.commit, row.run.created_at) for row in stored]
            for key, stored in rows.items()
        }

    def absent(self, key: str, fingerprint: str) -> Regression | None:
        """New where the others have runs; where no test has one, there is nothing to compare with."""
        if self.found(fingerprint) is not None:
            return None
        elsewhere = self._store.find(self._ref, None, 1)
        where = f"{self._store.where} has {self._ref} on other hardware only" if elsewhere else f"{self._store.where} has no {self._ref}"
        return not_compared(f"nothing to compare with: {where}; save runs with --tpf-save")

    def expected(self, fingerprint: str | None) -> Mapping[str, str]:
        """The tests of the newest run."""
        found = self.found(fingerprint)
        return {} if found is None else {test.key: test.data["nodeid"] for test in self._store.tests_of(found.runs[0])}

    def reference(self, samples: list[Sample]) -> Reference:
        """What the user named, and the newest of its runs."""
        return _reference("history", self._ref, samples)

    def close(self) -> None:
        """Close the connections."""
        self._store.close()


def looks_like_a_file(ref: str) -> bool:
    """Whether a reference names a report file, and no branch or commit: branches have slashes too, but seldom end so."""
    return ref.endswith(".json") or os.path.isfile(ref)
