"""Which changes for the worse are regressions: the figures that can be compared, and ``joules_per_token:5%,quality:0.01``. Pure."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from typing import Literal, NamedTuple

from pytest_tpf.records import Change, Round, record

Amounts = tuple[float | None, float | None]


class Metric(NamedTuple):
    """A figure that can be compared: numerator over denominator, each summed over the rounds. Quality has none: it is no round's."""

    name: str
    unit: str
    better: Literal["lower", "higher"]
    amounts: Callable[[Round], Amounts] | None
    is_energy: bool = False


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("joules_per_token", "J/token", "lower", lambda each: (each.it_j, each.output_tokens), is_energy=True),
        Metric("joules_per_request", "J/request", "lower", lambda each: (each.it_j, each.requests), is_energy=True),
        Metric("tokens_per_second", "tokens/s", "higher", lambda each: (each.output_tokens, each.duration_s)),
        Metric("ttft_s", "s", "lower", lambda each: (each.ttft_s, 1.0)),
        Metric("tpot_s", "s", "lower", lambda each: (each.tpot_s, 1.0)),
        Metric("e2e_s", "s", "lower", lambda each: (each.e2e_s, 1.0)),
        Metric("quality", "", "higher", None),
    )
}
DEVICE = Metric("joules_per_token", "J/token", "lower", lambda each: (each.device_j, each.output_tokens), is_energy=True)
"""Joules per token of a test whose budgets are taken at the accelerators."""

OFF = "off"
EXAMPLE = "joules_per_token:5%,ttft_s:10%,quality:0.01"


@record
class Threshold:
    """The change of ``metric`` for the worse from which on it is a regression: a fraction of what it was, or in the metric's unit."""

    metric: str
    amount: float
    kind: Literal["relative", "absolute"]


DEFAULT = (Threshold(metric="joules_per_token", amount=0.05, kind="relative"),)
"""What a baseline guards where nobody says what."""


def parse_thresholds(text: str) -> tuple[Threshold, ...]:
    """``METRIC:CHANGE`` separated by commas, or ``off`` for none. ``5%`` is relative, ``0.01`` is in the metric's unit.

    Raises:
        ValueError: one line that says what is wrong with which part.
    """
    if text.strip().lower() == OFF:
        return ()
    found = [_threshold(part.strip()) for part in text.split(",") if part.strip()]
    names = [each.metric for each in found]
    if not found:
        raise ValueError(f"expected METRIC:CHANGE such as {EXAMPLE}, or {OFF}")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ValueError(f"{twice} is named twice")
    return tuple(found)


def _threshold(part: str) -> Threshold:
    name, colon, change = (piece.strip() for piece in part.partition(":"))
    if not colon:
        raise ValueError(f"{part!r} has no change; expected METRIC:CHANGE such as {EXAMPLE}")
    if name not in METRICS:
        near = difflib.get_close_matches(name, METRICS, n=1, cutoff=0.4)
        raise ValueError(f"unknown metric {name!r}" + (f" (did you mean {near[0]!r}?)" if near else f"; one of {', '.join(METRICS)}"))
    amount, is_percent = _amount(change.removesuffix("%").strip()), change.endswith("%")
    if amount is None or (is_percent and METRICS[name].better == "higher" and amount >= 100):
        raise ValueError(f"{part!r}: expected a change above 0 for the worse, such as 5% or 0.01")
    return Threshold(metric=name, amount=amount / 100 if is_percent else amount, kind="relative" if is_percent else "absolute")


def _amount(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 < value < math.inf else None


def overridden(thresholds: tuple[Threshold, ...], by: str | None) -> tuple[Threshold, ...]:
    """The run's thresholds with those of a test's marker (``by``) in their places; ``off`` there leaves none."""
    if by is None:
        return thresholds
    own = parse_thresholds(by)
    named = {each.metric for each in own}
    return (*own, *(each for each in thresholds if each.metric not in named)) if own else ()


def not_measured(metric: str, threshold: Threshold | None, reason: str, kind: Literal["relative", "absolute"] = "relative") -> Change:
    """The change of a figure that isn't known on both sides. ``kind``: where no threshold tells it."""
    return Change(
        metric=metric,
        threshold=threshold.amount if threshold else None,
        kind=threshold.kind if threshold else kind,
        reference=None,
        actual=None,
        change=None,
        ci95=None,
        verdict="not_measured",
        reason=reason,
    )
