"""Energy of a request over its lengths: ``E(p, o) = F(p) + (o - 1) * beta`` by least squares, with beta's 95 % interval. Pure.

F is a number of its own for each prompt length and beta is common to all, so the normal equations have a closed form: within each prompt
length, energies and output lengths are taken from their means, and one straight line through the origin is left (the "within" estimator;
arXiv 2305.02440 has the model). All points weigh the same: that is what was published, and keeps beta the mean energy of a token over the
grid where the model isn't exact. A wide scatter of the long, costly points shows in the interval, for which each point has its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from pytest_tpf.judge.statistics import mean, t_quantile
from pytest_tpf.records import record
from pytest_tpf.uncertainty import NONE, Spread, total

_SAME = 1e-9  # output lengths that differ by less, relative, are one


@record
class Point:
    """The mean request of one point of the grid. Those of one ``group`` have one F.

    ``scatter_j``: standard uncertainty of ``joules`` from the spread over ``rounds``, None for a single one. ``spread``: the meter's.
    """

    group: int
    prompt_tokens: float
    output_tokens: float
    joules: float
    scatter_j: float | None = None
    rounds: int = 1
    spread: Spread = NONE


@record
class Solution:
    """``prompts`` is F: of each group the mean prompt length and the energy (J); ``slope_j`` its slope (J per prompt token).

    ``half_width_j`` is that of beta's 95 % interval, None where nothing tells. ``r2`` and ``worst_relative_error`` are None where there are
    as many unknowns as points, which then fit whatever the truth is.
    """

    beta_j: float
    half_width_j: float | None
    prompts: Mapping[int, tuple[float, float]]
    slope_j: float | None
    r2: float | None
    worst_relative_error: float | None

    def joules(self, group: int, output_tokens: float) -> float | None:
        """The fitted energy of a request (J); None for a group without a known point."""
        found = self.prompts.get(group)
        return None if found is None else found[1] + (output_tokens - 1) * self.beta_j


class NoFit(Exception):
    """There is no fit; the text says why, in one line."""


def fit(points: Sequence[Point]) -> Solution:
    """The least squares over ``points``.

    Raises:
        NoFit: there are fewer points than unknowns, or no prompt length has two different output lengths.
    """
    groups = {point.group: [each for each in points if each.group == point.group] for point in points}
    if not points:
        raise NoFit("no point of the grid has a known energy")
    if len(points) < len(groups) + 1:
        raise NoFit(f"{len(groups) + 1} unknowns (F for each prompt length, and beta) need as many points, and {len(points)} are known")
    offsets = [point.output_tokens - _mean([each.output_tokens for each in groups[point.group]]) for point in points]
    square = math.fsum(offset**2 for offset in offsets)
    if math.sqrt(square) <= _SAME * max(point.output_tokens for point in points):
        raise NoFit("every prompt length has one output length only, so that the energy of a token can't be told from that of a request")
    shares = [offset / square for offset in offsets]
    beta = math.fsum(share * point.joules for share, point in zip(shares, points, strict=True))
    prompts = {group: _intercept(members, beta) for group, members in groups.items()}
    residuals = [point.joules - prompts[point.group][1] - (point.output_tokens - 1) * beta for point in points]
    freedom = len(points) - len(groups) - 1
    return Solution(
        beta_j=beta,
        half_width_j=_half_width(points, shares, residuals, freedom),
        prompts=prompts,
        slope_j=_slope(list(prompts.values())),
        r2=_r2(points, residuals) if freedom else None,
        worst_relative_error=_worst(points, residuals) if freedom else None,
    )


def _mean(values: Sequence[float]) -> float:
    return mean(values) or 0.0


def _intercept(members: Sequence[Point], beta: float) -> tuple[float, float]:
    """The mean prompt length, and F."""
    prompt, output = _mean([each.prompt_tokens for each in members]), _mean([each.output_tokens for each in members])
    return prompt, _mean([each.joules for each in members]) - (output - 1) * beta


def _slope(prompts: Sequence[tuple[float, float]]) -> float | None:
    """The straight line through F, by least squares; None where all prompts are of one length."""
    middle, height = _mean([length for length, _ in prompts]), _mean([joules for _, joules in prompts])
    square = math.fsum((length - middle) ** 2 for length, _ in prompts)
    if math.sqrt(square) <= _SAME * max(length for length, _ in prompts):
        return None
    return math.fsum((length - middle) * (joules - height) for length, joules in prompts) / square


def _r2(points: Sequence[Point], residuals: Sequence[float]) -> float | None:
    height = _mean([point.joules for point in points])
    whole = math.fsum((point.joules - height) ** 2 for point in points)
    return 1 - math.fsum(residual**2 for residual in residuals) / whole if whole > 0 else None


def _worst(points: Sequence[Point], residuals: Sequence[float]) -> float | None:
    return max((abs(residual) / point.joules for residual, point in zip(residuals, points, strict=True) if point.joules > 0), default=None)


# --- how well beta is known -------------------------------------------------------------------------------------------


def _half_width(points: Sequence[Point], shares: Sequence[float], residuals: Sequence[float], freedom: int) -> float | None:
    """The widest of three: how far the points lie from the model, how far the rounds from their point, and what the meter can't tell.

    None of them contains another: rounds of a point agree however wrong the model is, points may lie on a line by chance, and a single
    round has no scatter.
    """
    by_model = t_quantile(0.975, freedom) * _standard(residuals, shares, freedom) if freedom else None
    by_meter = total(point.spread.scaled(share) for point, share in zip(points, shares, strict=True)).expanded or None
    known = [width for width in (by_model, _by_rounds(points, shares), by_meter) if width is not None]
    return max(known, default=None)


def _standard(residuals: Sequence[float], shares: Sequence[float], freedom: int) -> float:
    return math.sqrt(math.fsum(residual**2 for residual in residuals) / freedom * math.fsum(share**2 for share in shares))


def _by_rounds(points: Sequence[Point], shares: Sequence[float]) -> float | None:
    """From each point's own scatter, with the degrees of freedom of Welch and Satterthwaite (JCGM 100:2008, G.4.1)."""
    variances: list[tuple[float, int]] = []
    for point, share in zip(points, shares, strict=True):
        if not share:
            continue
        if point.scatter_j is None:
            return None
        variances.append(((share * point.scatter_j) ** 2, point.rounds - 1))
    variance = math.fsum(part for part, _ in variances)
    if not variance:
        return 0.0
    freedom = 1 / math.fsum((part / variance) ** 2 / own for part, own in variances)
    return t_quantile(0.975, freedom) * math.sqrt(variance)
