"""Another machine's ``perf_counter`` beside ours, from round trips. Pure.

A node is asked for its clock; it looked at it somewhere between the question and the answer, so its clock is ahead of ours by that reading
less the middle, within half of the round trip (NTP, RFC 5905, section 8; of several the quickest tells most). ``perf_counter`` is never
set, so a step of a node's time of day does no harm. It runs at a rate of its own, which is why looks are repeated.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable

from pytest_tpf.records import record

_KEPT = 10_000  # looks: a day and more


@record
class Look:
    """At ``t`` of our clock (s) the node's was ahead by ``ahead_s``, within ``half_width_s``."""

    t: float
    ahead_s: float
    half_width_s: float


def quickest(round_trips: Iterable[tuple[float, float, float]]) -> Look:
    """What (our clock before, the node's clock, our clock after) tell of the node's clock: those of the shortest round trip."""
    asked, told, answered = min(round_trips, key=lambda trip: trip[2] - trip[0])
    middle = 0.5 * (asked + answered)
    return Look(t=middle, ahead_s=told - middle, half_width_s=0.5 * (answered - asked))


class NodeClock:
    """The looks at one node's clock, in the order of time."""

    def __init__(self) -> None:
        self._looks: list[Look] = []

    def add(self, look: Look) -> None:
        """Remember a look that is later than all before."""
        self._looks.append(look)
        del self._looks[:-_KEPT]

    def during(self, t0: float, t1: float) -> Look:
        """How far the node was ahead between two instants of ours: as far as any look says from the last one before to the first after.

        Between two looks the clocks drift apart or together, and do not go there and back: the node was ahead by what one of them says, or
        by something in between. Before the first look and after the last one nothing is known, and the nearest is taken. Raises ValueError
        where there was no look.
        """
        if not self._looks:
            raise ValueError("nobody has looked at this clock")
        first = max(bisect.bisect_right(self._looks, t0, key=lambda look: look.t) - 1, 0)
        last = min(bisect.bisect_left(self._looks, t1, key=lambda look: look.t), len(self._looks) - 1)
        looks = self._looks[min(first, last) : last + 1]
        least = min(look.ahead_s - look.half_width_s for look in looks)
        most = max(look.ahead_s + look.half_width_s for look in looks)
        return Look(t=0.5 * (t0 + t1), ahead_s=0.5 * (least + most), half_width_s=0.5 * (most - least))
