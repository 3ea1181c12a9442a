"""What a process that measured knows of its meters; it travels with every record, so that a lost worker loses nothing else."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import TypeVar

from pytest_tpf.records import Accelerator, MeterInfo, record

_T = TypeVar("_T")


@record
class RunFacts:
    """Meters, boards, what isn't metered, remarks for the user, and the versions of what was imported where the tests ran."""

    meters: tuple[MeterInfo, ...] = ()
    accelerators: tuple[Accelerator, ...] = ()
    unmetered: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    software: dict[str, str] = dataclasses.field(default_factory=dict)


def merged(one: RunFacts, other: RunFacts) -> RunFacts:
    """The facts of both, each meter and board once (the later description wins: its refresh period is better known)."""
    return RunFacts(
        meters=tuple({(m.id, m.domain, m.device, m.method): m for m in (*one.meters, *other.meters)}.values()),
        accelerators=tuple({a.uuid: a for a in (*one.accelerators, *other.accelerators)}.values()),
        unmetered=_once((*one.unmetered, *other.unmetered)),
        notes=_once((*one.notes, *other.notes)),
        software=one.software | other.software,
    )


def _once(values: Iterable[_T]) -> tuple[_T, ...]:
    return tuple(dict.fromkeys(values))
