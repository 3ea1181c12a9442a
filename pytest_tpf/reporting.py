"""The hooks of the process that reports (the only one, or xdist's controller): collect, gate, print, write.

xdist's controller loads this module before it knows whether any test is measured, so everything heavy is imported when a record came.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Generator, Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pytest

from pytest_tpf.outputs import Outputs, Told
from pytest_tpf.termination import Termination

if TYPE_CHECKING:
    from pytest_tpf.gating import Gating
    from pytest_tpf.records import Facility, Report, TestRecord
    from pytest_tpf.report.annotations import Location
    from pytest_tpf.runfacts import RunFacts
    from pytest_tpf.scope import Scope
    from pytest_tpf.settings import Settings

RECORD_KEY = "_tpf"
MEASURED_KEY = "tpf_measured"
GATE = "tpf::gate"
MIN_WIDTH = 80


def runs_tests(config: pytest.Config) -> bool:
    """Whether bodies of tests are run at all."""
    others = ("collectonly", "setuponly", "showfixtures", "show_fixtures_per_test")  # --setup-plan implies --setup-only
    return not any(config.getoption(name, default=False) for name in others)


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


def opened_gate(config: pytest.Config, settings: Settings) -> Gating | None:
    """What the options compare with, accept or save; None where they ask for nothing. Raises pytest.UsageError."""
    if not settings.compares and settings.save is None:
        return None
    from pytest_tpf.comparing import ComparingError, Places
    from pytest_tpf.gating import Gating

    try:
        return Gating(settings, Places(called=config.invocation_params.dir, root=config.rootpath))
    except ComparingError as error:
        raise pytest.UsageError(str(error)) from None


class Reporting:
    """Collects the records that arrive with the reports; the same path with and without xdist."""

    def __init__(self, config: pytest.Config, settings: Settings) -> None:
        self._config = config
        self._settings = settings
        self._expected: set[str] = set()
        self._crashed: list[str] = []
        self._records: list[TestRecord] = []
        self._facts: RunFacts | None = None
        self._locations: dict[str, Location] = {}
        self._problems: tuple[str, ...] = ()
        self._warnings: tuple[str, ...] = ()
        self._told: list[Told] = []
        self._outputs = Outputs(config, settings)
        self._gating: Gating | None = None
        self._termination = Termination()
        self._owner = os.getpid()

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """What the options name must be there before anything is collected (``pytest --help`` needs none of it)."""
        if self._settings.facility:
            declared_facility(self._settings)
        if runs_tests(session.config):
            self._gating = opened_gate(session.config, self._settings)

    @property
    def _is_forked(self) -> bool:
        """Whether a test forked this process and came back here: the report is its parent's."""
        return os.getpid() != self._owner

    def expect(self, nodeids: Iterable[str]) -> None:
        """Tests that ask to be measured are to be run."""
        self._expected.update(nodeids)

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
        package = report.__dict__.pop(RECORD_KEY, None)
        if str(report.when) == "???":  # xdist's own report of the test whose worker died
            self._crashed.append(report.nodeid)
        if package is not None:
            if str(report.outcome) == "rerun":
                package["record"]["outcome"] = "rerun"
            self.collect(package)
            self._locations[package["record"]["nodeid"]] = report.location[:2]
        elif str(report.outcome) == "rerun" and report.when == "teardown":
            self._was_rerun(report.nodeid)

    def _was_rerun(self, nodeid: str) -> None:
        """A test that passed is run again for its teardown's sake: its record is already here."""
        for place in reversed(range(len(self._records))):
            if self._records[place].nodeid == nodeid:
                self._records[place] = dataclasses.replace(self._records[place], outcome="rerun")
                return

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """One of xdist's workers has ended, and tells what it was to measure unless it died."""
        self.expect(getattr(node, "workeroutput", {}).get(MEASURED_KEY, ()))

    def pytest_runtest_logfinish(self) -> None:
        """Between two tests: keep what there is, for a run that is killed."""
        if self._records and not self._is_forked:
            self._outputs.keep(self._build)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, Any, Any]:
        """What only the whole run knows becomes a failed ``tpf::gate``, so that bar, JUnit and exit code agree."""
        if self._expected:
            self._termination.watch()
        try:
            result = yield
        finally:
            self._termination.unwatch()
        if (self._records or self._expected or self._gating) and runs_tests(session.config):
            self._gate(session)
        return result

    def _gate(self, session: pytest.Session) -> None:
        from pytest_tpf.gate import Problems, gate_problems
        from pytest_tpf.judge.attempts import laundered

        strict = self._settings.gate == "strict"
        doubtful = (*gate_problems(self._records, len(self._expected), self._settings), *self._lost())
        of_run = Problems(red=tuple(laundered(self._records)), doubtful=doubtful)
        of_tests = Problems()
        if (gating := self._gating) is not None:
            self._records = gating.settled(self._records)
            of_tests = gating.regressions(self._records)
            of_run += gating.vanished(self._records, self._scope, self._fingerprint)
            of_tests += gating.advice if of_tests or of_run else Problems()
        found, self._problems = of_run + of_tests, (*of_run.red, *of_run.doubtful)
        self._warnings = found.warnings(strict=strict)
        if failing := found.failing(strict=strict):
            session.testscollected += 1
            for report in _failed_reports("\n".join(failing)):
                session.config.hook.pytest_runtest_logreport(report=report)

    @property
    def _fingerprint(self) -> str | None:
        """Of the hardware that measured; None where nothing was."""
        from pytest_tpf.report.environment import fingerprint_here

        return fingerprint_here(self._facts.accelerators) if self._facts else None

    @property
    def _scope(self) -> Scope:
        from pytest_tpf.scope import Scope

        watch = self._config.pluginmanager.get_plugin("tpf-scope")
        return watch.scope if watch is not None else Scope(blind="nobody watched what was collected")

    def _lost(self) -> list[str]:
        from pytest_tpf.gate import lost_problems
        from pytest_tpf.scope import without_group

        has_groups = getattr(self._config.option, "dist", "no") == "loadgroup"
        crashed = [without_group(nodeid) if has_groups else nodeid for nodeid in self._crashed]
        return lost_problems(self._records, crashed, self._expected)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the table, what the gate has to say, and where the report went."""
        if self._is_forked:
            return
        if self._records:
            self._print_table(terminalreporter)
        for warning in self._warnings:
            terminalreporter.write_line(f"tpf: {warning}", yellow=True)
        for told in self._told:
            terminalreporter.write_line(f"tpf: {told.text}", red=told.failed)
        for command in self._outputs.annotations(self._report, self._locations, self._problems) if self._records else ():
            terminalreporter.write_line(command)

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
        if not self._is_forked:
            self._told = [*self._outputs.write(self._report, self._problems), *self._kept()] if self._records else self._nothing_kept()
            if any(told.failed for told in self._told) and not session.exitstatus:
                session.exitstatus = pytest.ExitCode.TESTS_FAILED
        return (yield)

    def pytest_unconfigure(self) -> None:
        """The run is over."""
        if self._gating is not None:
            self._gating.close()

    def _kept(self) -> list[Told]:
        """What became of --tpf-accept and --tpf-save."""
        if self._gating is None:
            return []
        from pytest_tpf.comparing import ComparingError
        from pytest_tpf.report.errors import ReportError

        told: list[Told] = []
        try:
            if self._settings.accept is not None:
                told += self._gating.accept(self._report, self._scope)
            if self._settings.save is not None:
                told.append(Told(self._gating.save(self._report)))
        except (ComparingError, ReportError) as error:
            told.append(Told(str(error), failed=True))
        return told

    def _nothing_kept(self) -> list[Told]:
        """Of a run in which nothing was measured."""
        if self._gating is None:
            return []
        told = (
            [Told(f"{self._settings.baseline}: no test was measured, so none was accepted", failed=True)] if self._settings.accept else []
        )
        return [*told, Told("no test was measured, so nothing was saved")] if self._settings.save else told

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
