"""The energy curve behind a counter that shows itself only at its refreshes.

Between two edges the counter says how much energy flowed, not when. The curve drawn here puts at most one step of power into such an
interval: if its mean power lies between those of its neighbours, it began like the one before and ended like the one after, and the
instant of the change follows from the energy. A job that starts or stops inside a refresh is then placed exactly, where a straight line
spreads it over the refresh (10 % too little energy in a 250 ms window on a 100 ms counter, measured by benchmarks/beside_peers).
Anywhere else the line is straight. Either way the curve is monotone and passes through every edge, so energies add up.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence

from pytest_tpf.measure.trace import Edge
from pytest_tpf.uncertainty import Spread, normal, total, triangular

_NEIGHBOURS = 2  # intervals on either side in which the range of power is looked for


class Curve:
    """Cumulative energy over time through the ``edges`` of one counter (at least two, in the order of time)."""

    def __init__(self, edges: Sequence[Edge]) -> None:
        self._edges = edges
        self.first, self.last = edges[0].t, edges[-1].t

    def interval(self, t: float) -> int:
        """The index of the edge that begins the interval holding ``t`` (the last instant belongs to the last interval)."""
        found = bisect.bisect_right(self._edges, t, key=lambda edge: edge.t) - 1
        return min(max(found, 0), len(self._edges) - 2)

    def edge(self, index: int) -> Edge:
        """The edge that begins interval ``index``; the one after the last interval is the last edge."""
        return self._edges[index]

    def bounds(self, index: int) -> tuple[float, float]:
        """When the interval that edge ``index`` begins starts and ends."""
        return self._edges[index].t, self._edges[index + 1].t

    def duration_s(self, index: int) -> float:
        """Length of the interval between edge ``index`` and the next (s)."""
        return self._edges[index + 1].t - self._edges[index].t

    def joules(self, index: int) -> float:
        """Energy that flowed between edge ``index`` and the next (J)."""
        return self._edges[index + 1].joules - self._edges[index].joules

    def mean_power_w(self, index: int) -> float | None:
        """Mean power between edge ``index`` and the next (W); None outside the recording and where the counter was set back."""
        if not 0 <= index < len(self._edges) - 1 or self.joules(index) < 0:
            return None
        duration_s = self.duration_s(index)
        return self.joules(index) / duration_s if duration_s > 0 else 0.0

    def at(self, t: float) -> float:
        """The counter's value at ``t`` (J), drawn as the module's docstring says."""
        index = self.interval(t)
        edge, duration_s, power_w = self._edges[index], self.duration_s(index), self.mean_power_w(index) or 0.0
        elapsed_s = min(max(t - edge.t, 0.0), duration_s)
        before_w, after_w = self.mean_power_w(index - 1), self.mean_power_w(index + 1)
        if before_w is None or after_w is None or not min(before_w, after_w) < power_w < max(before_w, after_w):
            return edge.joules + power_w * elapsed_s
        step_s = duration_s * (after_w - power_w) / (after_w - before_w)
        return edge.joules + before_w * min(elapsed_s, step_s) + after_w * max(elapsed_s - step_s, 0.0)

    def inside_spread(self, index: int, covered_s: float, swing: float) -> Spread:
        """How far the energy (J) in ``covered_s`` seconds of an interval may be off, for not knowing how power ran inside it.

        With power between ``low_w`` and ``high_w`` the covered part holds between ``least`` and ``most``: triangular, because one step of
        power is more likely than the extremes. What swings too fast to show in the counter at all is ``swing`` of the power (standard
        deviation): energy then wanders between the edges as a bridge does, whose variance is greatest in the middle.
        """
        low_w, high_w = self._power_range_w(index)
        duration_s, joules = self.duration_s(index), self.joules(index)
        rest_s = duration_s - covered_s
        least = max(low_w * covered_s, joules - high_w * rest_s)
        most = min(high_w * covered_s, joules - low_w * rest_s)
        hidden_j = swing * joules * math.sqrt(max(covered_s * rest_s, 0.0)) / duration_s if duration_s > 0 else 0.0
        return total([triangular(max(most - least, 0.0) / 2), normal(hidden_j)])

    def concentrated_j(self, index: int, covered_s: float, drawn_j: float, *, load_seen: bool, pause_seen: bool) -> float:
        """How much more than ``drawn_j`` (J) the covered part of an interval may hold where the load comes and goes with the window.

        ``load_seen``, ``pause_seen``: whether an interval nearby lies wholly inside the window, or wholly outside. Without the first
        nothing bounds the power inside, without the second the power outside may have been none.
        """
        low_w, high_w = self._power_range_w(index)
        most_j = self.joules(index) - (low_w if pause_seen else 0.0) * (self.duration_s(index) - covered_s)
        return max((min(most_j, high_w * covered_s) if load_seen else most_j) - drawn_j, 0.0)

    def near(self, index: int) -> range:
        """The intervals in which the range of power around ``index`` is looked for."""
        return range(max(index - _NEIGHBOURS, 0), min(index + _NEIGHBOURS, len(self._edges) - 2) + 1)

    def edge_weights(self, ends: Sequence[tuple[float, int]]) -> dict[int, tuple[float, float]]:
        """How the energy between ``ends`` (instant, +1 or -1) moves with each edge: (per second of its time, per joule of its value)."""
        weights: dict[int, tuple[float, float]] = {}
        for t, sign in ends:
            index = self.interval(t)
            duration_s, power_w = self.duration_s(index), self.mean_power_w(index) or 0.0
            part = (t - self._edges[index].t) / duration_s if duration_s > 0 else 0.0
            for edge, share in ((index, 1.0 - part), (index + 1, part)):
                per_s, per_j = weights.get(edge, (0.0, 0.0))
                weights[edge] = (per_s - sign * power_w * share, per_j + sign * share)
        return weights

    def _power_range_w(self, index: int) -> tuple[float, float]:
        """The least and the greatest power (W) that ran in or near an interval."""
        around = [self._power_extremes_w(i) for i in range(index - _NEIGHBOURS, index + _NEIGHBOURS + 1)]
        known = [extremes for extremes in around if extremes is not None]
        return max(0.0, min(low for low, _ in known)), max(high for _, high in known)

    def _power_extremes_w(self, index: int) -> tuple[float, float] | None:
        """Between which powers (W) an interval ran. A peak that no neighbour shows may have a top as far above; a dip likewise."""
        power_w = self.mean_power_w(index)
        if power_w is None:
            return None
        beside = [p for p in (self.mean_power_w(index - 1), self.mean_power_w(index + 1)) if p is not None] or [power_w]
        low_w = 2 * power_w - max(beside) if power_w < min(beside) else power_w
        high_w = 2 * power_w - min(beside) if power_w > max(beside) else power_w
        return low_w, high_w
