"""The energy of one domain between instants, with its uncertainty: pure functions on what the sampler recorded."""

from __future__ import annotations

import bisect
import dataclasses
import math
from collections.abc import Iterable, Sequence

from pytest_tpf.measure import gauge
from pytest_tpf.measure.counter import Curve
from pytest_tpf.measure.trace import Fault, Span, Trace, merged_spans
from pytest_tpf.records import record
from pytest_tpf.uncertainty import COVERAGE_95, Spread, total, u_shaped, uniform

TOO_SHORT = 0.5
"""An energy whose 95 % interval is wider than this share of it to either side is not reported: ``window_too_short``."""

WORTHWHILE = 0.05
"""The relative uncertainty (95 %) for which a window that was too short is told how long it would have to be."""

UNSEEN_SWING = 0.1
"""Assumed where nothing shows how power runs between two refreshes: a tenth of it up and down (standard deviation)."""

_WHOLE = 0.999  # of a refresh that is covered: that much is all of it
_GAP_PERIODS = 3.0  # an end inside an interval longer than this many refreshes lies in a gap of the sampling


@record
class DomainEnergy:
    """Energy of one domain (J), None where ``reasons`` say why.

    ``spread``: how far it may be off (type B): edge timing, resolution, and what power did inside a refresh. ``gain_uncertainty_j``
    (standard): the sensor's scale, which cancels between runs on the same board; None where nothing is known of it. ``needs_s``: how long
    a window that was too short would have to be for ``WORTHWHILE``.
    """

    joules: float | None
    spread: Spread | None
    gain_uncertainty_j: float | None
    reasons: tuple[str, ...] = ()
    needs_s: float | None = None

    @property
    def valid(self) -> bool:
        """Whether the energy is known."""
        return self.joules is not None

    @property
    def uncertainty_j(self) -> float | None:
        """The standard uncertainty without the sensor's scale (J)."""
        return None if self.spread is None else self.spread.standard

    @property
    def half_width_j(self) -> float | None:
        """Half of the comparative 95 % interval (J)."""
        return None if self.spread is None else self.spread.expanded


def energy_of_spans(trace: Trace, spans: Iterable[Span]) -> DomainEnergy:
    """Energy (J) that ``trace``'s domain used in the union of ``spans`` ((start, end) in perf_counter seconds).

    Touching and overlapping spans are merged first, so shared ends neither count twice nor add uncertainty. Energy is additive:
    that of two adjoining windows is that of the window they make up. Never negative, never clamped.

    Reasons for None: ``not_bracketed`` (no reading before or after), ``counter_reset`` (the counter went down), ``sampling_gap``,
    ``window_too_short`` (less than a refresh, or a 95 % interval beyond half the value), ``no_window`` (nothing to measure), and the
    code of any fault around them.

    Raises:
        ValueError: a span ends before it starts.
    """
    merged = merged_spans(spans)
    if not merged:
        return _unknown("no_window")
    if trace.period_s is not None and sum(end - start for start, end in merged) < trace.period_s:
        return _too_short(trace)  # within one refresh the meter tells an average, not this window
    if trace.channel.quantity == "power_w":
        return _of_gauge(trace, merged)
    return _of_counter(trace, merged)


def shortest_window_s(trace: Trace, relative: float, swing: float = 1.0) -> float | None:
    """The window (s) from which on energy is known within ``relative`` (95 %), at random phase; None while the refresh is unknown.

    ``swing`` is the step of power at the window's ends relative to the power inside (1 = from nothing to full load and back). A step at a
    random place in a refresh of length T leaves its energy uncertain by P swing T / 17 (``Curve.inside_spread`` averaged in squares over
    the place), twice; what swings too fast for the counter, edge timing and resolution add to it.

    Raises:
        ValueError: ``relative`` is not positive.
    """
    if relative <= 0:
        raise ValueError(f"relative must be positive, not {relative}")
    if trace.period_s is None:
        return None
    end_s = trace.period_s * math.hypot(swing / math.sqrt(288), hidden_swing(trace) / math.sqrt(6))
    timing_s = _median([edge.t_hi - edge.t_lo for edge in trace.edges[-100:]]) / math.sqrt(12)
    resolution_s = _resolution_s(trace)
    return COVERAGE_95 * math.sqrt(2.0) * math.hypot(end_s, timing_s, resolution_s) / relative


def _of_counter(trace: Trace, spans: tuple[Span, ...]) -> DomainEnergy:
    start, end = spans[0][0], spans[-1][1]
    codes = _fault_codes(trace.faults, *_bracket([edge.t for edge in trace.edges], start, end))
    if len(trace.edges) < 2:
        return _unknown("not_bracketed", *codes)
    curve = Curve(trace.edges)
    if not curve.first <= start <= end <= curve.last:
        return _unknown("not_bracketed", *codes)
    first, last = curve.interval(start), curve.interval(end) + 1
    if any(curve.joules(index) < 0 for index in range(first, last)):
        codes = ("counter_reset", *(code for code in codes if code != "counter_reset"))
    in_gap = _ends_in_gap(trace, curve, spans)
    if in_gap and last - first == 1:
        codes = (*codes, "sampling_gap")  # nothing was seen of this window but a mean over a longer time
    if codes:
        return _unknown(*codes)
    return _judged(trace, *_drawn(trace, curve, spans), in_gap)


