"""Small facts about this machine that a session needs: how busy it is. Linux only; None elsewhere."""

from __future__ import annotations

import time
from pathlib import Path

_STAT = Path("/proc/stat")


def cpu_busy_share(seconds: float) -> float | None:
    """Wait ``seconds`` and tell the share of the host's CPU time that was not idle meanwhile; None where it can't be told."""
    before = _cpu_ticks()
    time.sleep(seconds)
    after = _cpu_ticks()
    if before is None or after is None or (total := sum(after) - sum(before)) <= 0:
        return None
    idle = sum(after[3:5]) - sum(before[3:5])  # the fields idle and iowait of proc(5)
    return max(0.0, 1 - idle / total)


def _cpu_ticks() -> list[int] | None:
    try:
        return [int(word) for word in _STAT.read_text(encoding="ascii").split("\n", 1)[0].split()[1:9]]
    except (OSError, ValueError):
        return None
