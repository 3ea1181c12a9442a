"""All figures of a run together: the more are judged, the more of them look worse by chance. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pytest_tpf.judge.statistics import median
from pytest_tpf.judge.thresholds import METRICS
from pytest_tpf.records import Change
from pytest_tpf.uncertainty import COVERAGE_95

LOOKS_WORSE = 0.5
"""The chance below which a figure looks worse than its threshold: its estimate lies beyond it."""

MANY = 20
"""So many figures tell how figures scatter."""

_USUAL = 0.6745 / COVERAGE_95  # median distance from the middle in half-widths of 95 % intervals that hold


def adjusted(chances: Sequence[float]) -> list[float]:
    """Holm's p values among the figures that look worse than their threshold; 1 for the others.

    A figure that lies within its threshold is no candidate, so it doesn't count; each that lies beyond is judged given that it does.
    Whoever calls those up to 0.05 errs in at most 5 of 100 runs, were even all figures just at their thresholds.
    Source: J. Ellis, J. Pecanka, J. Goeman, "Gaining power in multiple testing of interval hypotheses via conditionalization",
    Biostatistics 21 (2020).
    """
    candidates = [place for place, chance in enumerate(chances) if chance <= LOOKS_WORSE]
    found = [1.0] * len(chances)
    for place, chance in zip(candidates, holm([chances[place] / LOOKS_WORSE for place in candidates]), strict=True):
        found[place] = chance
    return found


def holm(chances: Sequence[float]) -> list[float]:
    """Holm's adjusted p values. Source: S. Holm, Scandinavian Journal of Statistics 6 (1979)."""
    found, highest = [0.0] * len(chances), 0.0
    for rank, place in enumerate(sorted(range(len(chances)), key=chances.__getitem__)):
        highest = max(highest, min(1.0, (len(chances) - rank) * chances[place]))
        found[place] = highest
    return found


def unexplained(changes: Iterable[Change]) -> float:
    """How many times as much as their intervals say the changes of one figure scatter over the tests of a run; at least 1.

    Most tests of a run are unchanged, so their changes show what runs scatter, even where no history does. What they have in common is left
    out: all tests slower by as much is no scatter. By the median of distances, which the few that did change hardly move.
    """
    distances = [found.worse / found.half_width for change in changes if (found := _logarithms(change))]
    if len(distances) < MANY:
        return 1.0
    middle = median(distances)
    return max(1.0, median([abs(each - middle) for each in distances]) / _USUAL)


def weakened(change: Change, times: float) -> float:
    """The chance ``change.p`` where the scatter is so many times what the interval says."""
    chance, found = change.p if change.p is not None else 1.0, _logarithms(change)
    if times <= 1 or found is None or chance > LOOKS_WORSE:
        return chance
    from statistics import NormalDist

    beyond = (found.worse - found.limit) / (times * found.half_width)
    return max(chance, NormalDist().cdf(-COVERAGE_95 * beyond))


class _Logarithms(NamedTuple):
    """A change as the logarithm of a ratio, above zero for the worse, its threshold, and the half-width of its interval."""

    worse: float
    limit: float
    half_width: float


def _logarithms(change: Change) -> _Logarithms | None:
    scale = 1.0 if change.kind == "relative" else change.reference
    if change.change is None or change.ci95 is None or not scale:
        return None
    sign = 1 if METRICS[change.metric].better == "lower" else -1
    ratios = [1 + each / scale for each in (*change.ci95, change.change, sign * (change.threshold or 0.0))]
    if min(ratios) <= 0 or ratios[1] <= ratios[0]:
        return None
    low, high, middle, limit = map(math.log, ratios)
    return _Logarithms(worse=sign * middle, limit=sign * limit, half_width=(high - low) / 2)
