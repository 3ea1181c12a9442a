"""What one channel showed so far, in three arrays of numbers: cheap to keep, to cut and to send."""

from __future__ import annotations

import bisect
import itertools
from array import array

CAPACITY = 400_000
"""Readings kept of a channel (about 10 MB): more than an hour of RAPL at 10 ms."""

_KEPT_BEFORE = 4  # readings kept before the instant that is asked for: the curve looks at its neighbours,
_KEPT_BEFORE_S = 1.5  # or those of this time: a gauge that averages over a second shows what was before
_RECENT = 64


class ChannelLog:
    """Brackets and values in the order of time, and the faults of the channel."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._lo, self._hi, self._values = array("d"), array("d"), array("d")
        self.faults: list[tuple[float, str, str]] = []

    def __len__(self) -> int:
        return len(self._lo)

    def add(self, lo: float, hi: float, value: float) -> None:
        """Append a reading; beyond the capacity the older half goes, with a fault where it ended."""
        if len(self._lo) >= self._capacity:
            half = self._capacity // 2
            self.faults.append((self._hi[half - 1], "history_dropped", f"more than {self._capacity} readings: the oldest were dropped"))
            self._drop(half)
        self._lo.append(lo)
        self._hi.append(hi)
        self._values.append(value)

    def add_fault(self, t: float, code: str, text: str) -> None:
        """Note what went wrong; the same again without a reading in between is no news."""
        is_news = not self.faults or self.faults[-1][1:] != (code, text) or self.count_after(self.faults[-1][0])
        if is_news:
            self.faults.append((t, code, text))

    def forget_before(self, t: float) -> None:
        """Drop what no window that starts at ``t`` or later needs."""
        self._drop(self._first_for(t))
        self.faults = self.faults_around(t)

    def faults_around(self, t0: float) -> list[tuple[float, str, str]]:
        """The faults that a window from ``t0`` on may care about: those since the last reading before it, or the last one of a channel
        that shows nothing since.
        """
        before = bisect.bisect_right(self._hi, t0) - 1
        since = self._lo[before] if before >= 0 else t0
        return [fault for fault in self.faults if fault[0] >= since] or ([] if self.count_after(t0) else self.faults[-1:])

    def count_after(self, t: float) -> int:
        """How many readings lie wholly after ``t``."""
        return len(self._lo) - bisect.bisect_left(self._lo, t)

    def between(self, t0: float, t1: float) -> tuple[bytes, bytes, bytes]:
        """The readings around (t0, t1) as raw doubles, with enough on either side to know the curve at both ends."""
        first = self._first_for(t0)
        last = max(bisect.bisect_left(self._lo, t1) + _KEPT_BEFORE, bisect.bisect_right(self._lo, t1 + _KEPT_BEFORE_S))
        return self._lo[first:last].tobytes(), self._hi[first:last].tobytes(), self._values[first:last].tobytes()

    def period_and_jitter_s(self) -> tuple[float | None, float | None]:
        """Median spacing of recent readings and its scatter (1.4826 x median absolute deviation, a standard deviation if normal)."""
        middles = [0.5 * (lo + hi) for lo, hi in zip(self._lo[-_RECENT:], self._hi[-_RECENT:], strict=True)]
        spacings = sorted(b - a for a, b in itertools.pairwise(middles))
        if len(spacings) < 3:
            return None, None
        period_s = spacings[len(spacings) // 2]
        return period_s, 1.4826 * sorted(abs(s - period_s) for s in spacings)[len(spacings) // 2]

    def _first_for(self, t: float) -> int:
        return max(min(bisect.bisect_right(self._hi, t) - _KEPT_BEFORE, bisect.bisect_left(self._lo, t - _KEPT_BEFORE_S)), 0)

    def _drop(self, count: int) -> None:
        del self._lo[:count], self._hi[:count], self._values[:count]
