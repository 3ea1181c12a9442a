"""CPU time of processes and everything they started, without the process that measures."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

from pytest_tpf.meters.protocol import MeterUnavailable

# How often new descendants are looked for; their CPU time counts from their start all the same.
RESCAN_S = 0.1

_PROC = Path("/proc")
_LARGEST_PID = 2**22  # PID_MAX_LIMIT of Linux; other systems stay far below


class CpuClocks(Protocol):
    """The system's side of a process tree."""

    def children(self, pid: int) -> Iterable[int]:
        """The direct children of ``pid``; none where it has gone."""

    def cpu_s(self, pid: int) -> float | None:
        """CPU time of ``pid`` (user + system, all threads; s); None where it has gone."""


class LinuxClocks:
    """Linux: every process has a CPU clock with nanosecond resolution, and lists its children in ``/proc``."""

    def cpu_s(self, pid: int) -> float | None:
        """CPU time of ``pid`` (s). The clock's number is the kernel's: ~pid in the upper bits, CPUCLOCK_SCHED (2) in the lower."""
        try:
            return time.clock_gettime((~pid << 3) | 2)
        except OSError:
            return None

    def children(self, pid: int) -> Iterable[int]:
        """The direct children of ``pid``, of whichever thread."""
        tasks = _PROC / str(pid) / "task"
        found: list[int] = []
        with contextlib.suppress(OSError):  # the process has ended
            for task in os.listdir(tasks):
                with contextlib.suppress(OSError):  # the thread has ended
                    found += map(int, (tasks / task / "children").read_text().split())
        return found


class PsutilClocks:
    """Elsewhere: what psutil gives, at the system's resolution."""

    def __init__(self) -> None:
        """Raises MeterUnavailable where psutil isn't installed."""
        try:
            self._psutil: Any = importlib.import_module("psutil")
        except ImportError:
            raise MeterUnavailable(f"the estimate needs psutil on {sys.platform}: pip install psutil") from None

    def cpu_s(self, pid: int) -> float | None:
        """CPU time of ``pid`` (s)."""
        try:
            times = self._psutil.Process(pid).cpu_times()
        except self._psutil.Error:
            return None
        return float(times.user + times.system)

    def children(self, pid: int) -> Iterable[int]:
        """The direct children of ``pid``."""
        try:
            return [child.pid for child in self._psutil.Process(pid).children()]
        except self._psutil.Error:
            return []


def system_clocks() -> CpuClocks:
    """The clocks of this system.

    Raises:
        MeterUnavailable: this isn't Linux and psutil isn't installed.
    """
    if sys.platform == "linux" and (_PROC / "self" / "task" / str(os.getpid()) / "children").exists():
        return LinuxClocks()
    return PsutilClocks()


def family(*roots: int) -> frozenset[int]:
    """``roots`` and their descendants as they are now; only ``roots`` where this system doesn't tell."""
    try:
        clocks = system_clocks()
    except MeterUnavailable:
        return frozenset(roots)
    members, waiting = set[int](), [*roots]
    while waiting:
        pid = waiting.pop()
        if pid not in members:
            members.add(pid)
            waiting.extend(clocks.children(pid))
    return frozenset(members)


def why_not_followed(pid: int) -> str | None:
    """Why a process can't be followed, or its sockets not be seen, in one line; None where it can."""
    try:
        if not 0 < pid <= _LARGEST_PID or system_clocks().cpu_s(pid) is None:
            return f"there is no process {pid}"
        if (_PROC / str(pid)).exists():
            os.listdir(_PROC / str(pid) / "fd")
    except PermissionError:
        return f"process {pid} belongs to somebody else, and its sockets can't be seen: run pytest as its user"
    except (OSError, MeterUnavailable) as error:
        return f"process {pid} can't be followed: {error}"
    return None


class ProcessTree:
    """CPU time of ``roots`` and their descendants since it was made (s), without this process and its own descendants.

    Descendants that already ran count from now on, new ones from their start. One that ends keeps its last reading: what it used after
    that (at most the pause between two readings) is lost.
    """

    def __init__(self, roots: Sequence[int], clocks: CpuClocks, clock_s: Callable[[], float] = time.perf_counter) -> None:
        """Raises MeterUnavailable where one of ``roots`` isn't a process."""
        for root in roots:
            if clocks.cpu_s(root) is None:
                raise MeterUnavailable(f"the process to follow ({root}) isn't running")
        self._roots, self._clocks, self._clock_s = tuple(roots), clocks, clock_s
        self._last_s = {pid: cpu for pid in self._members() if (cpu := clocks.cpu_s(pid)) is not None}
        self._sum_s = 0.0
        self._scanned_at = clock_s()

    def busy_s(self) -> float:
        """CPU seconds so far; never falls."""
        if self._clock_s() - self._scanned_at >= RESCAN_S:
            self._scanned_at = self._clock_s()
            for pid in self._members():
                self._last_s.setdefault(pid, 0.0)
        for pid, last_s in list(self._last_s.items()):
            self._advance(pid, last_s)
        return self._sum_s

    def _advance(self, pid: int, last_s: float) -> None:
        now_s = self._clocks.cpu_s(pid)
        if now_s is None or now_s < last_s:  # gone, or its number was given to another process, which is found again if it is ours
            del self._last_s[pid]
        else:
            self._sum_s += now_s - last_s
            self._last_s[pid] = now_s

    def _members(self) -> list[int]:
        """The trees as they are now; a process in two of them is there once."""
        members, waiting, own = dict[int, None](), [*self._roots], os.getpid()
        while waiting:
            pid = waiting.pop()
            if pid != own and pid not in members:
                members[pid] = None
                waiting.extend(self._clocks.children(pid))
        return list(members)
