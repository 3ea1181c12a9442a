"""Intervals: spread over rounds (type A) combined with the meter's own uncertainty (type B), as in the GUM."""

from __future__ import annotations

import math
from collections.abc import Sequence

from pytest_tpf.records import Distribution
from pytest_tpf.uncertainty import Spread

_ROUNDING = 1e-9  # twelve degrees of freedom, computed, may be a little less


def t_quantile(probability: float, degrees_of_freedom: float) -> float:
    """Student's t quantile for ``probability`` in (0.5, 1); ``degrees_of_freedom`` >= 1 are cut to a whole number.

    Source: G. W. Hill, "Algorithm 396: Student's t-quantiles", CACM 13 (1970); exact for 1 and 2 degrees of freedom.
    Cutting fractions down errs on the wide side, as JCGM 100:2008, G.4.1 advises.
    """
    if degrees_of_freedom >= 1e6:
        return _normal_quantile(probability)
    n, tail = math.floor(degrees_of_freedom + _ROUNDING), 2 * (1 - probability)
    if n == 1:
        return 1 / math.tan(tail * math.pi / 2)
    if n == 2:
        return math.sqrt(2 / (tail * (2 - tail)) - 2)
    a = 1 / (n - 0.5)
    b = (48 / a) / a
    c = ((20700 * a / b - 98) * a - 16) * a + 96.36
    d = ((94.5 / (b + c) - 3) / b + 1) * math.sqrt(a * math.pi / 2) * n
    y = (d * tail) ** (2 / n)
    if y > 0.05 + a:
        y = _hill_far((a, b, c, d), n, _normal_quantile(tail / 2))
    else:
        y = ((1 / (((n + 6) / (n * y) - 0.089 * d - 0.822) * (n + 2) * 3) + 0.5 / (n + 4)) * y - 1) * (n + 1) / (n + 2) + 1 / y
    return math.sqrt(n * y)


def _normal_quantile(probability: float) -> float:
    from statistics import NormalDist  # brings fractions, decimal and random along

    return NormalDist().inv_cdf(probability)


def _hill_far(coefficients: tuple[float, float, float, float], n: float, x: float) -> float:
    a, b, c, d = coefficients
    y = x * x
    if n < 5:
        c += 0.3 * (n - 4.5) * (x + 0.6)
    c = (((0.05 * d * x - 5) * x - 7) * x - 2) * x + b + c
    y = (((((0.4 * y + 6.3) * y + 36) * y + 94.5) / c - y - 3) / b + 1) * x
    y = a * y * y
    return math.exp(y) - 1 if y > 0.002 else 0.5 * y * y + y


def ratio_uncertainty(numerators: Sequence[float], denominators: Sequence[float]) -> float | None:
    """Standard uncertainty (type A) of sum(numerators) / sum(denominators) over rounds; None for fewer than two.

    The residuals' spread around the common ratio, so rounds of unequal size weigh as they should
    (Cochran, "Sampling Techniques", section 6.3).
    """
    n, total = len(numerators), sum(denominators)
    if n < 2 or total <= 0:
        return None
    ratio = sum(numerators) / total
    residuals = sum((e - ratio * t) ** 2 for e, t in zip(numerators, denominators, strict=True))
    return math.sqrt(n * residuals / (n - 1)) / total


def expanded_uncertainty(type_a: float | None, rounds: int, type_b: Spread) -> float:
    """Half-width of the 95 % interval from the spread over rounds (type A) and the meter's own (type B).

    The rounds' scatter contains the meter's own already, and nothing counts twice (JCGM 100:2008, 4.3.10): so the two are not added but the
    wider interval counts, each with its own coverage factor: Student's t for the few rounds (G.3), the meter's for its distribution. In
    simulation this holds the truth in 95 to 99 of 100 cases; adding in quadrature does in 95 to 99 as well, with wider intervals from five
    rounds on, and Welch-Satterthwaite on the scatter net of the meter's in 89 to 97.
    """
    by_rounds = t_quantile(0.975, rounds - 1) * type_a if type_a and rounds >= 2 else 0.0
    return max(by_rounds, type_b.expanded)


def mean(values: Sequence[float]) -> float | None:
    """The arithmetic mean; None of nothing."""
    return math.fsum(values) / len(values) if values else None


def median(values: Sequence[float]) -> float:
    """The middle of ``values`` (at least one), as the standard library's, whose module costs a run 2 ms to import."""
    return quantile(sorted(values), 0.5)


def quantile(ordered: Sequence[float], fraction: float) -> float:
    """The quantile of sorted values, interpolated linearly (numpy's default)."""
    position = fraction * (len(ordered) - 1)
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def distribution(values: Sequence[float]) -> Distribution | None:
    """Count, mean, quantiles and extremes of ``values``; None where there are none."""
    if not values:
        return None
    ordered = sorted(values)
    return Distribution(
        count=len(ordered),
        mean=math.fsum(ordered) / len(ordered),
        p50=quantile(ordered, 0.50),
        p95=quantile(ordered, 0.95),
        p99=quantile(ordered, 0.99),
        min=ordered[0],
        max=ordered[-1],
    )
