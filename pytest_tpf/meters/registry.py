"""Meters by name, and opening the ones a run asks for.

Built-in meters are found without ``importlib.metadata``, which is slow; a third party's is found by its entry point in the group
``pytest_tpf.meters``.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
from collections.abc import Mapping, Sequence, Set
from typing import Any

from pytest_tpf.meters.protocol import Channel, ChannelInfo, Meter, MeterOptions, MeterUnavailable, Opened
from pytest_tpf.records import record

GROUP = "pytest_tpf.meters"
AUTO = "auto"
BUILT_IN = {
    "nvml": "pytest_tpf.meters.nvml:NvmlMeter",
    "rapl": "pytest_tpf.meters.rapl:RaplMeter",
    "zeus": "pytest_tpf.meters.zeus:ZeusMeter",
    "replay": "pytest_tpf.meters.replay:ReplayMeter",
    "prometheus": "pytest_tpf.meters.prometheus:PrometheusMeter",
    "ray": "pytest_tpf.meters.ray:RayMeter",
    "estimate": "pytest_tpf.meters.estimate:EstimateMeter",
}
# What ``auto`` tries, and what it falls back to where none of them opens.
MEASURING = ("nvml", "rapl")
FALLBACK = "estimate"

_WHOLES = frozenset(("node", "soc"))
_PARTS = ("gpu:", "cpu:", "dram:")

OpenMeter = tuple[Meter, Opened]


@record
class Attempt:
    """One meter that was tried: ``opened`` with its ``meter``, or the ``reason`` why not."""

    name: str
    meter: Meter | None = None
    opened: Opened | None = None
    reason: str | None = None


def meter_names() -> tuple[str, ...]:
    """The names of every meter installed here, built-in ones first."""
    return (*BUILT_IN, *sorted(name for name in _entry_points() if name not in BUILT_IN))


def name_errors(names: Sequence[str]) -> tuple[str, ...]:
    """What is wrong with a list of meters as the user wrote it, one line each; empty where nothing is. Opens nothing."""
    unknown = [name for name in names if name != AUTO and name not in BUILT_IN and name not in _entry_points()]
    return tuple(map(_unknown_text, unknown)) if names else ("no meter is named: use auto or a list of meters",)


def create_meter(name: str) -> Meter:
    """A new meter of that name, not yet opened.

    Raises:
        MeterUnavailable: no such meter (the text names the nearest), or a third party's that doesn't load.
    """
    if name in BUILT_IN:
        module, _, attribute = BUILT_IN[name].partition(":")
        made: Meter = getattr(importlib.import_module(module), attribute)()
        return made
    entry = _entry_points().get(name)
    if entry is None:
        raise MeterUnavailable(_unknown_text(name))
    try:
        third_party: Meter = entry.load()()
    except Exception as error:  # somebody else's code: whatever it raises, the user gets a line and not a traceback
        raise MeterUnavailable(f"it can't be loaded ({type(error).__name__}: {_one_line(error)})") from error
    return third_party


def try_meter(name: str, options: MeterOptions) -> Attempt:
    """Open one meter; a meter that can't be opened is closed again and its reason kept."""
    try:
        meter = create_meter(name)
    except MeterUnavailable as unavailable:
        return Attempt(name=name, reason=str(unavailable))
    try:
        return Attempt(name=name, meter=meter, opened=meter.open(options))
    except MeterUnavailable as unavailable:
        reason = str(unavailable)
    except Exception as error:  # a meter's own mistake costs the meter, not the run
        reason = f"it failed ({type(error).__name__}: {_one_line(error)})"
    meter.close()
    return Attempt(name=name, reason=reason)


def open_meters(names: Sequence[str], options: MeterOptions) -> tuple[list[OpenMeter], list[str]]:
    """Open what ``names`` asks for: (meter, what it found) pairs, and one-line notes beyond the meters' own.

    ``auto`` opens nvml and rapl wherever they are available, and the estimate only where neither is. Any other name must open. Every
    domain's energy comes from one channel: the first named meter's. Processor or memory that no meter reads is listed as ``unmetered``.

    Raises:
        MeterUnavailable: a named meter can't be opened, or nothing can; every reason is in the text.
    """
    if mistakes := name_errors(names):
        raise MeterUnavailable("; ".join(mistakes))
    attempts = _attempts(names, options)
    failures = [a for a in attempts if a.opened is None and (a.name in names or not any(other.opened for other in attempts))]
    pairs = [(a.meter, a.opened) for a in attempts if a.meter is not None and a.opened is not None]
    if failures or not pairs:
        for meter, _ in pairs:
            meter.close()
        raise MeterUnavailable("; ".join(f"{a.name}: {a.reason}" for a in failures))
    try:
        resolved, notes = _one_energy_per_domain(pairs)
    except MeterUnavailable:
        for meter, _ in pairs:
            meter.close()
        raise
    counted, left_out = _whole_or_parts(resolved)
    return _with_gaps_listed(counted), [*_why_not(attempts), *notes, *left_out]


def _attempts(names: Sequence[str], options: MeterOptions) -> list[Attempt]:
    wanted = [inner for name in names for inner in (MEASURING if name == AUTO else (name,))]
    attempts = [try_meter(name, options) for name in dict.fromkeys(wanted)]
    if AUTO in names and not any(attempt.opened for attempt in attempts) and FALLBACK not in wanted:
        attempts.append(try_meter(FALLBACK, options))
    return attempts


