"""A node's end of the ``ray`` meter: the ordinary meters of one machine, sampled there from now on and asked about windows afterwards.

Edges stay on the node; what travels is those around a window, 24 bytes each. All times here are the node's own ``perf_counter``.
"""

from __future__ import annotations

import os
import time
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest_tpf
from pytest_tpf.codec import as_dict
from pytest_tpf.measure.sampler import Sampler, SamplerUnavailable
from pytest_tpf.measure.trace import Trace
from pytest_tpf.meters.protocol import MeterOptions

Row = tuple[bytes, bytes, bytes, list[tuple[float, str, str]], float | None]
"""A channel's readings as raw doubles (from, until, value), its faults, and its refresh period (s)."""

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class NodeMeters:
    """What Ray runs as an actor on each node. Its methods take and give builtins: the two ends need not share classes.

    The estimate, where nothing can be measured, follows the node's raylet: whatever Ray runs there.
    """

    def __init__(self, meters: Sequence[str], cpu_tdp_w: float | None = None) -> None:
        self._sampler = Sampler(meters, MeterOptions(watched_pid=os.getppid(), cpu_tdp_w=cpu_tdp_w))

    def found(self) -> dict[str, Any]:
        """Begin to sample. What there is: ``version`` and ``machine``, and ``unavailable`` (one line) or the sampler's findings."""
        about = {"version": pytest_tpf.__version__, "machine": machine()}
        try:
            info = self._sampler.start()
        except SamplerUnavailable as unavailable:
            return about | {"unavailable": str(unavailable)}
        self._sampler.arm()
        return about | {name: as_dict(getattr(info, name)) for name in ("channels", "accelerators", "notes", "unmetered")}

    def now_s(self) -> float:
        """The node's clock."""
        return time.perf_counter()

    def around(self, t0: float, t1: float) -> list[Row]:
        """What every channel read around a window, once it has read enough after it. A sampler that was lost is started again."""
        rows = [_row(trace) for trace in self._sampler.collect(t0, t1).traces]
        if self._sampler.lost is not None:
            self._sampler.arm()
        return rows

    def close(self) -> None:
        """Let the meters go."""
        self._sampler.close()


def machine() -> str | None:
    """What tells this machine from all others while it runs, in a container as outside; None where the kernel doesn't say."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return None


def _row(trace: Trace) -> Row:
    lo = array("d", [edge.t_lo for edge in trace.edges] or [sample.t for sample in trace.powers])
    hi = array("d", [edge.t_hi for edge in trace.edges] or [sample.t for sample in trace.powers])
    values = array("d", [edge.joules for edge in trace.edges] or [sample.watts for sample in trace.powers])
    faults = [(fault.t, fault.code, fault.text) for fault in trace.faults]
    return lo.tobytes(), hi.tobytes(), values.tobytes(), faults, trace.period_s
