"""What the whole run says about regressions, and what becomes of it: settled verdicts, vanished tests, an accepted baseline, a saved run.

The reporting process (xdist's controller, or the only one) has one ``Gating`` where the options ask for it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytest_tpf.comparing import ComparingError, Places, open_earlier, open_storage
from pytest_tpf.gate import Problems, accept_advice, bounded_lines, regression_problems, vanished_problems
from pytest_tpf.history.identity import key_of
from pytest_tpf.judge.comparison import settle
from pytest_tpf.judge.sample import Sample, sample_of
from pytest_tpf.outputs import Told
from pytest_tpf.records import Environment, Report, TestRecord

if TYPE_CHECKING:
    from pytest_tpf.history.references import Earlier
    from pytest_tpf.scope import Scope
    from pytest_tpf.settings import Settings


class Gating:
    """Compares, accepts and saves as ``settings`` say.

    Raises:
        ComparingError: what the options name isn't there or can't be read.
    """

    def __init__(self, settings: Settings, places: Places) -> None:
        self._settings, self._places = settings, places
        self._earlier: Earlier | None = open_earlier(settings, places) if settings.compares else None
        if settings.save is not None:
            self._check_storage()

    def close(self) -> None:
        """Let go of what was opened."""
        if self._earlier is not None:
            self._earlier.close()

    def settled(self, tests: Sequence[TestRecord]) -> list[TestRecord]:
        """The tests with the verdicts that hold for all of them together."""
        regressions = settle([test.regression for test in tests])
        return [
            test if regression is test.regression else dataclasses.replace(test, regression=regression)
            for test, regression in zip(tests, regressions, strict=True)
        ]

    def regressions(self, tests: Sequence[TestRecord]) -> Problems:
        """What regressed, and what could not be told. Of a run that accepts, nothing is: it says itself what is right."""
        return regression_problems(tests) if self._judges(tests) else Problems()

    def vanished(self, tests: Sequence[TestRecord], scope: Scope, fingerprint: str | None) -> Problems:
        """What was to be compared, and gave nothing this time."""
        if self._earlier is None or not self._judges(tests):
            return Problems()
        from pytest_tpf.history.errors import HistoryError

        try:
            expected = self._earlier.expected(fingerprint)
        except HistoryError as error:
            return Problems(doubtful=(f"--tpf-compare {self._settings.compare}: {error}",))
        keys = {key_of(test.nodeid, test.labels) for test in tests}
        missing = {key: nodeid for key, nodeid in expected.items() if key not in keys}
        return Problems(doubtful=tuple(vanished_problems(missing, scope, self._earlier.title)))

    @property
    def advice(self) -> Problems:
        """What to do where something is wrong."""
        return Problems(advice=accept_advice(self._settings.baseline))

    def _judges(self, tests: Sequence[TestRecord]) -> bool:
        asks = self._settings.thresholds or any(_is_judged(test) for test in tests)
        return bool(asks) and self._earlier is not None and self._settings.accept is None

    # --- what is kept -------------------------------------------------------------------------------------------------

    def accept(self, report: Report, scope: Scope) -> list[Told]:
        """Renew the baseline's entries of the tests that ran and agreed with themselves; what became of each. One that was refused fails
        the run: its entry is not what was asked for.

        Raises:
            ReportError: the file can't be written.
        """
        from pytest_tpf.history.accepting import Acceptance
        from pytest_tpf.history.baseline import read_baseline, write_baseline
        from pytest_tpf.history.entries import Accepted, BaselineFile

        environment = report.environment
        path = self._places.file(str(self._settings.baseline))
        accepted = Accepted(at=report.created_at, commit=environment.source.commit, reason=str(self._settings.accept))
        acceptance = Acceptance(read_baseline(path) or BaselineFile(), environment, accepted, self._settings.thresholds)
        for test in report.tests:
            acceptance.take(test, _sample(test, environment))
        if acceptance.renewed:
            write_baseline(path, acceptance.file())
        told = [*acceptance.lines(str(self._settings.baseline)), *acceptance.unused(scope)]
        return [*map(Told, told), *(Told(line, failed=True) for line in bounded_lines(acceptance.refused))]

    def _check_storage(self) -> None:
        """A history that can't be opened is found out before anything is measured."""
        from pytest_tpf.history.errors import HistoryError

        try:
            open_storage(self._settings, self._places).close()
        except HistoryError as error:
            raise ComparingError(f"--tpf-save: {error}") from None

    def save(self, report: Report) -> str:
        """Keep the report in the history; the line that says so.

        Raises:
            ComparingError: it could not be kept.
        """
        from pytest_tpf.history.errors import HistoryError

        name = None if self._settings.save in (None, "-") else self._settings.save
        try:
            with open_storage(self._settings, self._places) as store:
                store.save(report, name)
                return f"saved{f' as {name}' if name else ''} in {store.where}"
        except HistoryError as error:
            raise ComparingError(f"the run was NOT saved: {error}") from None


def _sample(test: TestRecord, environment: Environment) -> Sample:
    return sample_of(test, key_of(test.nodeid, test.labels), environment.hardware_fingerprint, environment.source.commit)


def _is_judged(test: TestRecord) -> bool:
    return test.regression is not None and any(change.threshold is not None for change in test.regression.changes)
