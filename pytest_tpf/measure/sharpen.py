"""Narrower brackets for edges that came unseen, from the rhythm of those that were seen coming. Pure.

On a busy machine the sampler sometimes wakes too late: the edge has passed, and its bracket is as wide as the sleep. A counter refreshes
like a clock, so the edges around it tell when it came, to within the jitter that they themselves show.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from pytest_tpf.measure.trace import Edge
from pytest_tpf.records import record

_NARROW_S = 0.001  # a bracket this narrow is as good as it gets,
_NARROW_SHARE = 0.01  # or this share of the refresh
_REACH = 10  # edges to look at on either side
_LEAST_SEEN = 5  # edges seen coming that a rhythm is made of
_DEVIATIONS = 4.0  # standard deviations of the rhythm that a prediction allows for
_LEAST_MARGIN_S = 0.0003
_LARGEST_SHARE = 0.25  # a prediction vaguer than this share of the refresh says nothing


@record
class _Rhythm:
    """A line through the edges seen coming: number n came at ``start`` + n ``period_s``; ``numbers`` holds n by the edge's index."""

    start: float
    period_s: float
    deviation_s: float
    bracket_s: float
    numbers: dict[int, int]

    def margin_s(self, number: int) -> float:
        """How far a prediction may be off: jitter and brackets, more so beyond the edges that the line was drawn through."""
        first, last = min(self.numbers.values()), max(self.numbers.values())
        beyond = max(first - number, number - last, 0) / max(last - first, 1)
        return (_DEVIATIONS * self.deviation_s + 0.5 * self.bracket_s + _LEAST_MARGIN_S) * (1 + 2 * beyond)


def sharpened(edges: Sequence[Edge], period_s: float | None) -> tuple[Edge, ...]:
    """``edges`` with the wide brackets narrowed as far as the others' rhythm allows; narrow ones, and all joules, stay as they are.

    ``period_s`` need only be good enough to count refreshes. The value seen at the end of a bracket is that of the last refresh before it;
    where the rhythm can't tell which one that was, or is none, the bracket stays wide.
    """
    if period_s is None:
        return tuple(edges)
    narrow_s = max(_NARROW_S, _NARROW_SHARE * period_s)
    seen = [edge.t_hi - edge.t_lo <= narrow_s for edge in edges]
    return tuple(edge if seen[index] else _narrowed(index, edges, seen, period_s) for index, edge in enumerate(edges))


def _narrowed(index: int, edges: Sequence[Edge], seen: Sequence[bool], period_s: float) -> Edge:
    edge = edges[index]
    near = range(max(index - _REACH, 0), min(index + _REACH + 1, len(edges)))
    rhythm = _rhythm({other: edges[other] for other in near if seen[other]}, period_s)
    if rhythm is None:
        return edge
    margin_s = rhythm.margin_s(round((edge.t_hi - rhythm.start) / rhythm.period_s))
    late_or_early = (-margin_s, margin_s)
    numbers = {math.floor((edge.t_hi - rhythm.start + off_s) / rhythm.period_s) for off_s in late_or_early}
    numbers = {number for number in numbers if _in_order(number, index, rhythm.numbers)}
    if len(numbers) != 1 or margin_s > _LARGEST_SHARE * rhythm.period_s:
        return edge
    expected = rhythm.start + numbers.pop() * rhythm.period_s
    lo, hi = max(edge.t_lo, expected - margin_s), min(edge.t_hi, expected + margin_s)
    return Edge(t_lo=lo, t_hi=hi, joules=edge.joules) if lo < hi else edge


def _in_order(number: int, index: int, numbers: dict[int, int]) -> bool:
    """Every edge between two others is at least one refresh."""
    return all(number - n >= index - other if other < index else n - number >= other - index for other, n in numbers.items())


def _rhythm(seen: dict[int, Edge], period_s: float) -> _Rhythm | None:
    """The least-squares line through the edges seen coming; None where they are too few or don't count refreshes."""
    if len(seen) < _LEAST_SEEN:
        return None
    first = next(iter(seen.values())).t
    numbers = {index: round((edge.t - first) / period_s) for index, edge in seen.items()}
    count, mean_n = len(seen), sum(numbers.values()) / len(seen)
    mean_t = sum(edge.t - first for edge in seen.values()) / count
    spread = sum((n - mean_n) ** 2 for n in numbers.values())
    if spread == 0:
        return None
    slope = sum((numbers[index] - mean_n) * (edge.t - first - mean_t) for index, edge in seen.items()) / spread
    start = mean_t - slope * mean_n
    squares = sum((edge.t - first - start - slope * numbers[index]) ** 2 for index, edge in seen.items())
    if not 0.5 * period_s < slope < 2 * period_s:
        return None
    widest_s = max(edge.t_hi - edge.t_lo for edge in seen.values())
    return _Rhythm(start=first + start, period_s=slope, deviation_s=math.sqrt(squares / (count - 2)), bracket_s=widest_s, numbers=numbers)
