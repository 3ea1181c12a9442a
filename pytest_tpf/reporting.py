"""The hooks of the process that reports (the only one, or xdist's controller): collect, gate, print, write.

xdist's controller loads this module before it knows whether any test is measured, so everything heavy is imported when a record came.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Generator
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pytest

from pytest_tpf.termination import Termination

if TYPE_CHECKING:
    from pathlib import Path

    from pytest_tpf.checkpoint import Checkpoint
    from pytest_tpf.records import Facility, Report, TestRecord
    from pytest_tpf.runfacts import RunFacts
    from pytest_tpf.settings import Settings

RECORD_KEY = "_tpf"
GATE = "tpf::gate"
MIN_WIDTH = 80


def resolved_settings(config: pytest.Config) -> Settings:
    """The run's settings. Raises pytest.UsageError with every mistake."""
    from pytest_tpf.settings import OptionError, resolve

    try:
        return resolve(config)
    except OptionError as error:
        raise pytest.UsageError(str(error)) from None


def declared_facility(settings: Settings) -> Facility:
    """The facility profile that the options name. Raises pytest.UsageError with every mistake in it."""
    from pytest_tpf.production.facility import FacilityError, load_facility, with_pue
    from pytest_tpf.records import Facility

    try:
        facility = load_facility(settings.facility) if settings.facility else Facility()
        return facility if settings.pue is None else with_pue(facility, settings.pue)
    except FacilityError as error:
        raise pytest.UsageError(str(error)) from None


class Reporting:
    """Collects the records that arrive with the reports; the same path with and without xdist.

    ``expected``: how many measured tests this process is to run itself.
    """

    def __init__(self, config: pytest.Config, settings: Settings, expected: int = 0) -> None:
        if settings.facility:
            declared_facility(settings)  # its mistakes stop the run before it starts
        self._config = config
        self._settings = settings
        self._expected = expected
        self._records: list[TestRecord] = []
        self._facts: RunFacts | None = None
        self._problems: list[str] = []
        self._termination = Termination()
        self._owner = os.getpid()

    @property
    def _is_forked(self) -> bool:
        """Whether a test forked this process and came back here: the report is its parent's."""
        return os.getpid() != self._owner

    def collect(self, package: dict[str, Any]) -> None:
        """Take one test's record and the facts of the process that measured it, as builtins; ten thousand of them are to fit."""
        from pytest_tpf.codec import from_dict
        from pytest_tpf.records import TestRecord
        from pytest_tpf.runfacts import RunFacts, merged

        self._termination.watch()  # from the first record on there is something to lose
        self._records.append(from_dict(TestRecord, package["record"]))
        self._facts = merged(self._facts or RunFacts(), from_dict(RunFacts, package["run"]))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A crashed worker's report carries nothing. pytest keeps every report to the end, so the record is taken out of it."""
        if (package := report.__dict__.pop(RECORD_KEY, None)) is not None:
            self.collect(package)

    def pytest_runtest_logfinish(self) -> None:
        """Between two tests: keep what there is, for a run that is killed."""
        if self._records and self._settings.report and not self._is_forked:
            self._checkpoint.save(self._build)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, Any, Any]:
        """What only the whole run knows becomes a failed ``tpf::gate``, so that bar, JUnit and exit code agree."""
        if self._expected:
            self._termination.watch()
        try:
            result = yield
        finally:
            self._termination.unwatch()
        if (self._records or self._expected) and not session.config.option.collectonly:
            from pytest_tpf.gate import gate_problems

            self._problems = gate_problems(self._records, self._expected, self._settings)
            if self._problems and self._settings.gate == "strict":
                session.testscollected += 1
                for report in _failed_reports("\n".join(self._problems)):
                    session.config.hook.pytest_runtest_logreport(report=report)
        return result

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the table, what the gate has to say, and where the report went."""
        if self._is_forked:
            return
        if self._records:
            self._print_table(terminalreporter)
        if self._settings.gate != "strict":
            for problem in self._problems:
                terminalreporter.write_line(f"tpf: {problem}", yellow=True)
        if self._unwritten:
            terminalreporter.write_line(f"tpf: the report was NOT written: {self._unwritten}", red=True)
        elif self._settings.report and self._records:
            terminalreporter.write_line(f"tpf: report written to {self._settings.report}")

    def _print_table(self, terminalreporter: pytest.TerminalReporter) -> None:
        from pytest_tpf.report.terminal import render_summary

        settings = self._settings
        width = max(MIN_WIDTH, self._config.get_terminal_writer().fullwidth)
        terminalreporter.write_sep("=", "energy-to-token")
        for line in render_summary(self._report, settings.columns, settings.sort, settings.group_by, width, settings.rows):
            terminalreporter.write_line(line)

    @pytest.hookimpl(wrapper=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None, Any, Any]:
        """Write the report first, also of a run that was interrupted: the terminal summary, which comes after, says how it went."""
        if self._records and self._settings.report and self._unwritten and not session.exitstatus:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        return (yield)

    @cached_property
    def _unwritten(self) -> str | None:
        """None once the report is written (or none was asked for), else why it could not be."""
        if not self._records or not self._settings.report or self._is_forked:
            return None
        from pytest_tpf.codec import as_dict
        from pytest_tpf.report.errors import ReportError
        from pytest_tpf.report.write import write_report

        report: Report | dict[str, Any] = self._report
        if self._config.hook.pytest_tpf_report.get_hookimpls():  # only they need the whole report as builtins
            report = as_dict(report)
            self._config.hook.pytest_tpf_report(config=self._config, report=report)
        try:
            write_report(self._path, report)
        except ReportError as error:
            return f"{error}{self._kept_aside(report) if error.problems else ''}"
        self._checkpoint.discard()
        return None

    def _kept_aside(self, report: Report | dict[str, Any]) -> str:
        """An invalid report is a mistake of ours or of a hook; what was measured must not be lost for it."""
        from pytest_tpf.report.errors import ReportError
        from pytest_tpf.report.write import write_unchecked

        aside = self._path.with_name(f"{self._path.name}.invalid")
        try:
            write_unchecked(aside, report)
        except ReportError:
            return ""
        return f"; what was measured is in {aside}"

    @property
    def _path(self) -> Path:
        return self._config.invocation_params.dir / str(self._settings.report)

    @cached_property
    def _checkpoint(self) -> Checkpoint:
        from pytest_tpf.checkpoint import Checkpoint

        return Checkpoint(self._path)

    @cached_property
    def _report(self) -> Report:
        return self._build()

    def _build(self) -> Report:
        from pytest_tpf.report.build import build_report
        from pytest_tpf.report.environment import describe_environment
        from pytest_tpf.runfacts import RunFacts

        facts = self._facts or RunFacts()
        environment = describe_environment(facts.accelerators)
        environment = dataclasses.replace(environment, software=environment.software | facts.software)
        return build_report(self._records, environment, declared_facility(self._settings), facts.meters)


def _failed_reports(text: str) -> list[pytest.TestReport]:
    """A synthetic test, so that every reader of reports sees the failure: setup and teardown passed, the call failed."""
    outcomes: list[tuple[Any, Any, str | None]] = [("setup", "passed", None), ("call", "failed", text), ("teardown", "passed", None)]
    return [
        pytest.TestReport(nodeid=GATE, location=(GATE, None, GATE), keywords={}, outcome=outcome, longrepr=longrepr, when=when)
        for when, outcome, longrepr in outcomes
    ]
