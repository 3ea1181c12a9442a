"""What the production function is evaluated from: one record of numbers, each with where it comes from."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal

from pytest_tpf.records import Facility, record

Provenance = Literal["calibrated", "configured", "datasheet"]

# Relative, 95 %. A calibration repeats to a few per cent on an undisturbed machine. A maker's figure is a bound nobody reaches: measured
# GEMMs attain 51 to 87 % of it on the boards of the table, measured copies 80 to 92 %.
UNCERTAINTY: Mapping[Provenance, float] = {"calibrated": 0.05, "configured": 0.05, "datasheet": 0.3}

_ORDER: tuple[Provenance, ...] = ("calibrated", "configured", "datasheet")
_NO_SOURCE = "neither calibrated, configured nor in a data sheet"


@record
class Figure:
    """A number, where it comes from and its relative uncertainty (95 %); None with the reason why it isn't known."""

    value: float | None
    provenance: str | None = None
    relative_uncertainty: float = 0.0
    reason: str | None = None


@record
class ProductionInputs:
    """One test's figures. Powers and e_tok are of the counted window and at the IT boundary, unless ``device`` is in the name.

    ``achieved_tokens_per_second``: output tokens over the window's time. ``busy_fraction``: share of it in which an engine generated.
    ``flops_per_token``, ``bytes_per_token``: c_tok (FLOP) and its like for memory (bytes), from ``cost``. ``compute``: K_eff (FLOP/s) at
    the model's dtype; ``bandwidth`` (bytes/s). ``joules_per_token``: e_tok (J/token), provenance = its trust.
    ``device_*``: the accelerators that ``device_limit_w`` (the sum of their enforced limits) holds for; ``clock_reasons`` are fractions
    of the window in which NVML gave that reason for lower clocks. ``theta``: dimensionless, 1 unless the accounting says otherwise.
    """

    achieved_tokens_per_second: float | None
    flops_per_token: Figure
    bytes_per_token: Figure
    compute: Figure
    bandwidth: Figure
    joules_per_token: Figure
    facility: Facility = Facility()
    busy_fraction: float | None = None
    mean_power_w: float | None = None
    idle_power_w: float | None = None
    device_mean_power_w: float | None = None
    device_p99_power_w: float | None = None
    device_limit_w: float | None = None
    clock_reasons: Mapping[str, float] = dataclasses.field(default_factory=dict)
    theta: float = 1.0
    operations_threshold: float = 0.3
    phi_system: float | None = None
    phi_baseline: str | None = None

    @property
    def utilization(self) -> float | None:
        """U: the fleet's where the site declares it, else the busy fraction of the window (1)."""
        declared = self.facility.fleet_utilization
        return self.busy_fraction if declared is None else declared


def best_figure(calibrated: float | None, configured: float | None, datasheet: float | None, reason: str = _NO_SOURCE) -> Figure:
    """The most trustworthy of a peak's three sources: calibrated > configured > datasheet; without any it is unknown for ``reason``."""
    for provenance, value in zip(_ORDER, (calibrated, configured, datasheet), strict=True):
        if value is not None:
            return Figure(value=value, provenance=provenance, relative_uncertainty=UNCERTAINTY[provenance])
    return Figure(value=None, reason=reason)
