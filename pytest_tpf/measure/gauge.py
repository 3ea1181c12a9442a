"""Energy from a power gauge: the trapezoid through every reading, interpolated at the ends of each span.

Equal readings are readings too: dropping them turns steps into ramps and constant power into nothing.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Iterator, Sequence

from pytest_tpf.measure.trace import PowerSample, Span, Trace

HIDDEN_SWING = 0.05  # as for counters: what lies between two readings is never known better than this
_GAP_PERIODS = 5.0
_LEAST_GAP_S = 0.5


def integral_j(powers: Sequence[PowerSample], start: float, end: float) -> float:
    """Energy (J) between two instants that lie within the readings."""
    return sum(0.5 * (a.watts + b.watts) * (b.t - a.t) for a, b in _pieces(powers, start, end))


def longest_gap_s(powers: Sequence[PowerSample], spans: Sequence[Span]) -> float:
    """The longest time (s) between two readings that touch ``spans``."""
    return max((b.t - a.t for span in spans for a, b in itertools.pairwise(_around(powers, *span))), default=math.inf)


def allowed_gap_s(trace: Trace) -> float:
    """From here on a pause between readings is a gap: a gauge, unlike a counter, loses what happens meanwhile."""
    return max(_GAP_PERIODS * (trace.period_s or trace.channel.poll_s), _LEAST_GAP_S)


def uncertainty_j(trace: Trace, spans: Sequence[Span]) -> float:
    """Standard uncertainty (J): when power went from one reading to the next is unknown, and the gauge averages.

    Between readings a and b of duration T the energy lies between a T and b T (uniform). A gauge that averages over A seconds shows the
    energy of a window moved back by up to A: at each end at most A/2 times the range of power seen around it (uniform).
    """
    squares = 0.0
    for start, end in spans:
        for a, b in _pieces(trace.powers, start, end):
            swing_w = max(abs(b.watts - a.watts), HIDDEN_SWING * max(a.watts, b.watts))
            squares += (swing_w * (b.t - a.t)) ** 2 / 12
        for t in (start, end):
            squares += _averaging_j(trace, t) ** 2 / 3
    return math.sqrt(squares)


def _averaging_j(trace: Trace, t: float) -> float:
    averaging_s = trace.channel.averaging_s
    if not averaging_s:
        return 0.0
    watts = [sample.watts for sample in _around(trace.powers, t - averaging_s, t + averaging_s)]
    return 0.5 * averaging_s * (max(watts) - min(watts)) if watts else 0.0


def _around(powers: Sequence[PowerSample], start: float, end: float) -> Sequence[PowerSample]:
    """The readings from the last one at or before ``start`` to the first one at or after ``end``."""
    first = max(bisect.bisect_right(powers, start, key=lambda sample: sample.t) - 1, 0)
    last = bisect.bisect_left(powers, end, key=lambda sample: sample.t)
    return powers[first : last + 1]


def _pieces(powers: Sequence[PowerSample], start: float, end: float) -> Iterator[tuple[PowerSample, PowerSample]]:
    """Pairs of neighbouring readings, cut at ``start`` and ``end`` with the power interpolated there."""
    for a, b in itertools.pairwise(_around(powers, start, end)):
        t0, t1 = max(a.t, start), min(b.t, end)
        if t1 > t0:
            yield _between(a, b, t0), _between(a, b, t1)


def _between(a: PowerSample, b: PowerSample, t: float) -> PowerSample:
    share = (t - a.t) / (b.t - a.t)
    return PowerSample(t=t, watts=a.watts + share * (b.watts - a.watts))
