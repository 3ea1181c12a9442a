"""The ceilings of the Token Production Function (arXiv 2605.11733), in output tokens per second. Pure.

    Q = min( K_eff / c_tok , theta * P_IT / e_tok ) * Phi_system * U

``compute`` and ``power`` are the published ones. ``cooling`` uses that nearly all IT power becomes heat. ``memory_bandwidth`` is an
extension (decoding usually waits for weights and cache) and says so. Phi and U are not multiplied on: e_tok measured on the running
system already contains both.

**Which form of the power ceiling.** e_tok of a run is its mean power over its own rate, so ``P_mean / e_tok`` is identically that rate
and would always "bind". Where idle power is known the marginal form says what more power would buy on this machine:
``(theta P_IT - P_idle) / e_marginal``, ``e_marginal = (P_mean - P_idle) / rate``. Where it is not, only a declared budget gives a
meaningful plain form ``theta P_IT / e_tok``: it is the paper's own, the rate if the budget were filled with machines at this operating
point, each with its idle power; for one machine below its budget it understates the ceiling. A device's limit has no such reading, so
without idle power that ceiling is unknown.
"""

from __future__ import annotations

import math

from pytest_tpf.production.facility import delivered_it_power_w
from pytest_tpf.production.inputs import Figure, ProductionInputs
from pytest_tpf.records import Ceiling, record

EXTENSION = "an extension: not part of the published function"


@record
class Rated:
    """A ceiling and what judging it needs: relative uncertainty (95 %), and whether a declaration of the site stands behind it."""

    ceiling: Ceiling
    relative_uncertainty: float = 0.0
    declared: bool = False


@record
class Supply:
    """Power (W) that is there for the IT equipment, who says so, or why nobody does."""

    watts: float | None
    provenance: str = ""
    declared: bool = False
    reason: str | None = None


def ceilings(inputs: ProductionInputs) -> dict[str, Rated]:
    """All four ceilings by name; one that isn't known is null with its reason."""
    return {
        "compute": _ratio(inputs.compute, inputs.flops_per_token, note=None),
        "memory_bandwidth": _ratio(inputs.bandwidth, inputs.bytes_per_token, note=EXTENSION),
        "power": _power(inputs),
        "cooling": _cooling(inputs),
    }


def _ratio(available: Figure, cost: Figure, note: str | None) -> Rated:
    missing = _missing(available) or _missing(cost)
    if missing or not available.value or not cost.value:
        return _unknown(missing or "a peak or a cost of 0 makes no ceiling", available.value, cost.value)
    ceiling = Ceiling(
        tokens_per_second=available.value / cost.value,
        numerator=available.value,
        denominator=cost.value,
        provenance=available.provenance or "unknown",
        reason=note,
    )
    return Rated(ceiling=ceiling, relative_uncertainty=math.hypot(available.relative_uncertainty, cost.relative_uncertainty))


def _missing(figure: Figure) -> str | None:
    return None if figure.value is not None else figure.reason or "an input is unknown"


def _power(inputs: ProductionInputs) -> Rated:
    supply = power_supply(inputs)
    if supply.watts is None:
        return _unknown(supply.reason or "no power budget or limit is known")
    return _from_power(inputs, supply, inputs.theta * supply.watts)


def _cooling(inputs: ProductionInputs) -> Rated:
    """Heat that can be carried off over energy per token: the power ceiling's forms, without theta and PUE, for heat is IT power."""
    capacity = inputs.facility.cooling_capacity_w
    if capacity is None:
        return _unknown("no cooling_capacity_w is declared")
    return _from_power(inputs, Supply(watts=capacity, provenance="declared cooling capacity", declared=True), capacity)


def power_supply(inputs: ProductionInputs) -> Supply:
    """Delivered IT power P_IT (W): the declared budget behind PUE or the devices' enforced limits plus the host, whichever is less."""
    delivered = delivered_it_power_w(inputs.facility)
    budget, reason = delivered.value_w, delivered.reason
    if budget is not None and delivered.covers == "accelerator":
        budget, reason = _with_host(inputs, budget), "the budget is the accelerators' and the host's power isn't known"
    limit = None if inputs.device_limit_w is None else _with_host(inputs, inputs.device_limit_w)
    if budget is not None and (limit is None or budget <= limit):
        return Supply(watts=budget, provenance="declared budget", declared=True)
    if limit is not None:
        return Supply(watts=limit, provenance="enforced device limit")
    return Supply(watts=None, reason=f"{reason}; no enforced device limit is known")


def _with_host(inputs: ProductionInputs, device_w: float) -> float | None:
    """``device_w`` plus what the rest of the IT equipment draws, taken as it was in the run."""
    if inputs.mean_power_w is None or inputs.device_mean_power_w is None:
        return None
    return device_w + max(0.0, inputs.mean_power_w - inputs.device_mean_power_w)


def _from_power(inputs: ProductionInputs, supply: Supply, watts: float) -> Rated:
    rate, idle, e_tok = inputs.achieved_tokens_per_second, inputs.idle_power_w, inputs.joules_per_token
    if not e_tok.value:
        return _unknown(_missing(e_tok) or "an energy of 0 J per token makes no ceiling", watts)
    mean = inputs.mean_power_w if inputs.mean_power_w is not None else e_tok.value * rate if rate else None
    if rate and mean is not None and idle is not None and mean > idle:
        return _marginal(supply, watts, rate, mean, idle, e_tok.relative_uncertainty)
    reason = "idle power is unknown" if idle is None else "mean power isn't above idle power"
    if not supply.declared:
        return _unknown(f"{reason}, and a device limit over J/token would only scale the measured rate", watts)
    ceiling = Ceiling(
        tokens_per_second=watts / e_tok.value,
        numerator=watts,
        denominator=e_tok.value,
        provenance=supply.provenance,
        reason=f"plain form: {reason}",
    )
    return Rated(ceiling=ceiling, relative_uncertainty=e_tok.relative_uncertainty, declared=True)


def _marginal(supply: Supply, watts: float, rate: float, mean: float, idle: float, uncertainty: float) -> Rated:
    """The marginal form; e_tok's uncertainty is that of the mean power, and grows as the mean comes near idle."""
    per_token = (mean - idle) / rate
    left = max(0.0, watts - idle)
    ceiling = Ceiling(
        tokens_per_second=left / per_token,
        numerator=left,
        denominator=per_token,
        provenance=supply.provenance,
        reason="marginal form" if left else f"idle power of {idle:.4g} W alone takes the {watts:.4g} W",
    )
    return Rated(ceiling=ceiling, relative_uncertainty=uncertainty * mean / (mean - idle), declared=supply.declared)


def _unknown(reason: str, numerator: float | None = None, denominator: float | None = None) -> Rated:
    return Rated(ceiling=Ceiling(tokens_per_second=None, numerator=numerator, denominator=denominator, provenance=None, reason=reason))
