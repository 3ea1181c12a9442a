"""Narrower brackets for edges that came unseen, from the rhythm of those that were seen coming. Pure.

On a busy machine the sampler sometimes wakes too late: the edge has passed, and its bracket is as wide as the sleep. A counter refreshes
like a clock, so the edges beside it tell when it came, to within the jitter that this counter was seen to have.
"""

from __future__ import annotations

from collections.abc import Sequence

from pytest_tpf.measure.trace import Edge

_WIDE_SHARE = 0.05  # brackets wider than this share of the refresh are worth it
_REACH = 4  # refreshes to look to either side
_JITTERS = 4.0  # standard deviations of the rhythm that a prediction allows for
_LEAST_ALLOWANCE_S = 0.0005
_LARGEST_SHARE = 0.2  # a counter that jitters more than this has no rhythm to go by


def sharpened(edges: Sequence[Edge], period_s: float | None, jitter_s: float | None) -> tuple[Edge, ...]:
    """``edges`` with the wide brackets narrowed as far as their neighbours allow; the others, and all joules, stay as they are.

    The value seen at the end of a bracket is that of the last refresh before it. A neighbour n refreshes away predicts that refresh within
    its own bracket plus the jitter; where the prediction can't tell two refreshes apart, the bracket stays wide.
    """
    if period_s is None or jitter_s is None:
        return tuple(edges)
    allowance_s = _JITTERS * jitter_s + _LEAST_ALLOWANCE_S
    if allowance_s > _LARGEST_SHARE * period_s:
        return tuple(edges)
    wide = [edge.t_hi - edge.t_lo > max(_WIDE_SHARE * period_s, 2 * allowance_s) for edge in edges]
    sharp: list[Edge] = []
    for index, edge in enumerate(edges):
        if wide[index]:
            near = range(max(index - _REACH, 0), min(index + _REACH + 1, len(edges)))
            neighbours = [(index - other, edges[other]) for other in near if not wide[other]]
            sharp.append(_narrowed(edge, neighbours, period_s, allowance_s))
        else:
            sharp.append(edge)
    return tuple(sharp)


def _narrowed(edge: Edge, neighbours: Sequence[tuple[int, Edge]], period_s: float, allowance_s: float) -> Edge:
    lo, hi = edge.t_lo, edge.t_hi
    for place, neighbour in neighbours:
        margin_s = 0.5 * (neighbour.t_hi - neighbour.t_lo) + allowance_s
        candidates = {(edge.t_hi - neighbour.t + early_or_late) // period_s for early_or_late in (-margin_s, margin_s)}
        # Every edge between the two is at least one refresh.
        refreshes = [n for n in candidates if (n >= place if place > 0 else n <= place) and abs(n) <= _REACH]
        if len(refreshes) == 1:
            expected = neighbour.t + refreshes[0] * period_s
            lo, hi = max(lo, expected - margin_s), min(hi, expected + margin_s)
    return Edge(t_lo=lo, t_hi=hi, joules=edge.joules) if lo < hi else edge
