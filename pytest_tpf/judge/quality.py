"""Quality against what it was: shares of accepted answers, or scores without an interval. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import TypeGuard

from pytest_tpf.judge.sample import Sample
from pytest_tpf.judge.thresholds import Threshold, not_measured
from pytest_tpf.records import Accuracy, Change, Verdict
from pytest_tpf.uncertainty import COVERAGE_95

_METRIC = "quality"
_SMALLEST = 1e-6  # a share of less than that is none: nothing can be a fraction of it
NO_INTERVAL = "a single score has no interval; give tpf.quality a list with one entry per request"


def compare_quality(new: Sample, old: Sequence[Sample], threshold: Threshold | None) -> Change:
    """The share of accepted answers against that of the newest earlier run (its problems are the same, so more runs are no more evidence).

    Newcombe's hybrid score interval of the difference (Statistics in Medicine 17, 1998, method 10).
    """
    ours, theirs = new.accuracy, old[0].accuracy
    if not _is_score(ours.value) or not _is_score(theirs.value):
        return not_measured(
            _METRIC, threshold, f"unknown {'then' if _is_score(ours.value) else 'now'}: the test gave none", kind="absolute"
        )
    if ours.metric != theirs.metric:
        return not_measured(_METRIC, threshold, f"quality is {ours.metric}, was {theirs.metric}", kind="absolute")
    scale = theirs.value if threshold and threshold.kind == "relative" and theirs.value > _SMALLEST else 1.0
    change, limit = ours.value - theirs.value, -threshold.amount * scale if threshold else 0.0
    has_interval = _is_share(ours) and _is_share(theirs)
    low, high = newcombe(ours, theirs) if has_interval else (change, change)
    verdict, reason = ("pass", None) if threshold is None else _verdict(change, low, high, limit, has_interval)
    return Change(
        metric=_METRIC,
        threshold=threshold.amount if threshold else None,
        kind=threshold.kind if threshold else "absolute",
        reference=theirs.value,
        actual=ours.value,
        change=change / scale,
        ci95=(low / scale, high / scale) if has_interval else None,
        verdict=verdict,
        improved=low > -limit and change > 0 and has_interval,
        p=_chance(ours, theirs, limit) if threshold and has_interval else None,
        rounds=len(new.rounds),
        reference_rounds=len(old[0].rounds),
        reason=reason,
    )


def _verdict(change: float, low: float, high: float, limit: float, has_interval: bool) -> tuple[Verdict, str | None]:
    if change >= limit:  # the same problems: what answers better than the threshold is no worse
        return "pass", None if has_interval else NO_INTERVAL
    if not has_interval:
        return "inconclusive", f"worse than the threshold, but {NO_INTERVAL}"
    return ("fail", None) if high < limit else ("inconclusive", "worse than the threshold, but the interval reaches above it")


def _is_score(value: float | None) -> TypeGuard[float]:
    return value is not None and math.isfinite(value)


def _is_share(given: Accuracy) -> bool:
    return given.samples > 1 and 0 <= (given.value or 0.0) <= 1


def newcombe(new: Accuracy, old: Accuracy, factor: float = COVERAGE_95) -> tuple[float, float]:
    """The interval of the difference of two shares, each with its number of samples; ``factor`` normal standard deviations wide."""
    (p1, low1, high1), (p2, low2, high2) = _wilson(new, factor), _wilson(old, factor)
    return p1 - p2 - math.hypot(p1 - low1, high2 - p2), p1 - p2 + math.hypot(high1 - p1, p2 - low2)


def _wilson(share: Accuracy, factor: float) -> tuple[float, float, float]:
    p, n, square = share.value or 0.0, share.samples, factor * factor
    middle, half = p + square / (2 * n), factor * math.sqrt(p * (1 - p) / n + square / (4 * n * n))
    return p, max(0.0, (middle - half) / (1 + square / n)), min(1.0, (middle + half) / (1 + square / n))


def _chance(new: Accuracy, old: Accuracy, limit: float) -> float:
    """The error at which the interval's upper end just reaches the limit, one-sided."""
    if (new.value or 0.0) - (old.value or 0.0) >= limit:
        return 1.0
    narrow, wide = 0.0, 40.0
    for _ in range(60):
        middle = (narrow + wide) / 2
        narrow, wide = (middle, wide) if newcombe(new, old, middle)[1] < limit else (narrow, middle)
    return NormalDist().cdf(-narrow)
