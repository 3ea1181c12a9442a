"""pytest-tpf: its own sampler and its own energy of a window, as its plugin uses them around a test."""

from __future__ import annotations

import math
import os
import time
from typing import Any

from adapter_loop import Refused, serve

from pytest_tpf.measure.energy import DomainEnergy
from pytest_tpf.measure.sampler import Sampler, SamplerUnavailable
from pytest_tpf.measure.window import window_energy
from pytest_tpf.meters.protocol import MeterOptions
from pytest_tpf.uncertainty import COVERAGE_95


class Tpf:
    """One sampler. Stated intervals are 95 %."""

    def __init__(self) -> None:
        self._sampler = Sampler(["nvml"], MeterOptions(watched_pid=os.getpid()))
        try:
            self.notes = list(self._sampler.start().notes)
        except SamplerUnavailable as reason:
            raise Refused(str(reason)) from None
        self._start_s = self._end_s = 0.0

    def prepare(self) -> None:
        """As before a measured test."""
        self._sampler.arm()

    def begin(self) -> None:
        """A window is two clock readings."""
        self._start_s = time.perf_counter()

    def end(self) -> None:
        """The other one."""
        self._end_s = time.perf_counter()

    def claim(self) -> dict[str, Any]:
        """Asks the sampler what happened; waits for the counter's next refreshes."""
        recording = self._sampler.collect(self._start_s, self._end_s)
        self._sampler.rest()
        energy = window_energy(recording, [(self._start_s, self._end_s)])
        boards = {str(int(name.removeprefix("gpu:"))): domain(found) for name, found in energy.domains.items()}
        if energy.joules is None:
            return {"joules": None, "reason": ", ".join(energy.reasons) or self._sampler.lost, "boards": boards}
        return {"joules": energy.joules, "boards": boards} | widths(energy.spread.expanded, energy.gain_uncertainty_j)

    def close(self) -> None:
        """End the sampler."""
        self._sampler.close()


def domain(found: DomainEnergy) -> dict[str, Any]:
    """One board's claim."""
    if found.joules is None:
        return {"joules": None, "reason": ", ".join(found.reasons)}
    return {"joules": found.joules} | widths(found.half_width_j, found.gain_uncertainty_j)


def widths(half_width_j: float | None, gain_uncertainty_j: float | None) -> dict[str, float]:
    """Half of the two stated 95 % intervals (J), as in the report: for comparing runs on one board, and absolutely."""
    own_j = half_width_j or 0.0
    return {"half_width_j": own_j, "absolute_half_width_j": math.hypot(own_j, COVERAGE_95 * (gain_uncertainty_j or 0.0))}


if __name__ == "__main__":
    serve("pytest-tpf", Tpf)
