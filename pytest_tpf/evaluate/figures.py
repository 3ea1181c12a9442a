"""The mandated figures, the derived ones, and those that budgets judge. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_tpf.evaluate.acceptance import TIME_LIMITS, accepted_tokens
from pytest_tpf.evaluate.context import Context
from pytest_tpf.evaluate.energy import Measured, joules_at
from pytest_tpf.evaluate.requests import tally
from pytest_tpf.judge.budgets import Figure
from pytest_tpf.markers import Marker
from pytest_tpf.observation import Observation, length_s
from pytest_tpf.records import (
    Accuracy,
    BindingConstraint,
    Derived,
    Distribution,
    Facility,
    JoulesPerToken,
    Latency,
    Mandated,
    Power,
    PueAdjustedPower,
    Service,
    UtilizationAdjustedOutput,
    record,
)

JOULES_PER_KWH = 3.6e6
CLIENT_LATE = "client_late: the client was late with its requests or their replies, so the times are not the server's"
NOT_TOLD_APART = "acceptance can't be told per request: give tpf.quality a list with one entry each, and limit only times that are seen"


@record
class Facts:
    """What the figures are computed from; all of it belongs to one observation."""

    observation: Observation
    marker: Marker
    context: Context
    measured: Measured
    service: Service
    power: Power
    binding: BindingConstraint


def mandated(facts: Facts) -> Mandated:
    """The four figures that arXiv 2605.11733 asks for, with accuracy and latency."""
    return Mandated(
        joules_per_token=_joules_per_token(facts),
        binding_constraint=facts.binding,
        pue_adjusted_power_w=pue_adjusted_power(facts.power, facts.context.facility, facts.context.unmetered),
        utilization_adjusted_tokens_per_second=utilization_adjusted_output(facts),
        accuracy=_accuracy(facts),
        latency=latency_of(facts.service),
    )


def energy_figure(facts: Facts, per: float | None, why_not: str = "") -> Figure:
    """Counted energy at the marker's boundary over ``per`` units, with its interval; unknown where either is."""
    joules, half_width_j, reason = joules_at(facts.marker.boundary, facts.measured, facts.context.facility)
    if joules is None or not per:
        return Figure(value=None, reason=reason or why_not)
    return Figure(value=joules / per, ci95=((joules - half_width_j) / per, (joules + half_width_j) / per))


def _joules_per_token(facts: Facts) -> JoulesPerToken:
    figure = energy_figure(facts, tally(facts.observation.rounds).output_tokens, "no output tokens were counted")
    is_lower_bound = figure.value is not None and facts.marker.boundary == "facility"
    return JoulesPerToken(
        value=figure.value,
        ci95=figure.ci95,
        boundary=facts.marker.boundary,
        trust=facts.measured.counted.trust if figure.value is not None else None,
        reason=lower_bound(facts.context.unmetered) if is_lower_bound else figure.reason,
    )


def pue_adjusted_power(power: Power, facility: Facility, unmetered: Sequence[str]) -> PueAdjustedPower:
    """Mean IT power times PUE, applied once (W); a lower bound where IT domains are ``unmetered``."""
    pue = facility.pue.value
    if power.mean_w is None:
        return PueAdjustedPower(value=None, it_power_w=None, pue=pue, reason="IT power is unknown")
    if pue is None:
        return PueAdjustedPower(
            value=None, it_power_w=power.mean_w, pue=None, reason="PUE is undeclared (--tpf-facility FILE or --tpf-pue X)"
        )
    return PueAdjustedPower(value=power.mean_w * pue, it_power_w=power.mean_w, pue=pue, reason=lower_bound(unmetered))


def lower_bound(unmetered: Sequence[str]) -> str | None:
    """What a facility figure from a partly metered IT boundary is."""
    return f"a lower bound: {', '.join(unmetered)} not metered" if unmetered else None


def utilization(facts: Facts) -> float | None:
    """The busy fraction: time in which an engine generated over the rounds drawn by the user, or over the whole call (0..1)."""
    busy_s = facts.service.busy_s
    seen = facts.observation
    whole_s = length_s([(r.start_s, r.end_s) for r in seen.rounds]) if seen.drawn else length_s([seen.call])
    return None if busy_s is None or whole_s <= 0 else min(1.0, busy_s / whole_s)


def utilization_adjusted_output(facts: Facts) -> UtilizationAdjustedOutput:
    """Tokens per second while busy times utilization: the measured busy fraction, or the fleet's where one is declared."""
    # Nobody saw the engine of a window drawn by hand: then the window itself is its busy time, and only a declared utilization is known.
    busy_s, measured = facts.service.busy_s or facts.service.duration_s, utilization(facts)
    busy_rate = tally(facts.observation.rounds).output_tokens / busy_s if busy_s else None
    declared = facts.context.facility.fleet_utilization
    used = measured if declared is None else declared
    return UtilizationAdjustedOutput(
        value=busy_rate * used if busy_rate is not None and used is not None else None,
        utilization=used,
        utilization_source=None if used is None else "measured" if declared is None else "declared",
        busy_tokens_per_second=busy_rate,
    )


