"""Tail probabilities of Student's t and of Fisher's F, by the incomplete beta function. Pure; scipy would be 100 MB for two numbers."""

from __future__ import annotations

import math

_TINY = 1e-300
_MOST_TERMS = 500


def student_tail(t: float, degrees_of_freedom: float) -> float:
    """P(T > t) for Student's t; Abramowitz and Stegun 26.7.1. ``degrees_of_freedom`` above 0 need not be whole; infinity is the normal."""
    if math.isinf(degrees_of_freedom):
        return math.erfc(t / math.sqrt(2)) / 2
    if math.isinf(t):
        return 0.0 if t > 0 else 1.0
    half = incomplete_beta(degrees_of_freedom / (degrees_of_freedom + t * t), degrees_of_freedom / 2, 0.5) / 2
    return half if t >= 0 else 1 - half


def f_tail(ratio: float, above: float, below: float) -> float:
    """P(F > ratio) for ``above`` and ``below`` degrees of freedom; Abramowitz and Stegun 26.6.2."""
    if ratio <= 0:
        return 1.0
    return 0.0 if math.isinf(ratio) else incomplete_beta(below / (below + above * ratio), below / 2, above / 2)


def incomplete_beta(x: float, a: float, b: float) -> float:
    """The regularized incomplete beta function I_x(a, b), 0 <= x <= 1, by its continued fraction (Abramowitz and Stegun 26.5.8)."""
    if x <= 0 or x >= 1:
        return 0.0 if x <= 0 else 1.0
    if x > (a + 1) / (a + b + 2):  # the fraction converges fast on the other side
        return 1 - incomplete_beta(1 - x, b, a)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    return math.exp(log_front) * _fraction(x, a, b) / a


def _fraction(x: float, a: float, b: float) -> float:
    """Lentz's way of evaluating a continued fraction."""
    c, d = 1.0, 1 / _away_from_zero(1 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, _MOST_TERMS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1 / _away_from_zero(1 + term * d)
            c = _away_from_zero(1 + term / c)
            value *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return value


def _away_from_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
