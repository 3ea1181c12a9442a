"""Noticing that the machine slept: CLOCK_BOOTTIME goes on meanwhile, CLOCK_MONOTONIC, which all readings carry, does not."""

from __future__ import annotations

import time

_LEAST_S = 0.1
_BOOTTIME: int | None = getattr(time, "CLOCK_BOOTTIME", None)


class SuspendWatch:
    """Compares the two clocks each time it is asked; where there is no CLOCK_BOOTTIME nothing is noticed."""

    def __init__(self) -> None:
        self._asleep_s = _asleep_s()[1]

    def slept_s(self) -> float | None:
        """How long the machine has slept since the last look (s), None where it hasn't."""
        least, most = _asleep_s()
        slept_s = least - self._asleep_s
        self._asleep_s = min(self._asleep_s, most) if slept_s < _LEAST_S else most
        return slept_s if slept_s >= _LEAST_S else None


def _asleep_s() -> tuple[float, float]:
    """Bounds of the time (s) that this machine slept since it started: the two clocks can't be read at one instant."""
    if _BOOTTIME is None:
        return 0.0, 0.0
    before, boot, after = time.monotonic(), time.clock_gettime(_BOOTTIME), time.monotonic()
    return boot - after, boot - before
