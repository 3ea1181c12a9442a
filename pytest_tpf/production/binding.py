"""Which constraint binds: evidence first, then the lowest ceiling, and ``undetermined`` rather than a guess. Pure.

In this order:

1. No rate was achieved or measured: undetermined.
2. The hardware said so: thermal reasons for lower clocks (cooling), or power-cap reasons for at least half the busy time (power). Of both,
   the more frequent.
3. Power-cap reasons or a P99 within 3 % of the limit, where no power ceiling can be computed to weigh them against: power.
4. Otherwise the known ceilings compete. Power takes part only with evidence (a power-cap reason seen, P99 >= 97 % of the limit, or a
   declared budget behind it): a limit that is merely set is none. Cooling takes part where the site declares its capacity.
5. Compute or memory bandwidth unknown: undetermined, unless the run reaches the lowest known ceiling; an unknown one can't lie below what
   was achieved.
6. Attainment below ``operations_threshold``: operations, no physical ceiling binds.
7. The two lowest within their uncertainty: undetermined. Else the lowest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from pytest_tpf.production.ceilings import Rated, ceilings
from pytest_tpf.production.inputs import ProductionInputs
from pytest_tpf.records import Binding, BindingConstraint, Production, record

POWER_REASONS = frozenset({"sw_power_cap", "hw_power_brake_slowdown"})
THERMAL_REASONS = frozenset({"sw_thermal_slowdown", "hw_thermal_slowdown"})
P99_SHARE_OF_LIMIT = 0.97
_SEEN = 0.05  # below it a reason was touched, as at the start of a prefill, and didn't hold the run back
_SUSTAINED = 0.5
_ALWAYS_NEEDED = ("compute", "memory_bandwidth")


@record
class _Standing:
    """The competing ceilings, lowest first: names, tokens/s, relative uncertainty."""

    names: tuple[Binding, ...]
    rates: tuple[float, ...]
    uncertainties: tuple[float, ...]
    achieved: float

    @property
    def margin(self) -> float | None:
        return self.rates[1] / self.rates[0] if len(self.rates) > 1 and self.rates[0] > 0 else None

    @property
    def attainment(self) -> float | None:
        return self.achieved / self.rates[0] if self.rates and self.rates[0] > 0 else None

    @property
    def reached(self) -> bool:
        """The run is at or above the lowest ceiling."""
        return bool(self.rates) and self.achieved >= self.rates[0]

    @property
    def distinguishable(self) -> bool:
        """The two lowest differ by more than their uncertainty."""
        if len(self.rates) < 2:
            return True
        spread = math.hypot(self.rates[0] * self.uncertainties[0], self.rates[1] * self.uncertainties[1])
        return self.rates[1] - self.rates[0] > spread


def evaluate(inputs: ProductionInputs) -> tuple[Production, BindingConstraint]:
    """The production function of one test, and its binding constraint."""
    rated = ceilings(inputs)
    production = Production(
        ceilings={name: each.ceiling for name, each in rated.items()},
        achieved_tokens_per_second=inputs.achieved_tokens_per_second,
        flops_per_token=inputs.flops_per_token.value,
        bytes_per_token=inputs.bytes_per_token.value,
        joules_per_token=inputs.joules_per_token.value,
        theta=inputs.theta,
        utilization=inputs.utilization,
        phi_system=inputs.phi_system,
        phi_baseline=inputs.phi_baseline,
    )
    return production, binding_constraint(inputs, rated)


def binding_constraint(inputs: ProductionInputs, rated: Mapping[str, Rated]) -> BindingConstraint:
    """The constraint that binds, by the rules above; ``reason`` is one readable line."""
    achieved = inputs.achieved_tokens_per_second
    if not achieved or achieved < 0:
        return BindingConstraint(value="undetermined", margin=None, attainment=None, reason="no output rate was measured")
    evidence = power_evidence(inputs)
    standing = _standing(rated, achieved, with_power=evidence is not None or rated["power"].declared)
    said = _hardware_said(inputs)
    if said is None and evidence is not None and rated["power"].ceiling.tokens_per_second is None:
        said = ("power", evidence)
    if said is not None:
        return _answer(said[0], standing, said[1])
    return _by_ceilings(inputs, rated, standing, evidence)


def power_evidence(inputs: ProductionInputs) -> str | None:
    """Signs that power holds the devices back, as text; None where there are none. A limit that is merely set is no sign."""
    seen = {name: inputs.clock_reasons[name] for name in sorted(POWER_REASONS & inputs.clock_reasons.keys())}
    strongest = max(seen, key=lambda name: seen[name], default=None)
    if strongest is not None and seen[strongest] >= _SEEN:
        return f"{strongest} was seen in {seen[strongest]:.0%} of the window"
    p99, limit = inputs.device_p99_power_w, inputs.device_limit_w
    if p99 is not None and limit and p99 >= P99_SHARE_OF_LIMIT * limit:
        return f"P99 power is {p99:.4g} W of a limit of {limit:.4g} W"
    return None


def _hardware_said(inputs: ProductionInputs) -> tuple[Binding, str] | None:
    """Clock reasons that settle the question by themselves."""
    reasons = inputs.clock_reasons
    thermal = max((reasons[name] for name in THERMAL_REASONS & reasons.keys()), default=0.0)
    power = max((reasons[name] for name in POWER_REASONS & reasons.keys()), default=0.0)
    # A device throttles only while it works; an unknown busy fraction asks for half the whole window.
    busy = inputs.busy_fraction if inputs.busy_fraction is not None else 1.0
    sustained = power >= _SEEN and power >= _SUSTAINED * busy
    if thermal >= _SEEN and not (sustained and power > thermal):
        return "cooling", f"thermal slowdown was seen in {thermal:.0%} of the window"
    return ("power", f"power-cap clocks were seen in {power:.0%} of the window") if sustained else None


def _standing(rated: Mapping[str, Rated], achieved: float, *, with_power: bool) -> _Standing:
    names: tuple[Binding, ...] = ("compute", "memory_bandwidth", "power", "cooling")
    known: list[tuple[float, Binding]] = []
    for name in names:
        rate = rated[name].ceiling.tokens_per_second
        if rate is not None and (name != "power" or with_power):
            known.append((rate, name))
    known.sort()
    return _Standing(
        names=tuple(name for _, name in known),
        rates=tuple(rate for rate, _ in known),
        uncertainties=tuple(rated[name].relative_uncertainty for _, name in known),
        achieved=achieved,
    )


def _by_ceilings(inputs: ProductionInputs, rated: Mapping[str, Rated], standing: _Standing, evidence: str | None) -> BindingConstraint:
    missing = [f"{name}: {rated[name].ceiling.reason}" for name in _ALWAYS_NEEDED if rated[name].ceiling.tokens_per_second is None]
    if not standing.rates or (missing and not standing.reached):
        return _answer("undetermined", standing, "unknown ceilings (" + "; ".join(missing) + ")")
    if standing.attainment is not None and standing.attainment < inputs.operations_threshold:
        return _answer("operations", standing, f"{_lowest(standing)}; {_busy(inputs)}")
    if not standing.distinguishable:
        first, second = standing.names[:2]
        return _answer("undetermined", standing, f"the ceilings of {first} and {second} are within their uncertainty; {_lowest(standing)}")
    return _answer(
        standing.names[0], standing, "; ".join(filter(None, [_lowest(standing), _runner_up(standing), _support(standing, evidence)]))
    )


def _answer(value: Binding, standing: _Standing, reason: str) -> BindingConstraint:
    return BindingConstraint(value=value, margin=standing.margin, attainment=standing.attainment, reason=reason)


def _lowest(standing: _Standing) -> str:
    share = "above" if standing.attainment is None else f"{standing.attainment:.0%} of"
    text = f"{standing.achieved:.4g} tokens/s is {share} the lowest ceiling, {standing.names[0]} at {standing.rates[0]:.4g}"
    # More than a ceiling, beyond what its uncertainty explains: power may exceed a declared budget, physics may not be exceeded.
    over = standing.achieved > standing.rates[0] * (1 + standing.uncertainties[0])
    return text + (", so an input of that ceiling is wrong" if over and standing.names[0] in _ALWAYS_NEEDED else "")


def _runner_up(standing: _Standing) -> str | None:
    return None if standing.margin is None else f"next is {standing.names[1]}, {standing.margin:.3g} times as high"


def _support(standing: _Standing, evidence: str | None) -> str | None:
    if standing.names[0] == "power":
        return evidence or "the declared budget is behind it"
    return evidence and f"{evidence}, but more power would not help first"


def _busy(inputs: ProductionInputs) -> str:
    if inputs.busy_fraction is None:
        return "the busy fraction is unknown"
    return f"an engine generated in {inputs.busy_fraction:.0%} of the window"
