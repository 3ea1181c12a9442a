"""What a domain's other sensors say beside the counter that its energy comes from. Pure.

A gauge shows two things that a counter can't: how power swings between two refreshes of the counter, and whether the counter's scale is to
be believed. Where both are read over the same time, they must agree.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence

from pytest_tpf.measure.counter import Curve
from pytest_tpf.measure.energy import energy_of_spans
from pytest_tpf.measure.gauge import SLOWEST_REFRESH_S, refresh_s
from pytest_tpf.measure.trace import PowerSample, Span, Trace
from pytest_tpf.meters.protocol import ChannelInfo
from pytest_tpf.records import record

DISAGREEMENT = 0.055
"""Sensors that are farther apart than this disagree: 8 % never passes, and what two sound sensors differ by stays below."""

_DECIDED = 0.015  # half of the 95 % interval of their ratio, up to which two sensors can be compared
_SETTLED_S = 1.0  # a window shorter than this says little about a sensor's scale
_LIKELY_SWING, _LIKELY_WEIGHT = 0.015, 4  # assumed before any reading is looked at, and how many readings that is worth
_UNDOCUMENTED_AVERAGING_S = 0.025
_SEES_ALL = 0.9  # share of its refresh that a gauge averages over, from which on it misses nothing to speak of
_ALIASED_TIMES, _ALIASED_SHARE = 10.0, 0.03  # how far rounds lie apart, against their own readings' scatter and against their mean
_LEAST_ROUNDS, _LEAST_READINGS = 3, 3


@record
class Agreement:
    """How a sensor compares with its domain's counter over the same time: ``ratio`` of their energies, and half of its 95 % interval.

    ``disagree`` is None where the interval is too wide, or the time too short, to tell.
    """

    domain: str
    method: str
    against: str
    ratio: float | None
    half_width: float | None
    disagree: bool | None

    @property
    def text(self) -> str:
        """One line for the user."""
        if self.ratio is None:
            return f"{self.domain}: {self.method} can't be compared with {self.against}"
        return f"{self.domain}: {self.method} is {self.ratio - 1:+.1%} from {self.against}"


def with_swing(traces: Sequence[Trace]) -> tuple[Trace, ...]:
    """``traces``, each energy counter with the ``swing`` that its domain's quickest gauge shows."""
    return tuple(dataclasses.replace(trace, swing=_swing(trace, traces)) if _is_counter(trace) else trace for trace in traces)


def agreements(traces: Sequence[Trace]) -> tuple[Agreement, ...]:
    """Every other sensor of a domain beside its counter, over the time in which both were read."""
    counters = {trace.channel.domain: trace for trace in traces if _is_counter(trace)}
    others = [trace for trace in traces if trace.channel.domain in counters and not trace.channel.energy]
    return tuple(_agreement(counters[other.channel.domain], other) for other in others)


def sees_part_of_time(channel: ChannelInfo, refresh_s: float) -> bool:
    """Whether a gauge averages over so little of each refresh that a load in step with it is seen at one place of its swing only."""
    averaging_s = _UNDOCUMENTED_AVERAGING_S if channel.averaging_s is None else channel.averaging_s
    return channel.quantity == "power_w" and averaging_s < _SEES_ALL * refresh_s


def aliased(trace: Trace, rounds: Sequence[Span]) -> float | None:
    """How far the rounds' mean powers lie apart (standard deviation over mean) where a part-time gauge aliases with the load, else None.

    Rounds of the same work that begin at random instants are seen at another place of the swing each: then the readings within a round
    agree with one another and not with those of the next (one-way analysis of variance).
    """
    if not sees_part_of_time(trace.channel, refresh_s(trace.powers) or SLOWEST_REFRESH_S):
        return None
    seen = [[p.watts for p in trace.powers if start + SLOWEST_REFRESH_S <= p.t <= end] for start, end in rounds]
    told = [watts for watts in seen if len(set(watts)) >= _LEAST_READINGS]
    if len(told) < _LEAST_ROUNDS:
        return None
    means = [sum(watts) / len(watts) for watts in told]
    within = sum(_variance(watts) / len(set(watts)) for watts in told) / len(told)
    apart = math.sqrt(_variance(means)) / (sum(means) / len(means))
    return apart if _variance(means) > _ALIASED_TIMES * within and apart > _ALIASED_SHARE else None