def _accuracy(facts: Facts) -> Accuracy:
    quality, least = facts.observation.quality, facts.marker.limits.get("min_quality")
    if quality is None:
        return Accuracy(target=least)
    return Accuracy(
        value=quality.value, metric=quality.metric, target=least if least is not None else quality.target, samples=quality.samples
    )


def latency_of(service: Service) -> Latency:
    """The quantiles that stand beside the four figures."""

    def of(times: Distribution | None) -> tuple[float | None, float | None]:
        return (None, None) if times is None else (times.p50, times.p95)

    (e2e_p50, e2e_p95), (ttft_p50, ttft_p95), (tpot_p50, tpot_p95) = of(service.e2e_s), of(service.ttft_s), of(service.tpot_s)
    return Latency(e2e_p50_s=e2e_p50, e2e_p95_s=e2e_p95, ttft_p50_s=ttft_p50, ttft_p95_s=ttft_p95, tpot_p50_s=tpot_p50, tpot_p95_s=tpot_p95)


def derived(facts: Facts) -> Derived:
    """Figures that follow from the others. Energy at the marker's boundary; carbon, water and cost from facility energy."""
    counts, quality = tally(facts.observation.rounds), facts.observation.quality
    accuracy = quality.value if quality else None
    joules_per_request = energy_figure(facts, counts.requests).value
    mean_w, facility = facts.power.mean_w, facts.context.facility
    facility_j, _, _ = joules_at("facility", facts.measured, facility)
    kwh = None if facility_j is None else facility_j / JOULES_PER_KWH
    total = None if counts.prompt_tokens is None else counts.prompt_tokens + counts.output_tokens
    return Derived(
        joules_per_request=joules_per_request,
        joules_per_total_token=energy_figure(facts, total).value,
        joules_per_accepted_token=energy_figure(facts, accepted_tokens(facts.observation, facts.marker)).value,
        joules_per_correct_answer=joules_per_request / accuracy if joules_per_request is not None and accuracy else None,
        intelligence_per_watt=accuracy / mean_w if accuracy is not None and mean_w else None,
        intelligence_per_joule=accuracy / joules_per_request if accuracy is not None and joules_per_request else None,
        carbon_g=_times(kwh, facility.carbon_intensity_g_per_kwh),
        water_l=_times(kwh, facility.water_l_per_kwh),
        cost=_times(kwh, facility.electricity_price_per_kwh),
    )


def _times(amount: float | None, factor: float | None) -> float | None:
    return None if amount is None or factor is None else amount * factor


def budget_figures(facts: Facts) -> dict[str, Figure]:
    """Every figure that a budget can limit, by the metric names of ``markers.LIMITS``."""
    counts, service, quality = tally(facts.observation.rounds), facts.service, facts.observation.quality
    accepted = accepted_tokens(facts.observation, facts.marker)
    calls = sum(r.calls for r in facts.observation.rounds)
    is_late = service.load is not None and service.load.is_late
    is_untimed = is_late and any(name in facts.marker.limits for name in TIME_LIMITS)
    why_none_accepted = "no token was accepted" if accepted == 0 else CLIENT_LATE if is_untimed else NOT_TOLD_APART
    facility_w = pue_adjusted_power(facts.power, facts.context.facility, facts.context.unmetered)
    return {
        "joules_per_token": energy_figure(facts, counts.output_tokens, "no output tokens were counted"),
        "joules_per_accepted_token": energy_figure(facts, accepted, why_none_accepted),
        "joules_per_request": energy_figure(facts, counts.requests, "no request was counted"),
        "joules": energy_figure(facts, calls),
        "output_tokens_per_request": _ratio(counts.output_tokens, counts.requests),
        "prompt_tokens_per_request": _ratio(counts.prompt_tokens, counts.requests),
        "tokens_per_second": _tokens_per_second(facts, is_late),
        "ttft_p95_s": _p95(service.ttft_s, CLIENT_LATE if is_late else "the first token's time was not seen"),
        "tpot_p95_s": _p95(service.tpot_s, CLIENT_LATE if is_late else "no request was seen making two tokens or more"),
        "e2e_p95_s": _p95(service.e2e_s, CLIENT_LATE if is_late else "no request was seen to its end"),
        "quality": _known(quality.value if quality else None, "the test gave no quality: call tpf.quality(...)"),
        "power_w": _known(facts.power.mean_w, "IT power is unknown"),
        "facility_power_w": _known(facility_w.value, facility_w.reason),
    }


def _tokens_per_second(facts: Facts, is_late: bool) -> Figure:
    """A late client may have kept the server from its target; where it is met all the same, it is met."""
    value, least = facts.service.tokens_per_second, facts.marker.limits.get("min_tokens_per_second")
    if is_late and value is not None and least is not None and value < least:
        return Figure(value=None, reason=CLIENT_LATE)
    return _known(value, "the window has no length")


def _known(value: float | None, why_not: str | None) -> Figure:
    return Figure(value=value, reason=why_not if value is None else None)


def _ratio(amount: int | None, requests: int) -> Figure:
    return _known(amount / requests if amount is not None and requests else None, "tokens or requests are unknown")


def _p95(times: Distribution | None, why_not: str) -> Figure:
    return _known(times.p95 if times else None, why_not)
