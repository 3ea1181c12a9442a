"""The boards' state over a window: temperatures, clocks, and for how long something held them back. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from pytest_tpf.measure.trace import Span, merged_spans
from pytest_tpf.meters.protocol import Status
from pytest_tpf.records import DeviceState

# Clock reasons (polled) and counters of time held back, by what they are evidence for.
_KINDS = {
    "thermal": ("sw_thermal_slowdown", "hw_thermal_slowdown", "thermal"),
    "power_brake": ("hw_power_brake_slowdown",),
    "power_cap": ("sw_power_cap",),
}
_PLAUSIBLE = 1.05  # a counter that ran ahead of the clock by more than its refresh explains counts something else

_LEAST_SEEN = 0.5  # of the window must lie between looks for a counter to tell its share


def device_states(statuses: Iterable[Status], spans: Iterable[Span]) -> tuple[DeviceState, ...]:
    """The state of every device that gave any, over the union of ``spans``.

    Start and end are the looks nearest to the ends of the window on its outside, where there are any. Raises ValueError as
    ``merged_spans`` does.
    """
    merged = merged_spans(spans)
    by_domain: dict[str, list[Status]] = {}
    for status in sorted(statuses, key=lambda status: status.t):
        by_domain.setdefault(status.domain, []).append(status)
    states = [_state(domain, rows, merged) for domain, rows in by_domain.items()] if merged else []
    return tuple(state for state in states if state != DeviceState(domain=state.domain))


def _state(domain: str, rows: Sequence[Status], spans: tuple[Span, ...]) -> DeviceState:
    start = next((row for row in reversed(rows) if row.t <= spans[0][0]), rows[0])
    end = next((row for row in rows if row.t >= spans[-1][1]), rows[-1])
    inside = [row for row in rows if any(t0 <= row.t <= t1 for t0, t1 in spans)] or [start, end]
    counted = {kind: _counted(rows, spans, names) for kind, names in _KINDS.items()}
    is_counted = any(fraction is not None for fraction in counted.values())
    # A board that never names a reason may not know any, so their absence is no 0.
    is_polled = any(row.clock_reasons for row in rows)
    polled = {kind: _polled(inside, names) if is_polled else None for kind, names in _KINDS.items()}
    fractions = {kind: polled[kind] if share is None else share for kind, share in counted.items()}
    return DeviceState(
        domain=domain,
        temperature_start_c=start.temperature_c,
        temperature_end_c=end.temperature_c,
        sm_clock_start_mhz=start.sm_clock_mhz,
        sm_clock_end_mhz=end.sm_clock_mhz,
        sm_clock_mean_mhz=_mean(row.sm_clock_mhz for row in inside),
        memory_clock_mean_mhz=_mean(row.memory_clock_mhz for row in inside),
        thermal_fraction=fractions["thermal"],
        power_brake_fraction=fractions["power_brake"],
        power_cap_fraction=fractions["power_cap"],
        source="counter" if is_counted else "polled" if is_polled else None,
    )


def _counted(rows: Sequence[Status], spans: tuple[Span, ...], names: Sequence[str]) -> float | None:
    """The largest share among these counters; None where none of them covers the window, or what they say can't be."""
    shares = []
    for name in names:
        points = [(row.t, row.held_back_s[name]) for row in rows if name in row.held_back_s]
        # The last look may lie a little before the window's end: the share is that of the time between the looks.
        known = [(max(start, points[0][0]), min(end, points[-1][0])) for start, end in spans] if points else []
        seen = [(start, end) for start, end in known if end > start]
        seen_s = sum(end - start for start, end in seen)
        if seen_s >= _LEAST_SEEN * sum(end - start for start, end in spans):
            shares.append(sum(_at(points, end) - _at(points, start) for start, end in seen) / seen_s)
    plausible = [share for share in shares if 0 <= share <= _PLAUSIBLE]
    return min(max(plausible), 1.0) if plausible else None


def _at(points: Sequence[tuple[float, float]], t: float) -> float:
    """The counter at ``t``, straight between two looks."""
    for (t0, v0), (t1, v1) in itertools.pairwise(points):
        if t <= t1:
            return v0 + (v1 - v0) * (t - t0) / (t1 - t0) if t1 > t0 else v1
    return points[-1][1]


def _polled(rows: Sequence[Status], names: Sequence[str]) -> float:
    return sum(any(name in row.clock_reasons for name in names) for row in rows) / len(rows)


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
