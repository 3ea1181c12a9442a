"""What this run is compared with: found before a joule is spent, asked after each test."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_tpf.history.errors import HistoryError
from pytest_tpf.history.identity import key_of
from pytest_tpf.history.references import Earlier, FromBaseline, FromHistory, FromReport, Samples, looks_like_a_file
from pytest_tpf.judge.comparison import Terms, compare_test, not_compared
from pytest_tpf.judge.contrast import RunNoise, run_noise
from pytest_tpf.judge.regression import NEEDED
from pytest_tpf.judge.sample import sample_of
from pytest_tpf.judge.thresholds import METRICS, Threshold
from pytest_tpf.records import Regression, TestRecord, record

if TYPE_CHECKING:
    from pytest_tpf.history.entries import BaselineFile
    from pytest_tpf.history.store import Store
    from pytest_tpf.settings import Settings


class ComparingError(Exception):
    """What the run is to be compared with isn't there, or can't be read; one line that says what to do."""


@record
class Places:
    """Where relative paths are looked for: first where pytest was called, as on a command line, then at its root, as in an ini file.

    The history is at the root.
    """

    called: Path
    root: Path

    def file(self, path: str) -> Path:
        """The file of that name; where there is none yet, the place where it was called from."""
        at_root = self.root / path
        return at_root if at_root.exists() and not (self.called / path).exists() else self.called / path


def open_earlier(settings: Settings, places: Places) -> Earlier:
    """What the options name.

    Raises:
        ComparingError: it can't be read.
    """
    from pytest_tpf.report.errors import ReportError

    try:
        if settings.baseline is not None:
            return FromBaseline(settings.baseline, read_accepted(settings, places), across=settings.compare_across)
        ref = str(settings.compare)
        if looks_like_a_file(str(places.file(ref))):
            return FromReport(ref, places.file(ref))
    except ReportError as error:
        option = "--tpf-compare" if settings.baseline is None else "--tpf-baseline"
        raise ComparingError(f"{option}: {error}") from None
    return open_history(settings, places)


def read_accepted(settings: Settings, places: Places) -> BaselineFile:
    """The baseline file; an empty one where it is to be made.

    Raises:
        ComparingError: there is none, and nobody makes one.
        ReportError: it can't be read.
    """
    from pytest_tpf.history.baseline import read_baseline
    from pytest_tpf.history.entries import BaselineFile

    found = read_baseline(places.file(str(settings.baseline)))
    if found is None and settings.accept is None:
        raise ComparingError(f'--tpf-baseline: there is no {settings.baseline}; make it with --tpf-accept "first baseline"')
    return found or BaselineFile()


def open_history(settings: Settings, places: Places) -> FromHistory:
    """The runs that ``--tpf-compare`` names. Raises ComparingError where the history can't be opened."""
    try:
        store = open_storage(settings, places, create=settings.save is not None)
    except HistoryError as error:
        raise ComparingError(f"--tpf-compare {settings.compare}: {error}") from None
    return FromHistory(str(settings.compare), store, settings.compare_runs, across=settings.compare_across)


def open_storage(settings: Settings, places: Places, *, create: bool = True) -> Store:
    """The history of this run. Raises HistoryError where it can't be opened, or isn't there and isn't to be made."""
    from pytest_tpf.history.storage import DEFAULT_URL, open_store

    return open_store(settings.storage or DEFAULT_URL, places.root, create=create)


MOST_FOR_NOISE = 50
"""Tests from whose earlier runs the run-to-run noise is learned: reading ten thousand would take longer than it is worth."""


class Comparing:
    """Compares each test of this process with what it was.

    ``thresholds``: of the tests that are to be measured, by their keys. What they were is read when it is needed; first of all, when the
    hardware is known, what their runs scatter.
    """

    def __init__(self, settings: Settings, earlier: Earlier, thresholds: Mapping[str, tuple[Threshold, ...]]) -> None:
        self._settings, self._earlier, self._thresholds = settings, earlier, thresholds
        self._broken: str | None = None
        self._noises: dict[str, RunNoise] | None = None
        self._latest: Samples = {}

    def close(self) -> None:
        """Let go of what was opened."""
        self._earlier.close()

    def asks_for_more(self, test: TestRecord, fingerprint: str) -> bool:
        """Whether it looks worse, or too uncertain to tell, and more rounds could tell; a test that is to be accepted is measured twice."""
        if self._settings.accept is not None:
            return True
        regression = self.compared(test, fingerprint, 0)
        changes = regression.changes if regression else ()
        return any(each.verdict in ("fail", "inconclusive") and each.reference_rounds >= NEEDED for each in changes)

    def compared(self, test: TestRecord, fingerprint: str, remeasured: int) -> Regression | None:
        """``test`` against what it was; None where it is new and that is fine."""
        key = key_of(test.nodeid, test.labels)
        try:
            return self._compared(test, key, fingerprint, remeasured)
        except HistoryError as error:  # it failed meanwhile: asking again and again would only make everybody wait
            self._broken = self._broken or str(error)
            return not_compared(f"not compared: {self._broken}")

    def _compared(self, test: TestRecord, key: str, fingerprint: str, remeasured: int) -> Regression | None:
        if self._broken is not None:
            raise HistoryError(self._broken)
        if self._noises is None:
            self._noises = self._learned(fingerprint)
        if key not in self._latest:
            self._latest = self._earlier.samples([key], fingerprint)
        if not (earlier := self._latest.get(key)):
            absent = self._earlier.absent(key, fingerprint)
            return absent and dataclasses.replace(absent, remeasured_rounds=remeasured)
        terms = Terms(
            thresholds=self._thresholds.get(key, self._settings.thresholds),
            family=sum(map(len, self._thresholds.values())),
            noises=self._noises,
            across=self._settings.compare_across,
        )
        return compare_test(sample_of(test, key, fingerprint), earlier, terms, self._earlier.reference(earlier), remeasured)

    def _learned(self, fingerprint: str) -> dict[str, RunNoise]:
        """What runs scatter on this machine, by metric."""
        step = max(1, len(self._thresholds) // MOST_FOR_NOISE)
        samples = self._earlier.samples(sorted(self._thresholds)[::step], fingerprint)
        watched = {each.metric for thresholds in self._thresholds.values() for each in thresholds}
        return {name: run_noise(samples.values(), name) for name in watched if METRICS[name].amounts}
