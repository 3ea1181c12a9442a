"""Which boards a process may use, as CUDA reads ``CUDA_VISIBLE_DEVICES`` and ``CUDA_DEVICE_ORDER``. Pure.

The rules are those of the CUDA C++ Programming Guide (environment variables) and of PyTorch's own parser, which the tests compare with:
the first entry decides whether the list holds indices, board UUIDs or MIG slices; entries may be unique prefixes of UUIDs; the list ends
at the first entry that fits no board; a repeated entry leaves no board at all; an empty list leaves none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import takewhile

from pytest_tpf.records import record

VARIABLE = "CUDA_VISIBLE_DEVICES"
ORDER_VARIABLE = "CUDA_DEVICE_ORDER"
_INTEGER = re.compile(r"[+-]?[0-9]+")


@record
class BoardId:
    """A board as the driver lists it; ``index`` counts in PCI bus order."""

    index: int
    uuid: str
    name: str


@record
class Selection:
    """The boards a process may use, in its own order; ``notes`` say in one line each why a board or an entry was left out."""

    boards: tuple[BoardId, ...]
    notes: tuple[str, ...] = ()


def visible_boards(boards: Sequence[BoardId], env: Mapping[str, str]) -> Selection:
    """The boards that a CUDA program with the environment ``env`` may use; ``boards`` are all of the machine in PCI bus order.

    An index is refused where CUDA may count in another order than the driver: with boards of different models and ``CUDA_DEVICE_ORDER``
    other than ``PCI_BUS_ID``, or with a board missing from ``boards``; unless the list names every board.
    """
    text = env.get(VARIABLE)
    if text is None:
        return Selection(boards=tuple(boards))
    entries = [entry.strip() for entry in text.split(",")] if text.strip() else []
    if not entries:
        return Selection(boards=(), notes=(f"{VARIABLE} is empty: it hides every board",))
    if entries[0].startswith("MIG-"):
        return Selection(boards=(), notes=(_mig_note(text),))
    if entries[0].startswith("GPU-"):
        return _by_uuid(boards, text.split(","))
    return _by_index(boards, entries, env)


def _mig_note(text: str) -> str:
    why = "the driver meters whole boards only, so a slice's energy can't be told from its neighbours'"
    return f"{VARIABLE}={_shown([text])} names a MIG slice: {why}"


def _by_uuid(boards: Sequence[BoardId], entries: Sequence[str]) -> Selection:
    prefixes = list(takewhile(lambda entry: entry.startswith("GPU-"), entries))
    if len(set(prefixes)) < len(prefixes):
        return _repeated(entries)
    chosen: list[BoardId] = []
    for entry in prefixes:
        matches = [board for board in boards if board.uuid.startswith(entry)]
        if len(matches) != 1:
            return _cut(chosen, entries, entry, "fits no board" if not matches else f"fits {len(matches)} boards")
        if matches[0] in chosen:
            return _repeated(entries)
        chosen.append(matches[0])
    if len(prefixes) < len(entries):
        return _cut(chosen, entries, entries[len(prefixes)], "is not the UUID of a board")
    return Selection(boards=tuple(chosen))


def _by_index(boards: Sequence[BoardId], entries: Sequence[str], env: Mapping[str, str]) -> Selection:
    indices = list(takewhile(lambda index: index >= 0, map(_leading_integer, entries)))
    if len(set(indices)) < len(indices):
        return _repeated(entries)
    known = list(takewhile(lambda index: index < len(boards), indices))
    chosen = [boards[index] for index in known]
    if not _indices_can_be_trusted(boards, chosen, env):
        return Selection(boards=(), notes=(_order_note(entries),))
    if len(known) < len(entries):
        return _cut(chosen, entries, entries[len(known)], "fits no board")
    return Selection(boards=tuple(chosen))


def _indices_can_be_trusted(boards: Sequence[BoardId], chosen: Sequence[BoardId], env: Mapping[str, str]) -> bool:
    # FASTEST_FIRST, CUDA's default, puts the fastest model first by a rule of its own and keeps bus order among equal boards.
    in_bus_order = env.get(ORDER_VARIABLE) == "PCI_BUS_ID" or len({board.name for board in boards}) <= 1
    is_complete = [board.index for board in boards] == list(range(len(boards)))
    return (in_bus_order and is_complete) or len(chosen) in (0, len(boards))


def _order_note(entries: Sequence[str]) -> str:
    why = "different models, or a board that doesn't answer"
    remedy = f"set {ORDER_VARIABLE}=PCI_BUS_ID or name the boards by UUID"
    return f"{VARIABLE}={_shown(entries)} counts boards in CUDA's own order, which can't be known here ({why}): {remedy}"


def _leading_integer(entry: str) -> int:
    """What C's strtoul makes of the entry (``1gpu`` is 1); -1 where it doesn't start with a number."""
    match = _INTEGER.match(entry)
    return int(match.group()) if match else -1


def _cut(chosen: Sequence[BoardId], entries: Sequence[str], entry: str, why: str) -> Selection:
    left = f"only the {len(chosen)} before it" if chosen else "no board"
    return Selection(
        boards=tuple(chosen), notes=(f"{VARIABLE}={_shown(entries)} ends at {entry!r}, which {why}: it leaves {left} visible",)
    )


def _repeated(entries: Sequence[str]) -> Selection:
    return Selection(boards=(), notes=(f"{VARIABLE}={_shown(entries)} names a board twice: CUDA then sees no board",))


def _shown(entries: Sequence[str]) -> str:
    """The value as one line of text, whatever it holds."""
    text = ",".join(entries)
    return text if text.isprintable() else ascii(text)