def _drawn(trace: Trace, curve: Curve, spans: tuple[Span, ...]) -> tuple[float, Spread]:
    """The energy of the spans under the curve (J), and how far it may be off."""
    ends = [(t, sign) for t0, t1 in spans for t, sign in ((t0, -1), (t1, +1))]
    resolution_j = trace.channel.resolution_j or 0.0
    parts: list[Spread] = []
    for index, (per_s, per_j) in curve.edge_weights(ends).items():
        edge = curve.edge(index)
        parts += [uniform(abs(per_s) * (edge.t_hi - edge.t_lo) / 2), uniform(abs(per_j) * resolution_j / 2)]
    swing, partly = hidden_swing(trace), _partly_covered(curve, spans)
    parts += [curve.inside_spread(index, covered_s, swing) for index, covered_s in partly.items()]
    # The same way in every refresh: these errors add up, and don't average out.
    parts.append(u_shaped(math.fsum(_in_step_j(curve, index, covered_s, spans) for index, covered_s in partly.items())))
    return sum(curve.at(t1) - curve.at(t0) for t0, t1 in spans), total(parts)


def hidden_swing(trace: Trace) -> float:
    """How power runs between two refreshes (standard deviation relative to its mean): as a gauge beside the counter shows, or assumed."""
    return UNSEEN_SWING if trace.swing is None else trace.swing


def _partly_covered(curve: Curve, spans: tuple[Span, ...]) -> dict[int, float]:
    """Seconds covered in each refresh interval that an end of a span cuts."""
    cut = dict.fromkeys(curve.interval(t) for span in spans for t in span)
    return {index: _length_s(_within(spans, *curve.bounds(index))) for index in cut}


def _within(spans: tuple[Span, ...], start: float, end: float) -> list[Span]:
    """The parts of disjoint ``spans``, which are in order, between two instants."""
    first, last = bisect.bisect_right(spans, start, key=lambda span: span[1]), bisect.bisect_left(spans, end, key=lambda span: span[0])
    return [(max(t0, start), min(t1, end)) for t0, t1 in spans[first:last]]


def _length_s(spans: Iterable[Span]) -> float:
    return math.fsum(end - start for start, end in spans)


def _in_step_j(curve: Curve, index: int, covered_s: float, spans: tuple[Span, ...]) -> float:
    """How much more energy (J) the spans may hold in an interval that their ends cut, where load and pauses are too short to be seen.

    Spans are drawn around work, so power is higher inside them than beside them. Where a refresh lies wholly inside nearby, and one wholly
    outside, both powers are seen. Where not, the curve spreads the load over its pauses, and in every refresh alike.
    """
    shares = [_length_s(_within(spans, *curve.bounds(near))) / max(curve.duration_s(near), 1e-12) for near in curve.near(index)]
    load_seen, pause_seen = max(shares) >= _WHOLE, min(shares) <= 1 - _WHOLE
    if load_seen and pause_seen:
        return 0.0
    drawn_j = math.fsum(curve.at(t1) - curve.at(t0) for t0, t1 in _within(spans, *curve.bounds(index)))
    return curve.concentrated_j(index, covered_s, drawn_j, load_seen=load_seen, pause_seen=pause_seen)


def _ends_in_gap(trace: Trace, curve: Curve, spans: tuple[Span, ...]) -> bool:
    if trace.period_s is None:
        return False
    return any(curve.duration_s(curve.interval(t)) > _GAP_PERIODS * trace.period_s for span in spans for t in span)


def _of_gauge(trace: Trace, spans: tuple[Span, ...]) -> DomainEnergy:
    start, end = spans[0][0], spans[-1][1]
    edges = gauge.as_counter(trace)
    times = [sample.t for sample in trace.powers]
    inside = len(edges) > 1 and edges[0].t <= start and end <= edges[-1].t
    codes = _fault_codes(trace.faults, *_bracket(times, start, end))
    if not inside or codes:
        return _unknown(*(() if inside else ("not_bracketed",)), *codes)
    if gauge.longest_gap_s(trace.powers, spans) > gauge.allowed_gap_s(trace):
        return _unknown("sampling_gap")
    curve = Curve(edges)
    joules, spread = _drawn(trace, curve, spans)
    return _judged(trace, joules, total([spread, gauge.own_spread(trace, curve, spans)]), in_gap=False)


def _judged(trace: Trace, joules: float, spread: Spread, in_gap: bool) -> DomainEnergy:
    if spread.expanded > TOO_SHORT * joules and spread.variance > 0:
        return _unknown("sampling_gap") if in_gap else _too_short(trace)
    gain = trace.channel.gain
    return DomainEnergy(joules=joules, spread=spread, gain_uncertainty_j=None if gain is None else gain * joules)


def _too_short(trace: Trace) -> DomainEnergy:
    return dataclasses.replace(_unknown("window_too_short"), needs_s=shortest_window_s(trace, WORTHWHILE))


def _unknown(*reasons: str) -> DomainEnergy:
    return DomainEnergy(joules=None, spread=None, gain_uncertainty_j=None, reasons=tuple(dict.fromkeys(reasons)))


def _bracket(times: Sequence[float], start: float, end: float) -> Span:
    before, after = bisect.bisect_right(times, start) - 1, bisect.bisect_left(times, end)
    return times[before] if before >= 0 else -math.inf, times[after] if after < len(times) else math.inf


def _fault_codes(faults: Iterable[Fault], start: float, end: float) -> tuple[str, ...]:
    return tuple(dict.fromkeys(fault.code for fault in faults if start <= fault.t <= end))


def _resolution_s(trace: Trace) -> float:
    resolution_j = trace.channel.resolution_j
    if not resolution_j or len(trace.edges) < 2:
        return 0.0
    power_w = (trace.edges[-1].joules - trace.edges[0].joules) / max(trace.edges[-1].t - trace.edges[0].t, 1e-9)
    return resolution_j / power_w / math.sqrt(12) if power_w > 0 else 0.0


def _median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2] if values else 0.0
