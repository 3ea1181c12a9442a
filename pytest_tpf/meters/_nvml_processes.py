"""Who uses an NVIDIA board: the driver's process lists, matched with the process tree that is measured."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from pytest_tpf.meters._nvml_board import NvmlBoard
from pytest_tpf.meters._process_tree import family
from pytest_tpf.meters.protocol import BoardProcess

_PROC = Path("/proc")
_INITIAL_PID_NAMESPACE = "pid:[4026531836]"  # PROC_PID_INIT_INO of the kernel: the namespace whose numbers the driver uses


def board_processes(boards: Sequence[NvmlBoard], roots: Sequence[int], since_s: float) -> tuple[BoardProcess, ...]:
    """Every process on the boards, with its share of the board's time since ``since_s`` (perf_counter) where the driver tells.

    Inside a container process numbers are others than the driver's. Then nobody is said to be foreign, unless a process of the trees of
    ``roots`` is found in the lists all the same.
    """
    found = [process for board in boards for process in _on_board(board, since_s)]
    ours = family(*roots)
    if not (_numbers_are_the_drivers() or any(process.pid in ours for process in found)):
        return tuple(found)
    return tuple(_named(process, process.pid in ours) for process in found)


def _on_board(board: NvmlBoard, since_s: float) -> Iterator[BoardProcess]:
    used = _utilization(board, since_s)
    for pid, used_bytes in _listed(board).items():
        yield BoardProcess(domain=board.domain, device=board.id.uuid, pid=pid, used_memory_bytes=used_bytes, sm_utilization=used.get(pid))


def _listed(board: NvmlBoard) -> dict[int, int | None]:
    """Memory in use (bytes) by process number: those that compute, and those that draw."""
    found: dict[int, int | None] = {}
    for kind in ("Compute", "Graphics"):
        for version in ("_v3", "_v2", ""):
            listed = board.ask(f"nvmlDeviceGet{kind}RunningProcesses{version}")
            if listed is not None:
                for process in listed:
                    found.setdefault(int(process.pid), process.usedGpuMemory)
                break
    return found


def _utilization(board: NvmlBoard, since_s: float) -> dict[int, float]:
    """Share of the board's time by process number; a process that isn't there used none, or the driver doesn't tell."""
    since_us = int((time.time() - (time.perf_counter() - since_s)) * 1e6)
    samples = board.ask("nvmlDeviceGetProcessUtilization", max(since_us, 0)) or ()
    shares: dict[int, float] = {}
    for sample in samples:
        shares[int(sample.pid)] = max(shares.get(int(sample.pid), 0.0), min(sample.smUtil, 100) / 100)
    return shares


def _named(process: BoardProcess, own: bool) -> BoardProcess:
    return BoardProcess(
        domain=process.domain,
        device=process.device,
        pid=process.pid,
        name=_name(process.pid),
        used_memory_bytes=process.used_memory_bytes,
        sm_utilization=process.sm_utilization,
        own=own,
    )


def _name(pid: int) -> str | None:
    """Its short name; a command line may hold secrets and stays where it is."""
    try:
        return (_PROC / str(pid) / "comm").read_bytes().decode("utf-8", "replace").strip() or None
    except OSError:
        return None


def _numbers_are_the_drivers() -> bool:
    if sys.platform != "linux":
        return True
    try:
        return os.readlink(_PROC / "self" / "ns" / "pid") == _INITIAL_PID_NAMESPACE
    except OSError:
        return False
