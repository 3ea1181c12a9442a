"""What the heads of several reports have in common: one environment, facility and list of meters. Pure; heads are builtins.

Each rule gives the same whatever the order in which reports are united, and however they are grouped.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pytest_tpf.report.errors import ReportError
from pytest_tpf.report.wording import show

SEPARATOR = " | "
SEVERAL = "several"

Head = Mapping[str, Any]


def united(one: Head, other: Head) -> dict[str, Any]:
    """``environment`` (without ``ci``), ``facility`` and ``meters`` of both.

    Raises:
        ReportError: their figures don't belong in one report: other hardware, another commit, another facility profile. The text
            ends with what ``one`` has.
    """
    for place in (("environment", "hardware_fingerprint"), ("environment", "source", "commit"), ("facility",)):
        for name, ours, theirs in _differences(_at(one, place), _at(other, place), ".".join(place)):
            raise ReportError(f"{name} is {show(theirs)}, but {show(ours)}")
    return {
        "environment": _environment(one["environment"], other["environment"]),
        "facility": one["facility"],
        "meters": _meters([*one["meters"], *other["meters"]]),
    }


def _at(head: Any, place: Iterable[str]) -> Any:
    for key in place:
        head = head[key]
    return head


def _differences(one: Any, other: Any, name: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(one, dict):
        for key in one:
            yield from _differences(one[key], other[key], f"{name}.{key}")
    elif one != other:
        yield name, one, other


def _environment(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "host": _host(one["host"], other["host"]),
        "accelerators": _once([*one["accelerators"], *other["accelerators"]]),
        "software": {
            name: joined(*(head["software"][name] for head in (one, other) if name in head["software"]))
            for name in sorted({**one["software"], **other["software"]})
        },
        "source": {
            "commit": one["source"]["commit"],
            "branch": _same(one["source"]["branch"], other["source"]["branch"]),
            "dirty": _either(one["source"]["dirty"], other["source"]["dirty"]),
        },
        "ci": None,
        "hardware_fingerprint": one["hardware_fingerprint"],
    }


def _host(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """The fingerprint has seen to the processor."""
    return {
        "os": joined(one["os"], other["os"]),
        "python": joined(one["python"], other["python"]),
        "cpu": {
            "model": _same(one["cpu"]["model"], other["cpu"]["model"]),
            "logical_cores": max(one["cpu"]["logical_cores"], other["cpu"]["logical_cores"]),
        },
        "memory_bytes": _same(one["memory_bytes"], other["memory_bytes"]),
    }


def _meters(meters: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One of each id that reads the same source in the same way; its refresh period and step are the coarsest that were seen."""
    found: dict[str, dict[str, Any]] = {}
    for meter in meters:
        key = _key({name: meter[name] for name in ("id", "source", "domain", "method", "trust")})
        known = found.setdefault(key, meter)
        found[key] = known | {
            "device": _same(known["device"], meter["device"]),
            "update_period_s": _coarsest(known["update_period_s"], meter["update_period_s"]),
            "resolution_j": _coarsest(known["resolution_j"], meter["resolution_j"]),
        }
    return list(found.values())


def joined(*texts: str, most: int = 256) -> str:
    """The different ones among ``texts``, which may be joined already; "several" where they don't fit in ``most`` characters."""
    if len(set(texts)) == 1:
        return texts[0]
    parts = sorted({part for text in texts for part in text.split(SEPARATOR)})
    whole = SEPARATOR.join(parts)
    return whole if len(whole) <= most and SEVERAL not in parts else SEVERAL


def _same(one: Any, other: Any) -> Any:
    """Unknown where they differ."""
    return one if one == other else None


def _either(one: bool | None, other: bool | None) -> bool | None:
    """Dirty if one is, unknown if that can't be told."""
    return True if one or other else None if one is None or other is None else False


def _coarsest(one: float | None, other: float | None) -> float | None:
    return max((value for value in (one, other) if value is not None), default=None)


def _once(values: list[Any]) -> list[Any]:
    return list({_key(value): value for value in values}.values())


def _key(value: Any) -> str:
    return json.dumps(value, sort_keys=True)
