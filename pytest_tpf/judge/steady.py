"""Are the rounds of one measurement alike? A changing start, and a drift over all of them. Pure.

Both tests take rounds of the same work, one figure a round (J/token, seconds/token). They ask for evidence *and* for an effect that
matters: a difference is told only where it is unlikely to be chance and larger than ``NOTABLE``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from pytest_tpf.judge.statistics import t_quantile
from pytest_tpf.records import record

NOTABLE = 0.02
"""A change smaller than this share of the mean is not worth a word."""

LONGEST_HEAD = 8
"""So many rounds at the start may be taken as warm-up at once; what changes for longer is a drift."""

_LEAST_TAIL = 2
_FALSE_HEAD = 0.0005  # per look and figure: a measurement looks after every round, at two figures
_FALSE_DRIFT = 0.005  # per figure: a measurement is judged once, at two figures


@record
class Drift:
    """The fitted change from the first round to the last, relative to the mean, and its 95 % interval."""

    change: float
    ci95: tuple[float, float]
    is_drifting: bool


def changing_head(values: Sequence[float]) -> int:
    """How many of the first rounds differ from all that follow; 0 where none can be told to.

    A one-change scan: for each length of the head (at most half of the rounds) Student's t of its mean against the rest, with the rest's
    spread, since a warm-up has no spread of its own to speak of. The clearest head counts, if it is clear after Bonferroni's correction
    for the lengths tried. Every round of it must lie on one side of all the others: an outlier among like rounds, which a busy machine
    makes often, is no warm-up.
    """
    longest = min(len(values) // 2, len(values) - _LEAST_TAIL, LONGEST_HEAD)
    clearest, found = 1.0, 0
    for length in range(1, longest + 1):
        head, tail = values[:length], values[length:]
        clarity = _clarity(head, tail, _FALSE_HEAD / longest)
        if clarity > clearest:
            clearest, found = clarity, length
    return found


def drift(values: Sequence[float]) -> Drift | None:
    """The straight line through the rounds (least squares); None for fewer than three rounds or a mean that isn't positive."""
    n = len(values)
    mean = math.fsum(values) / n if n else 0.0
    if n < 3 or mean <= 0:
        return None
    middle = (n - 1) / 2
    square = n * (n * n - 1) / 12  # sum of (i - middle)^2
    slope = math.fsum((i - middle) * value for i, value in enumerate(values)) / square
    residuals = math.fsum((value - mean - slope * (i - middle)) ** 2 for i, value in enumerate(values))
    whole = (n - 1) / mean
    change, standard = slope * whole, math.sqrt(residuals / (n - 2) / square) * whole
    half_width = t_quantile(0.975, n - 2) * standard
    is_clear = abs(change) > t_quantile(1 - _FALSE_DRIFT / 2, n - 2) * standard
    return Drift(change=change, ci95=(change - half_width, change + half_width), is_drifting=is_clear and abs(change) > NOTABLE)


def _clarity(head: Sequence[float], tail: Sequence[float], false_alarm: float) -> float:
    """How far the means lie apart, in multiples of what chance explains; 0 where the difference doesn't matter."""
    before, after = math.fsum(head) / len(head), math.fsum(tail) / len(tail)
    difference = abs(before - after)
    nearest = min(head) - max(tail) if before > after else min(tail) - max(head)
    if after <= 0 or difference <= NOTABLE * after or nearest <= 0:
        return 0.0
    degrees_of_freedom = len(tail) - 1
    spread = math.sqrt(math.fsum((value - after) ** 2 for value in tail) / degrees_of_freedom)
    chance = t_quantile(1 - false_alarm / 2, degrees_of_freedom) * spread * math.sqrt(1 / len(head) + 1 / len(tail))
    return difference / chance if chance > 0 else math.inf
