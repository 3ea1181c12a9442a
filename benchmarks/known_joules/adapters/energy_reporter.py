"""pytest-energy-reporter: no GPU. It multiplies a model of the processor's power (trained on SPEC results) with the test process's load.

It takes part in the table beside its peers for what it costs. A window is one of its iterations, which needs a function to run; here the
function is this protocol's wait, so that the order of calls is that of every tool.
"""

from __future__ import annotations

import multiprocessing
from typing import Any

from adapter_loop import serve


class EnergyReporter:
    """The measuring process of one iteration, as ``EnergyTester.test`` starts and ends it around the function."""

    def __init__(self) -> None:
        from pytest_energy_reporter.measurement import energy_tester

        self.notes: list[str] = []
        self._tester = energy_tester
        self._process: multiprocessing.Process | None = None

    def prepare(self) -> None:
        """Nothing."""

    def begin(self) -> None:
        """Start the process that watches this one's load every 0.2 s."""
        from energy_consumption_reporter.measure_process import MeasureProcess

        self._process = MeasureProcess(self._tester.conn1, self._tester.model)
        self._process.start()

    def end(self) -> None:
        """End it; it finishes the 0.2 s it is in."""
        assert self._process is not None
        self._process.terminate()
        self._process.join()
        self._values = self._tester.conn2.recv()

    def claim(self) -> dict[str, Any]:
        """No GPU is measured."""
        if isinstance(self._values, Exception):
            raise self._values
        return {"joules": None, "reason": "measures no GPU", "boards": {}}

    def close(self) -> None:
        """Nothing."""


if __name__ == "__main__":
    serve("pytest-energy-reporter", EnergyReporter)
