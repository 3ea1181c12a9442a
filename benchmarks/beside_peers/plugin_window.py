"""A window as a test draws it with this plugin, ``with tpf.measure():``, without pytest around it."""

from __future__ import annotations

import time

from pytest_tpf.markers import Marker
from pytest_tpf.measure.rounds import Effort
from pytest_tpf.measurement import Measurement
from pytest_tpf.observation import Counts
from pytest_tpf.records import Facility
from pytest_tpf.session import Session
from pytest_tpf.settings import Settings

EVALUATED_S = 0.1


class PluginWindow:
    """One measured test that draws windows."""

    def __init__(self) -> None:
        self._session = Session(Settings(meter=("nvml",)), Facility())
        self._session.start()
        self._measurement = self._new()
        self._sampling = self._session.sampling(self._measurement)
        self._in_test = False

    def prepare(self) -> None:
        """The test's body is about to run."""
        self._sampling.__enter__()
        self._in_test = True
        self._measurement.start_call()

    def begin(self) -> None:
        """Enter the window."""
        self._window = self._measurement.window()
        self._window.__enter__()

    def end(self) -> None:
        """Leave it."""
        self._window.__exit__(None, None, None)

    def evaluate(self) -> float:
        """Seconds from a test's end to its record, which waits for the counter; once a test. No further window after this."""
        self._end_test()  # two tests of one process would wait for each other's boards
        measurement = self._new()
        with self._session.sampling(measurement):
            measurement.start_call()
            with measurement.window():
                measurement.ledger.add_counts(Counts(output_tokens=5))
                time.sleep(EVALUATED_S)
            measurement.end_run()
        start_s = time.perf_counter()
        measurement.result()
        return time.perf_counter() - start_s

    def close(self) -> None:
        """The test is over."""
        self._end_test()
        self._session.close()

    def _end_test(self) -> None:
        if self._in_test:
            self._in_test = False
            self._sampling.__exit__(None, None, None)

    def _new(self) -> Measurement:
        effort = Effort(rounds=None, warmup=0, max_time_s=1.0, target_ci=0.05)
        return Measurement("test_a.py::test_b", Marker(), effort, self._session)
