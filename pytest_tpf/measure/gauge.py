"""A power gauge read as a counter: what it shows at each refresh, added up over time.

A gauge refreshes in steps, too, and shows the mean of a time that ends at its refresh: shorter than the refresh on some boards (25 of
every 100 ms), longer on others (1 s). Readings in between repeat it. Equal readings at two refreshes are two readings: dropping one
would turn steps into ramps and constant power into nothing.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Iterator, Sequence

from pytest_tpf.measure.counter import Curve
from pytest_tpf.measure.trace import Edge, PowerSample, Span, Trace
from pytest_tpf.uncertainty import Spread, normal, total, u_shaped, uniform

SLOWEST_REFRESH_S = 0.1
"""How old a reading may be where the refresh isn't known: no board was found to refresh more slowly (arXiv 2312.02741)."""

_LEAST_CHANGES = 5  # changes of the reading from which its refresh is told
_GAP_PERIODS = 5.0
_LEAST_GAP_S = 0.5


def lag_s(averaging_s: float | None) -> float:
    """For how long after an instant a gauge must be read on until its power then is known (s)."""
    return (averaging_s or 0.0) / 2 + SLOWEST_REFRESH_S


def refresh_s(powers: Sequence[PowerSample]) -> float | None:
    """How often the gauge refreshes (s), told from when its reading changes; None where that can't be told.

    The reading must repeat itself now and then, else it is read too seldom, and change often, else it is power that changes rarely.
    """
    times = [sample.t for sample in _changes(powers)]
    spacings = sorted(b - a for a, b in itertools.pairwise(times))
    if len(spacings) < _LEAST_CHANGES or len(times) > 0.7 * len(powers):
        return None
    usual_s = spacings[len(spacings) // 4]
    counts = [max(round(spacing / usual_s), 1) for spacing in spacings]
    return sum(spacings) / sum(counts) if usual_s <= 2 * SLOWEST_REFRESH_S or len(spacings) > 2 * _LEAST_CHANGES else None


def as_counter(trace: Trace) -> tuple[Edge, ...]:
    """The edges of the counter that the gauge would be, from zero on: one a refresh (one a reading where the refresh is unknown).

    An edge's bracket reaches from the oldest that its reading may have been to the reading; it lies half of the averaging time beyond a
    refresh back, because the mean of a longer time belongs to the middle of it.
    """
    powers, refresh = trace.powers, refresh_s(trace.powers)
    if len(powers) < 2:
        return ()
    delay_s = max((trace.channel.averaging_s or 0.0) - (refresh or trace.period_s or 0.0), 0.0) / 2
    repeats = any(a.watts == b.watts for a, b in itertools.pairwise(powers))
    start = powers[0].t - delay_s
    edges = [Edge(t_lo=start - SLOWEST_REFRESH_S, t_hi=start, joules=0.0)]
    last_w = powers[0].watts
    for before, sample in itertools.pairwise(powers):
        age_s = SLOWEST_REFRESH_S if refresh is None and repeats else min(sample.t - before.t, refresh or SLOWEST_REFRESH_S)
        edge = Edge(t_lo=sample.t - age_s - delay_s, t_hi=sample.t - delay_s, joules=0.0)
        pause_s = edge.t - edges[-1].t
        if pause_s <= 0:
            continue
        if refresh is None or sample.watts != before.watts or pause_s > 1.5 * refresh or sample is powers[-1]:
            joules = edges[-1].joules + _since_last_j(trace, last_w, sample.watts, pause_s)
            edges.append(Edge(t_lo=edge.t_lo, t_hi=edge.t_hi, joules=joules))
            last_w = sample.watts
    return tuple(edges)


def _since_last_j(trace: Trace, last_w: float, now_w: float, pause_s: float) -> float:
    """Energy between two refreshes (J): what the gauge averaged over is known, before that power went from one reading to the next."""
    seen_s = min(trace.channel.averaging_s or 0.0, pause_s)
    return now_w * seen_s + 0.5 * (last_w + now_w) * (pause_s - seen_s)


def own_spread(trace: Trace, curve: Curve, spans: Sequence[Span]) -> Spread:
    """How far energy may be off because a gauge isn't a counter.

    It sees ``averaging_s`` of every refresh T: in the rest, power went from one reading to the next (uniform between them). A mean over
    more than a refresh blurs the ends of a window: there the energy is off by at most a quarter of the averaging time times the range
    of power around (uniform).
    """
    each = [_spread_of(trace, curve, span) for span in spans]
    if len(each) == 1:
        return each[0]
    # Load that comes and goes with the spans is seen the same way in each of them: what they are off by adds up.
    blurred_j = math.fsum(_blurred_pause_j(trace, curve, before, after) for before, after in itertools.pairwise(spans))
    return total([normal(math.fsum(spread.standard for spread in each)), u_shaped(blurred_j)])


def _spread_of(trace: Trace, curve: Curve, span: Span) -> Spread:
    averaging_s, (start, end) = trace.channel.averaging_s or 0.0, span
    parts: list[Spread] = []
    for index in range(curve.interval(start), curve.interval(end) + 1):
        unseen_s = max(curve.duration_s(index) - averaging_s, 0.0)
        swing_w = abs((curve.mean_power_w(index) or 0.0) - (curve.mean_power_w(index - 1) or curve.mean_power_w(index) or 0.0))
        parts.append(uniform(swing_w * unseen_s / 2))
    return total([*parts, *(uniform(_blurred_j(trace, t)) for t in span)])


def _blurred_pause_j(trace: Trace, curve: Curve, before: Span, after: Span) -> float:
    """Energy (J) of the pause between two spans that may have flowed in them, because it is too short for the gauge to show its power.

    Where both spans are long enough for theirs to be seen, readings dip by no less than the pause lacks.
    """
    averaging_s = trace.channel.averaging_s or 0.0
    start, end = before[1], after[0]
    if averaging_s <= (trace.period_s or 0.0) or end - start >= averaging_s:
        return 0.0
    drawn_j = curve.at(end) - curve.at(start)
    if min(before[1] - before[0], after[1] - after[0]) < 2 * averaging_s:
        return drawn_j
    watts = [sample.watts for sample in _around(trace.powers, start - averaging_s, end + averaging_s)]
    return min(drawn_j, averaging_s * (max(watts) - min(watts))) if watts else drawn_j


def _blurred_j(trace: Trace, t: float) -> float:
    averaging_s = trace.channel.averaging_s or 0.0
    if averaging_s <= (trace.period_s or 0.0):
        return 0.0
    watts = [sample.watts for sample in _around(trace.powers, t - averaging_s, t + averaging_s)]
    return 0.25 * averaging_s * (max(watts) - min(watts)) if watts else 0.0


def longest_gap_s(powers: Sequence[PowerSample], spans: Sequence[Span]) -> float:
    """The longest time (s) between two readings that touch ``spans``."""
    return max((b.t - a.t for span in spans for a, b in itertools.pairwise(_around(powers, *span))), default=math.inf)


def allowed_gap_s(trace: Trace) -> float:
    """From here on a pause between readings is a gap: a gauge, unlike a counter, loses what happens meanwhile."""
    return max(_GAP_PERIODS * (trace.period_s or trace.channel.poll_s), _LEAST_GAP_S)


def _changes(powers: Sequence[PowerSample]) -> Iterator[PowerSample]:
    return (sample for before, sample in itertools.pairwise(powers) if sample.watts != before.watts)


def _around(powers: Sequence[PowerSample], start: float, end: float) -> Sequence[PowerSample]:
    """The readings from the last one at or before ``start`` to the first one at or after ``end``."""
    first = max(bisect.bisect_right(powers, start, key=lambda sample: sample.t) - 1, 0)
    last = bisect.bisect_left(powers, end, key=lambda sample: sample.t)
    return powers[first : last + 1]
