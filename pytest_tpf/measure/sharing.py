"""Who else was on the boards? A board's counter doesn't tell whose joules it counts. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pytest_tpf.meters.protocol import BoardProcess
from pytest_tpf.records import ForeignProcess, record

COMPUTES = 0.05
"""Share of the board's time from which on a process is said to compute."""


@record
class Sharing:
    """``foreign`` are all processes of others; ``shared``: what was shared with whom, and ``unmatched``: boards whose processes can't be
    told apart, one line each.
    """

    foreign: tuple[ForeignProcess, ...] = ()
    shared: tuple[str, ...] = ()
    unmatched: tuple[str, ...] = ()


def sharing(before: Iterable[BoardProcess], after: Iterable[BoardProcess]) -> Sharing:
    """From who was on the boards just before a test and who was (or had been) there just after it.

    A board is shared where a foreign process computed or came during the test, or left it after having computed. Where the test's own
    processes are not on the board at all, its engine is a server started elsewhere: one foreign process that computes is then taken for
    it, and only a second one shares.
    """
    earlier, later = tuple(before), tuple(after)
    seen_before, still_there = ({(process.device, process.pid) for process in seen} for seen in (earlier, later))
    gone = [p for p in earlier if (p.device, p.pid) not in still_there and (p.sm_utilization or 0.0) > COMPUTES]
    by_device: dict[str, list[BoardProcess]] = {}
    for process in (*later, *gone):
        by_device.setdefault(process.device, []).append(process)
    boards = [_on_board(processes, seen_before) for processes in by_device.values()]
    return Sharing(
        foreign=tuple(_described(process) for processes in by_device.values() for process in processes if process.own is False),
        shared=tuple(line for shared, _ in boards for line in shared),
        unmatched=tuple(line for _, unmatched in boards for line in unmatched),
    )


def _on_board(processes: Sequence[BoardProcess], seen_before: set[tuple[str, int]]) -> tuple[list[str], list[str]]:
    unknown = [process for process in processes if process.own is None]
    active = [process for process in processes if process.own is False and _is_active(process, seen_before)]
    is_ours = any(process.own for process in processes)
    names = ", ".join(_name(process) for process in active)
    domain = processes[0].domain
    shared = [f"{domain} also served {names}: its energy is an upper bound"] if active and (is_ours or len(active) > 1) else []
    unmatched = [f"{len(unknown)} processes are on {domain} and this container can't tell which are the test's"] if len(unknown) > 1 else []
    return shared, unmatched


def _is_active(process: BoardProcess, seen_before: set[tuple[str, int]]) -> bool:
    came = (process.device, process.pid) not in seen_before
    return came or (process.sm_utilization or 0.0) > COMPUTES


def _name(process: BoardProcess) -> str:
    used = f", {process.sm_utilization:.0%} of its time" if process.sm_utilization is not None else ""
    return f"{process.name or 'a process'} (pid {process.pid}{used})"


def _described(process: BoardProcess) -> ForeignProcess:
    return ForeignProcess(
        device=process.device,
        pid=process.pid,
        name=process.name,
        used_memory_bytes=process.used_memory_bytes,
        sm_utilization=process.sm_utilization,
    )
