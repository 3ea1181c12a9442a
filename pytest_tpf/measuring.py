"""The hooks of a process that measures: registered only when a measured test was collected."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from pytest_tpf.codec import as_dict
from pytest_tpf.fixture import OffTpf, Tpf
from pytest_tpf.history.identity import ID_LABEL, key_of
from pytest_tpf.judge.attempts import settled
from pytest_tpf.judge.budgets import failure_message
from pytest_tpf.markers import Marker, MarkerError, parse_marker
from pytest_tpf.measurement import Measurement
from pytest_tpf.plain import json_ready
from pytest_tpf.progress import progress_for, say_waiting
from pytest_tpf.records import TestRecord
from pytest_tpf.reporting import MEASURED_KEY, RECORD_KEY, Reporting, declared_facility, resolved_settings, runs_tests
from pytest_tpf.scope import own_nodeid
from pytest_tpf.session import Session

if TYPE_CHECKING:
    from pytest_tpf.comparing import Comparing
    from pytest_tpf.settings import Settings

MEASUREMENT = pytest.StashKey[Measurement]()
MARKER = pytest.StashKey[Marker]()
RECORD = pytest.StashKey[TestRecord | None]()
MISTAKES = pytest.StashKey[tuple[str, ...]]()
ATTEMPT = pytest.StashKey[int]()
EARLIER = pytest.StashKey[TestRecord]()

NO_TOKENS = (
    "tpf: no output tokens were counted: no known engine was seen generating, and the test counted none itself.\n"
    "     Use an observed engine (transformers, openai, llama_cpp, vllm), name yours with tpf.engine(...), or count:\n"
    "     tpf.count(output_tokens=...) inside fn, window.count(...) inside a window."
)


def wake_up(config: pytest.Config, items: Sequence[pytest.Item]) -> None:
    """Check every marker and the options, and register the measuring and reporting hooks.

    Raises:
        pytest.UsageError: with every mistake in one message.
    """
    settings = resolved_settings(config)
    _check_names(settings)
    mistakes = [mistake for item in items for mistake in _attach_marker(item, every=settings.all)]
    mistakes += _shared_ids(items)
    is_worker = hasattr(config, "workerinput")
    # A usage error in an xdist worker would be an internal error of the controller: there the mistaken tests themselves fail.
    if mistakes and not is_worker:
        raise pytest.UsageError("\n".join(mistakes))
    if not any(MARKER in item.stash or MISTAKES in item.stash for item in items):
        return
    facility = declared_facility(settings)
    if not is_worker and config.pluginmanager.get_plugin("tpf-reporting") is None:
        config.pluginmanager.register(Reporting(config, settings), "tpf-reporting")
    comparing = _comparing(config, settings, items) if settings.compares and runs_tests(config) else None
    config.pluginmanager.register(Measuring(config, settings, facility, comparing), "tpf-measuring")


def _shared_ids(items: Sequence[pytest.Item]) -> list[str]:
    """Two tests under one label ``id`` would be compared with each other: the second of them is mistaken."""
    owners: dict[str, str] = {}
    found: list[str] = []
    for item in items:
        if (marker := item.stash.get(MARKER, None)) is not None and marker.labels.get(ID_LABEL):
            nodeid = own_nodeid(item)
            key = key_of(nodeid, marker.labels)
            if owners.setdefault(key, nodeid) != nodeid:
                mistake = f"{nodeid}: @pytest.mark.tpf labels={{'id': ...}} {key!r} is that of {owners[key]} already"
                item.stash[MISTAKES] = (mistake,)
                found.append(mistake)
    return found


def _comparing(config: pytest.Config, settings: Settings, items: Sequence[pytest.Item]) -> Comparing:
    """What this process compares its tests with. Raises pytest.UsageError."""
    from pytest_tpf.comparing import Comparing, ComparingError, Places, open_earlier
    from pytest_tpf.judge.thresholds import overridden

    markers = [(own_nodeid(item), marker) for item in items if (marker := item.stash.get(MARKER, None)) is not None]
    thresholds = {key_of(nodeid, marker.labels): overridden(settings.thresholds, marker.max_regression) for nodeid, marker in markers}
    try:
        earlier = open_earlier(settings, Places(called=config.invocation_params.dir, root=config.rootpath))
    except ComparingError as error:
        raise pytest.UsageError(str(error)) from None
    return Comparing(settings, earlier, thresholds)


def _check_names(settings: Settings) -> None:
    """Meters and columns that the options name must exist. Raises pytest.UsageError."""
    from pytest_tpf.meters.registry import name_errors
    from pytest_tpf.report.columns import check_table_options
    from pytest_tpf.report.errors import ReportError

    wrong = [f"--tpf-meter: {error}" for error in name_errors(settings.meter)]
    if settings.prometheus is not None:
        from pytest_tpf.meters._prom_config import PrometheusConfigError, load_prometheus

        try:
            load_prometheus(settings.prometheus)
        except PrometheusConfigError as error:
            wrong.append(f"--tpf-prometheus: {error}")
    elif "prometheus" in settings.meter:
        wrong.append("--tpf-meter prometheus: no server is named: add --tpf-prometheus URL, or a TOML file with url and [[channel]] tables")
    if "ray" in settings.meter and not (settings.ray or os.environ.get("RAY_ADDRESS")):
        wrong.append("--tpf-meter ray: no cluster is named: add --tpf-ray ADDRESS, or set RAY_ADDRESS (HOST:PORT of its head, or auto)")
    try:
        check_table_options(settings.columns, settings.sort, settings.group_by)
    except ReportError as error:
        wrong.append(f"--tpf-columns, --tpf-sort, --tpf-group-by: {error}")
    if wrong:
        raise pytest.UsageError("\n".join(wrong))


def _attach_marker(item: pytest.Item, *, every: bool) -> tuple[str, ...]:
    """Stash the marker, the nearest level winning keyword by keyword; a test that only uses the fixture has an empty one."""
    marks = list(item.iter_markers("tpf"))
    if not marks and not every and "tpf" not in getattr(item, "fixturenames", ()):
        return ()
    merged: dict[str, Any] = {}
    for mark in reversed(marks):
        merged |= mark.kwargs
    try:
        item.stash[MARKER] = parse_marker(tuple(arg for mark in marks for arg in mark.args), merged)
    except MarkerError as error:
        mistakes = tuple(f"{item.nodeid}: @pytest.mark.tpf {line}" for line in str(error).splitlines())
        item.stash[MISTAKES] = mistakes
        return mistakes
    return ()


def fixture_for(item: pytest.Item) -> Tpf | OffTpf:
    """The object the test holds as ``tpf``."""
    measurement = item.stash.get(MEASUREMENT, None)
    return OffTpf() if measurement is None else Tpf(measurement, progress_for(item.config))


class Measuring:
    """Measure in the call, attach in makereport: the verdict is an ordinary exception raised where the test would raise."""

    def __init__(self, config: pytest.Config, settings: Settings, facility: Any, comparing: Comparing | None = None) -> None:
        self._config = config
        self._settings = settings
        engines = [engine for brought in config.hook.pytest_tpf_engines(config=config) for engine in brought]
        self._session = Session(settings, facility, engines, comparing)
        self._expected: list[str] = []
        if runs_tests(config):
            self._session.launch()

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Open the meters once the tests are known; a run that can't satisfy the options stops here (under xdist: at the gate)."""
        config = session.config
        if not runs_tests(config):
            return
        self._expected = [own_nodeid(item) for item in session.items if _is_asked_for(item)]
        if (reporting := config.pluginmanager.get_plugin("tpf-reporting")) is not None:
            reporting.expect(self._expected)
        self._session.start()
        if self._settings.require == "measured" and self._session.only_estimates and not hasattr(config, "workerinput"):
            notes = "; ".join(self._session.facts.notes) or "no meter reads this machine"
            raise pytest.UsageError(f"--tpf-require measured: energy can only be estimated here ({notes}). See `tpf meters`.")

    def pytest_report_collectionfinish(self, config: pytest.Config) -> list[str]:
        """Say once at the top what measures, and that estimates are estimates."""
        if not runs_tests(config):
            return []
        facts = self._session.facts
        meters = [f"{m.domain} {'ESTIMATED' if m.trust == 'estimated' else m.trust} by {m.method}" for m in facts.meters]
        return [f"tpf: {', '.join(meters) or 'no energy is metered'}", *(f"tpf: {note}" for note in facts.notes)]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Give a measured test its measurement before its fixtures ask for it."""
        if mistakes := item.stash.get(MISTAKES, ()):
            pytest.fail("\n".join(mistakes), pytrace=False)
        if (marker := item.stash.get(MARKER, None)) is not None:
            item.stash[ATTEMPT] = item.stash.get(ATTEMPT, 0) + 1
            if (earlier := item.stash.get(RECORD, None)) is not None:
                item.stash[EARLIER] = earlier
            item.stash[RECORD] = None  # a rerun starts anew
            item.user_properties[:] = [each for each in item.user_properties if not str(each[0]).startswith("tpf_")]
            item.stash[MEASUREMENT] = self._measurement(item, marker)

    def _measurement(self, item: pytest.Item, marker: Marker) -> Measurement:
        measurement = Measurement(own_nodeid(item), marker, self._session.effort(marker), self._session)
        measurement.params = _params(item)
        return measurement

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Measure the body, then raise the verdict."""
        measurement = item.stash.get(MEASUREMENT, None)
        if measurement is None:
            return (yield)
        with self._recorded(item, measurement), self._session.sampling(measurement, say_waiting(item.config)):
            measurement.start_call()
            try:
                value = yield
                for _ in measurement.further_runs():
                    item.runtest()
            finally:
                measurement.end_run()
        self._judge(item)
        return value

    @contextmanager
    def _recorded(self, item: pytest.Item, measurement: Measurement) -> Iterator[None]:
        """Whatever happens in the body, what was measured until then becomes a record."""
        try:
            yield
        except BaseException as error:
            self._record(item, measurement)
            if isinstance(error, (KeyboardInterrupt, pytest.exit.Exception)):
                self._hand_over(item)
            raise
        self._record(item, measurement)

    def _record(self, item: pytest.Item, measurement: Measurement) -> None:
        record = settled(measurement.result(refreshes=2), item.stash[ATTEMPT], item.stash.get(EARLIER, None))
        if record.workload.requests or record.workload.output_tokens:
            if item.stash.get(EARLIER, None) is None:  # of a test that is run again, the first attempt is compared
                record = self._session.compared(record, measurement)
            self._config.hook.pytest_tpf_record(item=item, record=record)
            item.stash[RECORD] = record

    def _judge(self, item: pytest.Item) -> None:
        record = item.stash.get(RECORD, None)
        if record is None or not record.workload.output_tokens:
            if _is_asked_for(item):
                pytest.fail(_why_no_tokens(item.stash[MEASUREMENT]), pytrace=False)
            return
        if message := failure_message(record, strict=self._settings.gate == "strict"):
            pytest.fail(message, pytrace=False)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Attach the record, as builtins, to the report of the call; it crosses xdist by itself."""
        report = yield
        record = item.stash.get(RECORD, None)
        if call.when == "call" and record is not None:
            report.__dict__[RECORD_KEY] = self._package(record, _outcome(report))
            if self._settings.junit_properties:
                from pytest_tpf.report.junit import junit_properties

                item.user_properties.extend(junit_properties(record))  # JUnit reads them with the teardown
        return report

    def _package(self, record: TestRecord, outcome: str) -> dict[str, Any]:
        return {
            "record": as_dict(record) | {"outcome": outcome, "extra": json_ready(record.extra)},
            "run": as_dict(self._session.current_facts()),
        }

    def _hand_over(self, item: pytest.Item) -> None:
        """An interrupted test gets no report from pytest: give its record to this process's reporting directly."""
        reporting = self._config.pluginmanager.get_plugin("tpf-reporting")
        record = item.stash.get(RECORD, None)
        if reporting is not None and record is not None:
            reporting.collect(self._package(record, "interrupted"))

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        """An xdist worker tells its controller, which collects nothing, what it was to measure."""
        if hasattr(self._config, "workeroutput"):
            self._config.workeroutput[MEASURED_KEY] = self._expected

    def pytest_unconfigure(self) -> None:
        """The run is over: let the sampler go."""
        self._session.close()


def _is_asked_for(item: pytest.Item) -> bool:
    """Whether the test itself asks to be measured; with --tpf-all others are measured, where they generate."""
    return item.get_closest_marker("tpf") is not None or "tpf" in getattr(item, "fixturenames", ())


def _outcome(report: pytest.TestReport) -> str:
    if hasattr(report, "wasxfail"):
        return "xfailed" if report.skipped else "xpassed"
    return report.outcome


def _params(item: pytest.Item) -> dict[str, str]:
    callspec = getattr(item, "callspec", None)
    params: Mapping[str, Any] = callspec.params if callspec else {}
    return {name: value if isinstance(value, str) else _short(value) for name, value in params.items()}


def _short(value: Any) -> str:
    return repr(value) if isinstance(value, (int, float, bool, type(None))) else type(value).__name__


def _why_no_tokens(measurement: Measurement) -> str:
    """What to say where nothing was counted: what the engines that were seen remarked, if there are any."""
    generations = [g for each in measurement.observation().rounds for g in each.generations]
    remarks = dict.fromkeys(note for g in generations for note in g.notes)
    return "\n     ".join(("tpf: no output tokens were counted:", *remarks)) if remarks else NO_TOKENS
