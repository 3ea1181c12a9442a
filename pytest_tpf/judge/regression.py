"""Is it worse than it was? A statement with an error rate, or ``inconclusive`` with what is missing. Pure.

The null hypothesis is shifted: the figure is *at the threshold*, not unchanged, so an unchanged one is far from being called a regression.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

from pytest_tpf.judge.contrast import UNKNOWN_NOISE, Contrast, RunNoise, by_themselves, contrast, metric_of
from pytest_tpf.judge.distributions import student_tail
from pytest_tpf.judge.sample import Sample, energy_differences
from pytest_tpf.judge.thresholds import Metric, Threshold, not_measured
from pytest_tpf.judge.together import LOOKS_WORSE
from pytest_tpf.records import Change, Verdict

NEEDED = 5
"""Rounds on either side (or runs of the reference) below which nothing is called a regression, nor its absence."""

FAMILY_ERROR = 0.05
"""How often at most a run in which nothing changed is told a regression, all its tests and figures together."""

CAUGHT = 0.95
"""A detectable change is one that is called a regression so often."""


def compare(
    new: Sample,
    old: Sequence[Sample],
    threshold: Threshold | None,
    metric: str,
    *,
    remeasured: int = 0,
    family: int = 1,
    noise: RunNoise = UNKNOWN_NOISE,
) -> Change:
    """``metric`` of ``new`` against the earlier runs ``old``, which are known to be comparable.

    ``threshold``: None where the change is only to be told. ``remeasured``: so many of the last rounds were measured once more because the
    first looked worse; where they don't, they alone count. ``family``: how many figures the whole run compares. ``noise``: what
    ``contrast.run_noise`` says of the machine.
    """
    if metric == "quality":
        from pytest_tpf.judge.quality import compare_quality

        return compare_quality(new, old, threshold)
    what = metric_of(metric, new)
    if what.is_energy:
        wrong = [energy_differences(new, sample) for sample in old]
        if all(wrong):
            return not_measured(metric, threshold, "; ".join(wrong[0]))
        old = [sample for sample, found in zip(old, wrong, strict=True) if not found]
    first = contrast(what, new.rounds, new, old, noise)
    if isinstance(first, str):
        return not_measured(metric, threshold, first)
    change = _judged(what, threshold, first, family)
    if not remeasured or threshold is None or change.verdict == "pass":
        return change
    second = by_themselves(what, new, remeasured)
    again = contrast(what, second.rounds, second, old, noise)
    if isinstance(again, str) or again.worse > _limit(what, threshold, again):
        return change
    return _judged(what, threshold, again, family, f"looked worse at first ({_signed(change)}), but not when it was measured once more")


def _signed(change: Change) -> str:
    return f"{change.change:+.1%}" if change.kind == "relative" and change.change is not None else f"{change.change:+.3g}"


# --- the verdict ------------------------------------------------------------------------------------------------------


def _limit(what: Metric, threshold: Threshold, contrast: Contrast, times: float = 1.0) -> float:
    """The threshold as a logarithm of the ratio for the worse."""
    return _as_log(what, times * (threshold.amount if threshold.kind == "relative" else threshold.amount / contrast.old.value))


def _as_log(what: Metric, fraction: float) -> float:
    if what.better == "lower":
        return math.log1p(fraction)
    return -math.log1p(-fraction) if fraction < 1 else math.inf


def _judged(what: Metric, threshold: Threshold | None, contrast: Contrast, family: int, remark: str | None = None) -> Change:
    half = contrast.quantile(0.975)
    low, high = contrast.worse - half, contrast.worse + half
    kind: Literal["relative", "absolute"] = threshold.kind if threshold else "relative"
    scale = 1.0 if kind == "relative" else contrast.old.value

    def told(worse: float) -> float:
        return scale * math.expm1(worse if what.better == "lower" else -worse)

    ends = sorted((told(low), told(high))) if math.isfinite(half) else None
    verdict, reason = _verdict(what, threshold, contrast)
    limit = _limit(what, threshold, contrast) if threshold else 0.0
    decided = verdict in ("pass", "fail") and threshold is not None
    return Change(
        metric=what.name,
        threshold=threshold.amount if threshold else None,
        kind=kind,
        reference=contrast.old.value,
        actual=contrast.new.value,
        change=told(contrast.worse),
        ci95=(ends[0], ends[1]) if ends else None,
        verdict=verdict,
        improved=high < -limit if threshold else high < 0,
        detectable=_detectable(contrast, limit, told, family) if threshold else None,
        p=_tail(contrast, limit) if threshold else None,
        rounds=contrast.new.rounds,
        reference_rounds=contrast.old.rounds,
        reason=remark if decided and remark else reason,
    )


def _verdict(what: Metric, threshold: Threshold | None, contrast: Contrast) -> tuple[Verdict, str | None]:
    if threshold is None:
        return "pass", None
    if (few := min(contrast.old.rounds, contrast.new.rounds if contrast.runs < NEEDED else NEEDED)) < NEEDED:
        side = "" if contrast.new.rounds < NEEDED else " in the reference"
        return "inconclusive", f"too few rounds{side} (n={few}, need {NEEDED})"
    limit, half = _limit(what, threshold, contrast), contrast.quantile(0.975)
    if contrast.worse - half > limit:
        return "fail", None
    if contrast.worse <= limit and contrast.worse + half <= _limit(what, threshold, contrast, times=2.0):
        return "pass", None
    if contrast.worse > limit:
        return "inconclusive", "worse than the threshold, but the interval reaches below it"
    return "inconclusive", "too noisy: the interval reaches beyond twice the threshold"


def _tail(contrast: Contrast, limit: float) -> float:
    if contrast.degrees_of_freedom < 1:
        return 1.0
    if not contrast.standard:
        return 0.0 if contrast.worse > limit else 1.0
    return student_tail((contrast.worse - limit) / contrast.standard, contrast.degrees_of_freedom)


def _detectable(contrast: Contrast, limit: float, told: Callable[[float], float], family: int) -> float | None:
    """What would be seen among ``family`` figures that are known as well: of them some look worse than the threshold by chance."""
    if contrast.degrees_of_freedom < 1:
        return None
    candidates = max(1.0, family * student_tail(limit / contrast.standard, contrast.degrees_of_freedom)) if contrast.standard else 1.0
    error = LOOKS_WORSE * FAMILY_ERROR / candidates
    worse = limit + contrast.quantile(1 - error) + contrast.quantile(CAUGHT)
    return abs(told(worse)) if math.isfinite(worse) and worse < 700 else None