def _why_not(attempts: Sequence[Attempt]) -> list[str]:
    """Why ``auto`` left a meter out, where it matters: the run is estimated, or the processor isn't measured."""
    is_estimated = any(attempt.opened and attempt.name == FALLBACK for attempt in attempts)
    return [f"{a.name}: {a.reason}" for a in attempts if a.opened is None and (is_estimated or a.name == "rapl")]


def _one_energy_per_domain(pairs: Sequence[OpenMeter]) -> tuple[list[OpenMeter], list[str]]:
    """Every domain's energy, and every board's, is that of the first named meter; what others read of it stands beside it.

    Raises:
        MeterUnavailable: two meters mean different boards by one domain.
    """
    boards = {board.uuid for _, opened in pairs for board in opened.accelerators}
    owners: dict[str, tuple[str, ChannelInfo]] = {}
    notes: list[str] = []
    resolved: list[OpenMeter] = []
    for meter, opened in pairs:
        channels: list[Channel] = []
        for channel in opened.channels:
            info = _as_owned(meter.id, channel.info, owners, boards)
            if info.energy:
                owners.setdefault(info.domain, (meter.id, info))
            elif channel.info.energy:
                also = "" if info.domain == channel.info.domain else f", which calls it {channel.info.domain},"
                notes.append(f"{info.domain}: the energy is {owners[info.domain][0]}'s; {meter.id}'s{also} stands beside it")
            channels.append(dataclasses.replace(channel, info=info))
        resolved.append((meter, dataclasses.replace(opened, channels=tuple(channels))))
    return _boards_once(resolved), notes


def _as_owned(meter: str, info: ChannelInfo, owners: Mapping[str, tuple[str, ChannelInfo]], boards: Set[str]) -> ChannelInfo:
    """``info`` as it is, or without the energy and under the domain of another meter that reads the same board or domain."""
    others = {domain: (owner, known) for domain, (owner, known) in owners.items() if owner != meter}
    same = next((domain for domain, (_, known) in others.items() if info.device is not None and known.device == info.device), info.domain)
    if same not in others:
        return info
    owner, known = others[same]
    if info.device != known.device and info.device in boards and known.device in boards:
        raise MeterUnavailable(
            f"{info.domain} is board {known.device} for {owner} and board {info.device} for {meter}: "
            f"select the boards that the tests use, or give the other one a domain of its own"
        )
    return dataclasses.replace(info, domain=same, energy=False)


def _boards_once(pairs: Sequence[OpenMeter]) -> list[OpenMeter]:
    """A board that several meters know is listed once, as the first of them knows it."""
    listed: set[str] = set()
    result: list[OpenMeter] = []
    for meter, opened in pairs:
        boards = tuple(board for board in opened.accelerators if board.uuid not in listed)
        listed |= {board.uuid for board in boards}
        result.append((meter, dataclasses.replace(opened, accelerators=boards)))
    return result


def _whole_or_parts(pairs: Sequence[OpenMeter]) -> tuple[list[OpenMeter], list[str]]:
    """A whole machine's energy contains that of its parts: of these two the first named is counted, and the other stands beside it."""
    metered = dict.fromkeys(channel.info.domain for _, opened in pairs for channel in opened.channels if channel.info.energy)
    wholes, parts = ([d for d in metered if d in _WHOLES], [d for d in metered if d.startswith(_PARTS)])
    if not wholes or not parts:
        return list(pairs), []
    first = next(domain for domain in metered if domain in (*wholes, *parts))
    kept, beside = (wholes, parts) if first in wholes else (parts, wholes)
    counted = [
        (meter, dataclasses.replace(opened, channels=tuple(_without_energy(c, beside) for c in opened.channels))) for meter, opened in pairs
    ]
    relation = "is part of" if kept is wholes else "contains"
    return counted, [
        f"{domain} is not added: it {relation} {', '.join(kept)}, which is counted (the meter named first)" for domain in beside
    ]


def _without_energy(channel: Channel, domains: Sequence[str]) -> Channel:
    if channel.info.domain not in domains:
        return channel
    return dataclasses.replace(channel, info=dataclasses.replace(channel.info, energy=False))


def _with_gaps_listed(pairs: Sequence[OpenMeter]) -> list[OpenMeter]:
    """What no meter reads, once and on the first pair; a domain that one meter lacks and another reads is no gap."""
    metered = {channel.info.domain for _, opened in pairs for channel in opened.channels if channel.info.energy}
    named = [domain for _, opened in pairs for domain in opened.unmetered]
    is_whole_node = not metered.isdisjoint(_WHOLES)
    for kind in () if is_whole_node else ("cpu", "dram"):
        if not any(domain.startswith(f"{kind}:") for domain in (*metered, *named)):
            named.append(f"{kind}:0")
    gaps = tuple(d for d in dict.fromkeys(named) if d not in metered and not (is_whole_node and d.startswith(_PARTS)))
    return [(meter, dataclasses.replace(opened, unmetered=() if i else gaps)) for i, (meter, opened) in enumerate(pairs)]


def _entry_points() -> dict[str, Any]:
    from importlib.metadata import entry_points

    return {entry.name: entry for entry in entry_points(group=GROUP)}


def _unknown_text(name: str) -> str:
    known = (AUTO, *meter_names())
    near = difflib.get_close_matches(name, known, n=1)
    return f"there is no meter {name!r}{f', did you mean {near[0]!r}?' if near else ''} (known: {', '.join(known)})"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
