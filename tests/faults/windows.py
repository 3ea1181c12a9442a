"""Windows over a sampler, and what a fault test wants to know of them."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from pytest_tpf.measure.energy import DomainEnergy, energy_of_spans
from pytest_tpf.measure.sampler import Sampler
from pytest_tpf.measure.trace import Recording

Span = tuple[float, float]


def window(sampler: Sampler, length_s: float = 0.25, edges_after: int = 2) -> tuple[Recording, Span]:
    t0 = time.perf_counter()
    time.sleep(length_s)
    t1 = time.perf_counter()
    return sampler.collect(t0, t1, edges_after), (t0, t1)


def energies(recording: Recording, span: Span) -> dict[str, DomainEnergy]:
    return {trace.channel.domain: energy_of_spans(trace, [span]) for trace in recording.traces if trace.channel.energy}


def texts(recording: Recording) -> list[str]:
    return list(dict.fromkeys(fault.text for trace in recording.traces for fault in trace.faults))


def children(pid: int) -> list[int]:
    """The processes that a process has started and that live."""
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # of a thread that has ended meanwhile
            found += map(int, path.read_text().split())
    return found


def is_gone(pid: int) -> bool:
    """No such process, or one that ended and waits for a parent to notice."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True
