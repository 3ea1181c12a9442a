"""Power over a window: mean, peak and 99th percentile, headroom, clock reasons and utilization. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence

from pytest_tpf.measure.crosscheck import quickest_first
from pytest_tpf.measure.energy import energy_of_spans
from pytest_tpf.measure.trace import Span, Trace, merged_spans
from pytest_tpf.meters.protocol import Status
from pytest_tpf.records import Power, record

_LEAST_BLUR_S = 0.1  # a gauge that averages over less shows peaks as well as any
_Piece = tuple[float, float, float]  # start, end, watts


@record
class PowerStats:
    """``power`` as reported; ``utilization``: time-mean over the spans and the boards that give one (0..1), None where none does."""

    power: Power
    utilization: float | None


def power_stats(traces: Sequence[Trace], statuses: Sequence[Status], spans: Iterable[Span]) -> PowerStats:
    """Power over the union of ``spans``, summed over the energy domains.

    ``mean_w`` is energy / time and None where any domain's energy is. ``peak_w`` and ``p99_w`` (weighted by time) come from a domain's
    gauge where it has one that averages over no more than the counter's refresh, else from the slope between edges; they are blind to what
    is shorter than the sampling. The peak is never below the mean, which another sensor may have told. ``limit_w`` sums the
    lowest limit of each board that reports one and ``headroom`` = 1 - mean / limit is that of these boards. ``clock_reasons``: the
    fraction of the window in which a reason held, for the board that had it longest.

    Raises:
        ValueError: a span ends before it starts.
    """
    merged = merged_spans(spans)
    energy_traces = [trace for trace in traces if trace.channel.energy]
    mean_w = _mean_w(energy_traces, merged)
    peak_w, p99_w = _peak_and_p99_w([_best_profile(trace, traces) for trace in energy_traces], merged)
    peak_w = max(peak_w, mean_w) if peak_w is not None and mean_w is not None else peak_w
    by_domain = _statuses_by_domain(statuses)
    limits_w = {domain: limit for domain, rows in by_domain.items() if (limit := _limit_w(rows, merged)) is not None}
    limit_w = sum(limits_w.values()) if limits_w else None
    limited_w = _mean_w([trace for trace in energy_traces if trace.channel.domain in limits_w], merged)
    headroom = None if not limit_w or limited_w is None else 1.0 - limited_w / limit_w
    power = Power(
        mean_w=mean_w, peak_w=peak_w, p99_w=p99_w, limit_w=limit_w, headroom=headroom, clock_reasons=_clock_reasons(by_domain, merged)
    )
    return PowerStats(power=power, utilization=_utilization(by_domain, merged))


def _mean_w(traces: Sequence[Trace], spans: tuple[Span, ...]) -> float | None:
    duration_s = sum(end - start for start, end in spans)
    joules = [energy_of_spans(trace, spans).joules for trace in traces]
    known = [value for value in joules if value is not None]
    return sum(known) / duration_s if known and len(known) == len(joules) and duration_s > 0 else None


def _best_profile(energy_trace: Trace, traces: Sequence[Trace]) -> list[_Piece]:
    domain = energy_trace.channel.domain
    gauges = [trace for trace in traces if trace.channel.domain == domain and len(trace.powers) > 1]
    if energy_trace.period_s is not None and len(energy_trace.edges) > 1:  # a counter shows more than a mean over a longer time
        gauges = [gauge for gauge in gauges if (gauge.channel.averaging_s or 0.0) <= max(energy_trace.period_s, _LEAST_BLUR_S)]
    return _gauge_pieces(quickest_first(gauges)[0]) if gauges else _slope_pieces(energy_trace)  # it shows peaks best


def _gauge_pieces(trace: Trace) -> list[_Piece]:
    """Every reading stands for the time nearest to it, so a peak that was read is kept."""
    times = [sample.t for sample in trace.powers]
    middles = [0.5 * (a + b) for a, b in itertools.pairwise(times)]
    return list(zip([times[0], *middles], [*middles, times[-1]], [sample.watts for sample in trace.powers], strict=True))


def _slope_pieces(trace: Trace) -> list[_Piece]:
    pairs = itertools.pairwise(trace.edges)
    return [(a.t, b.t, (b.joules - a.joules) / (b.t - a.t)) for a, b in pairs if b.t > a.t and b.joules >= a.joules]


def _clipped(pieces: Iterable[_Piece], spans: tuple[Span, ...]) -> Iterator[_Piece]:
    """The parts of ``pieces`` (in order) inside ``spans`` (in order)."""
    rest = list(spans)
    for start, end, watts in pieces:
        while rest and rest[0][1] <= start:
            rest.pop(0)
        for span in rest:
            if span[0] >= end:
                break
            yield max(start, span[0]), min(end, span[1]), watts


def _peak_and_p99_w(profiles: Sequence[list[_Piece]], spans: tuple[Span, ...]) -> tuple[float | None, float | None]:
    """Peak and time-weighted 99th percentile of the sum of the profiles, where all of them are known."""
    changes: list[tuple[float, float, int]] = []
    for profile in profiles:
        for start, end, watts in _clipped(profile, spans):
            changes += [(start, watts, 1), (end, -watts, -1)]
    changes.sort(key=lambda change: change[0])
    cells: list[tuple[float, float]] = []
    total_w, known = 0.0, 0
    for (t, watts, count), following in itertools.pairwise(changes):
        total_w, known = total_w + watts, known + count
        if known == len(profiles) and following[0] > t:
            cells.append((total_w, following[0] - t))
    return (max(cells)[0], _weighted_quantile(cells, 0.99)) if cells else (None, None)


def _weighted_quantile(cells: list[tuple[float, float]], share: float) -> float:
    cells.sort()
    target, seen = share * sum(weight for _, weight in cells), 0.0
    for value, weight in cells:
        seen += weight
        if seen >= target:
            return value
    return cells[-1][0]


def _statuses_by_domain(statuses: Sequence[Status]) -> dict[str, list[Status]]:
    by_domain: dict[str, list[Status]] = {}
    for status in sorted(statuses, key=lambda status: status.t):
        by_domain.setdefault(status.domain, []).append(status)
    return by_domain


def _holding(rows: Sequence[Status], spans: tuple[Span, ...]) -> list[tuple[float, Status]]:
    """(seconds inside ``spans``, status): each status holds over the time nearest to it, the first and last without end."""
    middles = [0.5 * (a.t + b.t) for a, b in itertools.pairwise(rows)]
    starts, ends = [float("-inf"), *middles], [*middles, float("inf")]
    held = [0.0] * len(rows)
    for start, end, index in _clipped(zip(starts, ends, range(len(rows)), strict=True), spans):
        held[int(index)] += end - start
    return [(seconds, row) for seconds, row in zip(held, rows, strict=True) if seconds > 0]


def _limit_w(rows: Sequence[Status], spans: tuple[Span, ...]) -> float | None:
    return min((row.power_limit_w for _, row in _holding(rows, spans) if row.power_limit_w is not None), default=None)


def _clock_reasons(by_domain: dict[str, list[Status]], spans: tuple[Span, ...]) -> dict[str, float]:
    fractions: dict[str, float] = {}
    for rows in by_domain.values():
        held = _holding(rows, spans)
        total_s = sum(seconds for seconds, _ in held)
        for reason in {reason for _, row in held for reason in row.clock_reasons}:
            fraction = sum(seconds for seconds, row in held if reason in row.clock_reasons) / total_s
            fractions[reason] = max(fractions.get(reason, 0.0), min(fraction, 1.0))
    return dict(sorted(fractions.items()))


def _utilization(by_domain: dict[str, list[Status]], spans: tuple[Span, ...]) -> float | None:
    means: list[float] = []
    for rows in by_domain.values():
        known = [(seconds, row.utilization) for seconds, row in _holding(rows, spans) if row.utilization is not None]
        if known:
            means.append(sum(seconds * value for seconds, value in known) / sum(seconds for seconds, _ in known))
    return sum(means) / len(means) if means else None
