"""An estimate of processor energy from CPU time, for machines where nothing can be measured. Its trust is ``estimated``, always.

Model: package power P(u) = P_idle + (TDP - P_idle) * (2u - u^1.4), u = busy cores of the watched processes / cores of the machine: the
curve of Fan, Weber and Barroso ("Power provisioning for a warehouse-sized computer", ISCA 2007, section 4.2), which they fitted to whole
servers and which is used here for a package. Assumptions of ours: P_idle is a tenth of the TDP, and without a TDP from the user it is 4 W
for every logical core. The idle power of the whole package is included, as a package counter would include it: the machine is on for this
test. Work of other processes is not seen. Memory is not estimated.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence

from pytest_tpf.meters._process_tree import ProcessTree, system_clocks
from pytest_tpf.meters.protocol import Channel, ChannelInfo, MeterOptions, Opened, Status

IDLE_SHARE = 0.1
WATTS_PER_CORE = 4.0
CURVE_EXPONENT = 1.4
# Relative standard uncertainties, by judgement: the curve and the idle share alone, and with a guessed TDP on top.
GAIN_WITH_TDP = 0.15
GAIN_ASSUMED_TDP = 0.25
POLL_S = 0.02


def package_power_w(load: float, tdp_w: float) -> float:
    """Power (W) of a package of ``tdp_w`` at ``load`` (0..1): Fan, Weber, Barroso 2007 over an idle power of a tenth of the TDP."""
    idle_w = IDLE_SHARE * tdp_w
    return idle_w + (tdp_w - idle_w) * (2 * load - math.pow(load, CURVE_EXPONENT))


class LoadEnergy:
    """Joules added up over the intervals between reads, from CPU seconds."""

    def __init__(self, tdp_w: float, cores: int, busy_s: Callable[[], float], clock_s: Callable[[], float] = time.perf_counter) -> None:
        """``busy_s`` gives cumulative CPU seconds of what is watched, ``clock_s`` the time."""
        self._tdp_w, self._cores, self._busy_s, self._clock_s = tdp_w, cores, busy_s, clock_s
        self._t, self._counted_s, self._joules = clock_s(), busy_s(), 0.0

    def read_j(self) -> float:
        """Cumulative joules since the first reading of the clocks."""
        t, busy_s = self._clock_s(), self._busy_s()
        elapsed_s = t - self._t
        if elapsed_s <= 0:
            return self._joules
        # CPU clocks and time aren't read at one instant: what doesn't fit into this interval is left for the next.
        used_s = min(busy_s - self._counted_s, elapsed_s * self._cores)
        self._joules += package_power_w(used_s / (elapsed_s * self._cores), self._tdp_w) * elapsed_s
        self._t, self._counted_s = t, self._counted_s + used_s
        return self._joules


class EstimateMeter:
    """An estimate of what the processor used for the watched processes and their descendants."""

    id = "estimate"

    def open(self, options: MeterOptions) -> Opened:
        """One estimated energy channel, ``cpu:0``, which stands for all packages.

        Raises:
            MeterUnavailable: a watched process isn't running, or its CPU time can't be read here.
        """
        cores = os.cpu_count() or 1
        tdp_w = options.cpu_tdp_w or WATTS_PER_CORE * cores
        tree = ProcessTree(options.roots, system_clocks())
        energy = LoadEnergy(tdp_w, cores, tree.busy_s)
        is_assumed = options.cpu_tdp_w is None
        info = ChannelInfo(
            meter=self.id,
            domain="cpu:0",
            device=None,
            quantity="energy_j",
            method="estimate_cpu_time_tdp_curve",
            source=f"CPU time of {_trees(options.roots)}, TDP {tdp_w:g} W{' (assumed)' if is_assumed else ''}",
            trust="estimated",
            stepped=False,
            poll_s=POLL_S,
            energy=True,
            reach="processes",
            gain=GAIN_ASSUMED_TDP if is_assumed else GAIN_WITH_TDP,
        )
        return Opened(channels=(Channel(info, energy.read_j),), notes=(_note(tdp_w, cores, is_assumed),), unmetered=("dram:0",))

    def status(self) -> Sequence[Status]:
        """There is no slow evidence."""
        return ()

    def close(self) -> None:
        """Nothing is held open."""


def _trees(roots: Sequence[int]) -> str:
    if len(roots) == 1:
        return f"process {roots[0]} and its descendants"
    return f"processes {', '.join(map(str, roots))} and their descendants"


def _note(tdp_w: float, cores: int, is_assumed: bool) -> str:
    if is_assumed:
        return f"estimated: CPU time at an assumed TDP of {tdp_w:g} W ({cores} cores x {WATTS_PER_CORE:g} W): set --tpf-cpu-tdp W"
    return f"estimated: CPU time at a TDP of {tdp_w:g} W (--tpf-cpu-tdp)"
