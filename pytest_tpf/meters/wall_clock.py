"""The machine's time of day beside ``time.perf_counter``, and whether it stepped. Recordings and servers speak in times of day."""

from __future__ import annotations

import time
from collections.abc import Callable

from pytest_tpf.records import record

STEP_S = 0.02
"""A move of the clock's offset by more than this, slewing aside, is a step."""
SLEW = 500e-6
"""How fast a clock that is being corrected may drift (s/s): the kernel's limit for NTP."""

_TRIES = 5


@record
class Offset:
    """Time of day minus ``perf_counter`` (s), within ``half_width_s``, as seen at ``t`` (perf_counter)."""

    t: float
    offset_s: float
    half_width_s: float


def wall_offset() -> Offset:
    """The offset now: the narrowest of a few readings of one clock between two of the other."""
    return min((_looked() for _ in range(_TRIES)), key=lambda offset: offset.half_width_s)


def moved_s(before: Offset, after: Offset) -> float | None:
    """How far the clock stepped between two looks (s); None where slewing and the width of the looks explain it."""
    step_s = after.offset_s - before.offset_s
    allowed_s = STEP_S + SLEW * abs(after.t - before.t) + before.half_width_s + after.half_width_s
    return step_s if abs(step_s) > allowed_s else None


class ClockWatch:
    """Looks at a clock now and then and remembers when it stepped. ``look_at``: gives the offset now."""

    def __init__(self, look_at: Callable[[], Offset] = wall_offset) -> None:
        self._look_at = look_at
        self._last: Offset | None = None
        self._steps: list[tuple[float, float]] = []

    def look(self) -> Offset:
        """The offset now. A step since the last look is remembered as having happened at any time until now."""
        now = self._look_at()
        step_s = moved_s(self._last, now) if self._last is not None else None
        if step_s is not None:
            self._steps.append((now.t, step_s))
        self._last = now
        return now

    def stepped_since(self, t: float) -> float | None:
        """The last step (s) that may have happened after ``t``, as far as looks have shown; None where there was none."""
        return next((step_s for until, step_s in reversed(self._steps) if until >= t), None)


def _looked() -> Offset:
    before = time.perf_counter()
    wall = time.time()
    after = time.perf_counter()
    return Offset(t=0.5 * (before + after), offset_s=wall - 0.5 * (before + after), half_width_s=0.5 * (after - before))
