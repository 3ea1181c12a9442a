"""What the sampler recorded of a channel: pure data, all times ``time.perf_counter()`` seconds.

A stepped counter (NVML) is known by its *edges*: the instants at which it jumped, each only known to lie between two polls.
"""

from __future__ import annotations

from collections.abc import Iterable

from pytest_tpf.meters.protocol import ChannelInfo, Status
from pytest_tpf.records import record

Span = tuple[float, float]


@record
class Edge:
    """The counter showed ``joules`` for the first time somewhere in (``t_lo``, ``t_hi``].

    Stepped counter: ``t_lo`` is the start of the last read with the old value, ``t_hi`` the end of the first read with the new one.
    Any other counter: the instants just before and just after the read.
    """

    t_lo: float
    t_hi: float
    joules: float

    @property
    def t(self) -> float:
        """The best single time of the edge: the middle of its bracket."""
        return 0.5 * (self.t_lo + self.t_hi)


@record
class PowerSample:
    """A power gauge showed ``watts`` at ``t``."""

    t: float
    watts: float


@record
class Fault:
    """Something went wrong with the channel at ``t``; ``code`` is a reason code of the report."""

    t: float
    code: str
    text: str


@record
class Trace:
    """One channel's recording, in the order of time. ``edges`` for a counter, ``powers`` for a gauge.

    ``period_s``: the measured refresh (the median spacing of edges, or of polls where the channel isn't stepped), None if not yet known.
    ``jitter_s``: how far spacings scatter about it (median absolute deviation, scaled to a standard deviation).
    ``swing``: how far power swings between two refreshes (standard deviation relative to its mean), None where nothing shows it.
    """

    channel: ChannelInfo
    edges: tuple[Edge, ...] = ()
    powers: tuple[PowerSample, ...] = ()
    faults: tuple[Fault, ...] = ()
    period_s: float | None = None
    jitter_s: float | None = None
    swing: float | None = None


@record
class Recording:
    """What the sampler recorded around a window: one trace a channel, and the devices' slow evidence.

    ``unreached``: domains whose joules are not those of what generated, so that they say nothing of it.
    """

    traces: tuple[Trace, ...]
    statuses: tuple[Status, ...] = ()
    unreached: tuple[str, ...] = ()


def merged_spans(spans: Iterable[Span]) -> tuple[Span, ...]:
    """``spans`` sorted, with touching and overlapping ones made one; empty spans disappear.

    Raises:
        ValueError: a span ends before it starts.
    """
    merged: list[Span] = []
    for start, end in sorted(spans):
        if end < start:
            raise ValueError(f"a span ends at {end} before it starts at {start}")
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        elif end > start:
            merged.append((start, end))
    return tuple(merged)