def _variance(values: Sequence[float]) -> float:
    mean = sum(values) / len(values)
    return sum((value - mean) ** 2 for value in values) / (len(values) - 1)


def quickest_first(gauges: Sequence[Trace]) -> list[Trace]:
    """Gauges by the time over which they average: the shortest follows the load best."""
    return sorted(gauges, key=_averaging_s)


def _is_counter(trace: Trace) -> bool:
    return trace.channel.energy and trace.channel.quantity == "energy_j"


def _averaging_s(trace: Trace) -> float:
    averaging_s = trace.channel.averaging_s
    return _UNDOCUMENTED_AVERAGING_S if averaging_s is None else averaging_s


def _swing(counter: Trace, traces: Sequence[Trace]) -> float | None:
    """The root mean square of how far readings lie outside the powers that the counter shows for their time, relative to these.

    A reading's time isn't known better than the pause before it, so it is held against all powers of that time. What is assumed at first
    counts like a few readings, so that two quiet ones aren't taken for proof.
    """
    gauges = quickest_first([t for t in traces if t.channel.domain == counter.channel.domain and t.channel.quantity == "power_w"])
    if not gauges or len(counter.edges) < 2:
        return None
    found = list(_outside(Curve(counter.edges), gauges[0].powers, _averaging_s(gauges[0])))
    squares = sum(share * share for share in found) + _LIKELY_WEIGHT * _LIKELY_SWING**2
    return math.sqrt(squares / (len(found) + _LIKELY_WEIGHT)) if found else None


def _outside(curve: Curve, powers: Sequence[PowerSample], averaging_s: float) -> Iterator[float]:
    for before, sample in itertools.pairwise(powers):
        start = before.t - averaging_s
        if sample.watts == before.watts or start < curve.first or sample.t > curve.last:
            continue
        indices = range(curve.interval(start), curve.interval(sample.t) + 1)
        shown = [power_w for index in indices if (power_w := curve.mean_power_w(index)) is not None]
        reference_w = max([*shown, sample.watts])
        if shown and reference_w > 0:
            yield max(sample.watts - max(shown), min(shown) - sample.watts, 0.0) / reference_w


def _agreement(counter: Trace, other: Trace) -> Agreement:
    none = Agreement(
        domain=counter.channel.domain,
        method=other.channel.method,
        against=counter.channel.method,
        ratio=None,
        half_width=None,
        disagree=None,
    )
    extents = [_extent(trace) for trace in (counter, other)]
    start, end = max(start for start, _ in extents), min(end for _, end in extents)
    if end <= start:
        return none
    mine, theirs = energy_of_spans(counter, [(start, end)]), energy_of_spans(other, [(start, end)])
    if not mine.joules or theirs.joules is None or mine.half_width_j is None or theirs.half_width_j is None:
        return none
    half_width = math.hypot(mine.half_width_j, theirs.half_width_j) / mine.joules
    can_tell = half_width <= _DECIDED and end - start >= max(_SETTLED_S, 2 * (other.channel.averaging_s or 0.0))
    ratio = theirs.joules / mine.joules
    return dataclasses.replace(none, ratio=ratio, half_width=half_width, disagree=abs(ratio - 1) > DISAGREEMENT if can_tell else None)


def _extent(trace: Trace) -> Span:
    """The time that a sensor can tell of; an empty one where it can't tell anything."""
    if len(trace.edges) > 1:
        return trace.edges[0].t, trace.edges[-1].t
    return (trace.powers[0].t, trace.powers[-1].t - _averaging_s(trace)) if len(trace.powers) > 1 else (math.inf, -math.inf)
