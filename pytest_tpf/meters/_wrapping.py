"""A counter that starts again from zero when it is full, read as one that never does. Pure but for the reading it is given."""

from __future__ import annotations

from collections.abc import Callable

from pytest_tpf.meters.protocol import ReadFault

# No processor package comes near this; what looks like more is a counter that was set back (resume from suspend), not one that was full.
IMPLAUSIBLE_W = 10_000.0
# Counters are updated in steps of a millisecond, so a very short interval may hold more than its share.
_SLACK_J = 10.0

MOST_W = 1_000.0
"""No package or board takes more than this for long: a counter that wasn't read for longer than it takes to fill at this power may have
been full any number of times."""


class WrappingCounter:
    """Joules since the first reading's zero, from a counter in microjoules that is full at ``range_uj``.

    Correct as long as it is read at least once in the time the counter takes to fill (262 kJ: eleven minutes at 400 W). A longer pause
    is a fault, so that no window is ever short of a whole range; the joules after it are right again.
    ``range_uj`` None: the range isn't known, so a falling counter can't be told from a reset and is a fault.
    """

    def __init__(self, name: str, read_uj: Callable[[], int], range_uj: int | None, clock_s: Callable[[], float]) -> None:
        """Reads the counter once; raises what ``read_uj`` raises."""
        self._name, self._read_uj, self._range_uj, self._clock_s = name, read_uj, range_uj, clock_s
        self._read_s, self._last_uj = clock_s(), read_uj()
        self._moved_s = self._read_s
        self._total_uj = self._last_uj

    def read_j(self) -> float:
        """Cumulative joules.

        Raises:
            ReadFault: ``counter_reset``: the counter fell and can't have been full. ``sampling_gap``: it wasn't read for so long that it
                may have been full more than once. What it counted meanwhile is lost; the next read goes on.
        """
        uj, now_s = self._read_uj(), self._clock_s()
        added_uj, unread_s, still_s = uj - self._last_uj, now_s - self._read_s, now_s - self._moved_s
        self._last_uj, self._read_s = uj, now_s
        if added_uj:
            self._moved_s = now_s
        if self._range_uj is not None and unread_s * MOST_W > self._range_uj / 1e6:
            text = f"the counter of {self._name} was not read for {unread_s:.0f} s, in which it may have been full"
            raise ReadFault("sampling_gap", text, passing=True)
        if added_uj < 0:
            added_uj = self._after_wrap_uj(added_uj, still_s)
        self._total_uj += added_uj
        return self._total_uj / 1e6

    def _after_wrap_uj(self, fallen_uj: int, elapsed_s: float) -> int:
        added_uj = fallen_uj + (self._range_uj or 0)
        if self._range_uj is None or not 0 <= added_uj <= (IMPLAUSIBLE_W * elapsed_s + _SLACK_J) * 1e6:
            text = f"the counter of {self._name} fell by {-fallen_uj / 1e6:.6g} J without having been full: it was set back"
            raise ReadFault("counter_reset", text, passing=True)
        return added_uj
