"""The facility profile: a TOML file in which a site declares its power, cooling, utilization, carbon, water and price.

pue = 1.2
pue_kind = "annual"            # annual, interim, partial, designed, mixed_use, assumed
pue_category = "PUE2"          # ISO/IEC 30134-2
power_budget_w = 50_000
power_boundary = "facility"    # utility_meter, facility, it, node, accelerator
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import tomllib
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from pytest_tpf.records import Facility, Pue, PueCategory, PueKind, record

PowerBoundary = Literal["utility_meter", "facility", "it", "node", "accelerator"]
PUE_KINDS: tuple[PueKind, ...] = typing.get_args(PueKind)
PUE_CATEGORIES: tuple[PueCategory, ...] = typing.get_args(PueCategory)
POWER_BOUNDARIES: tuple[PowerBoundary, ...] = typing.get_args(PowerBoundary)

_LARGEST = 1e300


class FacilityError(Exception):
    """The profile can't be used; the text names the file and every problem, one a line."""


@record
class DeliveredPower:
    """Power a declared budget delivers (W), and to what: the whole IT equipment, or accelerators alone. ``reason`` where None."""

    value_w: float | None
    covers: Literal["it", "accelerator"] | None
    reason: str | None = None


def load_facility(path: str | os.PathLike[str]) -> Facility:
    """The profile in the TOML file ``path``.

    Raises:
        FacilityError: the file can't be read, isn't TOML, or says something impossible; all problems are in the one message.
    """
    try:
        data = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise FacilityError(f"{os.fspath(path)}: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:  # no TOML, no UTF-8, an integer of thousands of digits
        raise FacilityError(f"{os.fspath(path)}: not valid TOML: {error}") from None
    try:
        return read_facility(data)
    except FacilityError as error:
        raise FacilityError(f"{os.fspath(path)}: {error}") from None


def read_facility(data: Mapping[str, Any]) -> Facility:
    """The profile that the mapping ``data`` declares. Raises FacilityError with all problems."""
    problems = [_unknown(key) for key in data if key not in _CHECKS]
    problems += [f"{key} {problem}" for key, check in _CHECKS.items() if key in data and (problem := check(data[key]))]
    problems += _contradictions(data)
    if problems:
        raise FacilityError("; ".join(problems))
    fields: dict[str, Any] = {key: value for key, value in data.items() if not key.startswith("pue")}
    return Facility(pue=_pue(data), **fields)


def with_pue(facility: Facility, value: float) -> Facility:
    """``facility`` with a PUE given on its own, as by ``--tpf-pue``: nobody said how it was found, so its kind is "assumed".

    Raises:
        FacilityError: the value is below 1, infinite or not a number.
    """
    problem = _at_least_one(value)
    if problem:
        raise FacilityError(f"pue {problem}")
    return dataclasses.replace(facility, pue=Pue(value=float(value), source="declared", kind="assumed", category="unknown"))


def delivered_it_power_w(facility: Facility) -> DeliveredPower:
    """What the declared power budget leaves for the equipment (W).

    A budget at the utility meter or of the facility is divided by PUE, once; one at the IT equipment, a node or an accelerator is
    already behind it.
    """
    budget, boundary = facility.power_budget_w, facility.power_boundary
    if budget is None:
        return DeliveredPower(value_w=None, covers=None, reason="no power_budget_w is declared")
    if boundary in ("it", "node"):
        return DeliveredPower(value_w=budget, covers="it")
    if boundary == "accelerator":
        return DeliveredPower(value_w=budget, covers="accelerator")
    if boundary is None:
        return DeliveredPower(value_w=None, covers=None, reason="power_budget_w has no power_boundary")
    if facility.pue.value is None:
        return DeliveredPower(value_w=None, covers=None, reason=f"power_budget_w is at the {boundary} boundary and no pue is declared")
    return DeliveredPower(value_w=budget / facility.pue.value, covers="it")


# --- checks: each returns what is wrong, or None -----------------------------------------------------------------------


def _finite(value: object) -> str | None:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return f"is {value!r}, not a number"
    # Comparing, not converting: TOML allows whole numbers that no float can hold.
    return None if -_LARGEST <= value <= _LARGEST else f"is {value!r:.20}, not a finite number"


def _positive(value: Any) -> str | None:
    return _finite(value) or (None if value > 0 else f"is {value}, must be above 0")


def _not_negative(value: Any) -> str | None:
    return _finite(value) or (None if value >= 0 else f"is {value}, must not be negative")


def _fraction(value: Any) -> str | None:
    return _finite(value) or (None if 0 < value <= 1 else f"is {value}, must be above 0 and at most 1")


def _at_least_one(value: Any) -> str | None:
    return _finite(value) or (None if value >= 1 else f"is {value}: a facility can't draw less than its IT equipment, PUE is at least 1")


def _text(value: object) -> str | None:
    return None if isinstance(value, str) and value.strip() else f"is {value!r}, not a text"


def _one_of(allowed: tuple[str, ...]) -> Callable[[Any], str | None]:
    return lambda value: None if isinstance(value, str) and value in allowed else f"is {value!r}, must be one of {', '.join(allowed)}"


_CHECKS: Mapping[str, Callable[[Any], str | None]] = {
    "pue": _at_least_one,
    "pue_kind": _one_of(PUE_KINDS),
    "pue_category": _one_of(PUE_CATEGORIES),
    "power_budget_w": _positive,
    "power_boundary": _one_of(POWER_BOUNDARIES),
    "cooling_capacity_w": _positive,
    "fleet_utilization": _fraction,
    "carbon_intensity_g_per_kwh": _not_negative,
    "water_l_per_kwh": _not_negative,
    "electricity_price_per_kwh": _finite,  # markets do go below zero
    "currency": _text,
}


def _unknown(key: str) -> str:
    near = difflib.get_close_matches(key, _CHECKS, n=1)
    return f"unknown key {key!r}" + (f", did you mean {near[0]!r}?" if near else f"; known keys are {', '.join(_CHECKS)}")


def _contradictions(data: Mapping[str, Any]) -> list[str]:
    problems = []
    if "pue" in data and "pue_kind" not in data:
        problems.append(f"pue needs a pue_kind that says how it was found: one of {', '.join(PUE_KINDS)}")
    problems += [f"{key} is given without pue" for key in ("pue_kind", "pue_category") if key in data and "pue" not in data]
    if "power_budget_w" in data and "power_boundary" not in data:
        problems.append(f"power_budget_w needs a power_boundary that says where it is taken: one of {', '.join(POWER_BOUNDARIES)}")
    return problems


def _pue(data: Mapping[str, Any]) -> Pue:
    if "pue" not in data:
        return Pue()
    return Pue(value=float(data["pue"]), source="declared", kind=data["pue_kind"], category=data.get("pue_category", "unknown"))
