"""The mandated figures, and how they compare with earlier runs, as JUnit properties; pure."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_tpf.records import TestRecord
from pytest_tpf.report.regressions import reference_name, standing, word


def junit_properties(test: TestRecord) -> list[tuple[str, str]]:
    """(name, value) for each figure that is known; the unit is in the name, and energy is followed by its boundary and trust."""
    mandated, latency = test.mandated, test.mandated.latency
    energy, output = mandated.joules_per_token, mandated.utilization_adjusted_tokens_per_second
    figures: list[tuple[str, float | str | None]] = [
        ("joules_per_token", energy.value),
        ("joules_per_token_ci95_low", energy.ci95[0] if energy.ci95 else None),
        ("joules_per_token_ci95_high", energy.ci95[1] if energy.ci95 else None),
        ("energy_boundary", energy.boundary if energy.value is not None else None),
        ("energy_trust", test.energy.trust),
        ("binding_constraint", mandated.binding_constraint.value),
        ("pue_adjusted_power_w", mandated.pue_adjusted_power_w.value),
        ("pue", mandated.pue_adjusted_power_w.pue),
        ("utilization_adjusted_tokens_per_second", output.value),
        ("utilization", output.utilization),
        ("accuracy", mandated.accuracy.value),
        ("accuracy_metric", mandated.accuracy.metric if mandated.accuracy.value is not None else None),
        ("e2e_p50_s", latency.e2e_p50_s),
        ("e2e_p95_s", latency.e2e_p95_s),
        ("ttft_p50_s", latency.ttft_p50_s),
        ("ttft_p95_s", latency.ttft_p95_s),
        ("tpot_p50_s", latency.tpot_p50_s),
        ("tpot_p95_s", latency.tpot_p95_s),
        *_comparison(test),
    ]
    return [(f"tpf_{name}", str(value)) for name, value in figures if value is not None]


def _comparison(test: TestRecord) -> Iterator[tuple[str, float | str | None]]:
    """Changes are fractions of the reference, or in the metric's unit where the threshold is: the name says which."""
    regression = test.regression
    if regression is None:
        return
    yield "comparison", standing(test)
    yield "comparison_reference", reference_name(regression.reference) if regression.reference else None
    yield "comparison_reason", regression.reason
    for change in regression.changes:
        name = f"{change.metric}_change" + ("_fraction" if change.kind == "relative" else "")
        low, high = change.ci95 or (None, None)
        yield from ((name, change.change), (f"{name}_ci95_low", low), (f"{name}_ci95_high", high))
        yield f"{change.metric}_comparison", word(change) or None
