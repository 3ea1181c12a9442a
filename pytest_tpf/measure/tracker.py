"""When to read a channel next. Pure: it is told what a read gave and says when the next one is due.

A stepped counter is followed like a clock: once its refresh is known, the sampler sleeps until just before the next edge is expected and
reads ever more densely until it comes. Edges are then known to a few tenths of a millisecond for a few reads a refresh.
"""

from __future__ import annotations

from collections import deque

DENSE_S = 0.0003
"""Pause between reads while an edge is expected (s)."""

_LEAST_GUARD_S = 0.003  # reading starts at least this long before the expected edge: wake-ups come late on a busy machine
_GUARD_GROWTH, _GUARD_DECAY = 2.0, 0.99  # an edge that came unseen costs a wide bracket; a few reads too many cost little
_SEEN_SHARE = 0.1  # a bracket wider than this share of the refresh tells little about when the edge came
_UNSEEN_LIMIT = 4
_SPACINGS = 15
_FLOWING_S = 0.005  # a counter that changes faster than this isn't stepped: it is read as it goes
_FLOWING_POLL_S = 0.01
_IDLE_PERIODS = 20  # a counter that stood still this long is probed at leisure

Reading = tuple[float, float, float]
"""Instant before, instant after, value: what is recorded of a read (for a stepped counter: the bracket of an edge)."""


class PolledTracker:
    """A channel that is read as it goes, every ``poll_s``."""

    def __init__(self, poll_s: float) -> None:
        self._poll_s = max(poll_s, 0.001)
        self.due = 0.0

    def restart(self, now: float) -> None:
        """Sampling begins (again)."""
        self.due = now

    def observe(self, begin: float, end: float, value: float) -> Reading | None:
        """Every reading is kept. Late reads don't pile up: the next one is a whole pause away."""
        self.due = max(self.due + self._poll_s, end + 0.5 * self._poll_s)
        return begin, end, value


class SteppedTracker:
    """A counter that holds still and then jumps; ``observe`` returns an edge when it has."""

    def __init__(self, probe_s: float) -> None:
        self._probe_s = max(probe_s, DENSE_S)
        self._spacings: deque[float] = deque(maxlen=_SPACINGS)
        self.period_s: float | None = None
        self.flowing = False
        self.guard_s = _LEAST_GUARD_S
        self.restart(0.0)

    def restart(self, now: float) -> None:
        """Sampling begins (again): the refresh is still known, when the next edge comes is not."""
        self.due = now
        self._value: float | None = None
        self._old_begin = now
        self._last_edge: float | None = None  # the best guess, for telling the next
        self._last_middle = now
        self._unseen = 0

    def observe(self, begin: float, end: float, value: float) -> Reading | None:
        """What a read between ``begin`` and ``end`` means: the bracket and value of an edge, or None. Sets ``due``."""
        if self.flowing:
            self.due = end + _FLOWING_POLL_S
            return begin, end, value
        if self._value is None or value == self._value:
            self._value, self._old_begin = value, begin
            self._schedule(end)
            return None
        edge = (self._old_begin, end, value)
        self._learn(self._old_begin, end)
        self._value, self._old_begin = value, begin
        self._schedule(end)
        return edge

    def _learn(self, lo: float, hi: float) -> None:
        seen_coming = self.period_s is None or hi - lo < _SEEN_SHARE * self.period_s
        told_little = self.period_s is not None and hi - lo > 0.5 * self.period_s
        edge = 0.5 * (lo + hi) if seen_coming else self._expected_within(lo, hi)
        if self._last_edge is not None:
            self._learn_guard(seen_coming)
            if not told_little:
                self._learn_period(0.5 * (lo + hi) - self._last_middle)
        self._last_edge, self._last_middle = edge, 0.5 * (lo + hi)
        self._unseen = self._unseen + 1 if told_little else 0
        if self._unseen >= _UNSEEN_LIMIT:  # the refresh isn't what it was taken to be
            self._spacings.clear()
            self.period_s, self._unseen = None, 0

    def _expected_within(self, lo: float, hi: float) -> float:
        """An edge that came unseen happened when it was expected, as far as its bracket allows: so the next one isn't missed too."""
        if self._last_edge is None or self.period_s is None:
            return 0.5 * (lo + hi)
        refreshes = max((hi - self._last_edge + DENSE_S) // self.period_s, 1)  # the last refresh before the read that saw it
        return min(max(self._last_edge + refreshes * self.period_s, lo), hi)

    def _learn_period(self, spacing_s: float) -> None:
        self._spacings.append(spacing_s)
        ordered = sorted(self._spacings)
        self.period_s = ordered[len(ordered) // 2] if len(ordered) >= 3 else None
        self.flowing = self.period_s is not None and self.period_s < _FLOWING_S

    def _learn_guard(self, seen_coming: bool) -> None:
        if self.period_s is not None:
            grown, shrunk = self.guard_s * _GUARD_GROWTH, self.guard_s * _GUARD_DECAY
            self.guard_s = max(shrunk, _LEAST_GUARD_S) if seen_coming else min(grown, self.period_s / 3)

    def _schedule(self, now: float) -> None:
        if self.period_s is None or self._last_edge is None:
            self.due = now + self._probe_s
            return
        waited_s = now - self._last_edge
        if waited_s > _IDLE_PERIODS * self.period_s:
            self.due = now + max(self._probe_s, self.period_s / 4)
            return
        # A refresh that brought the same value (no power, coarse steps) shows no edge: the next one is a period on, less surely known.
        refreshes = 1
        while waited_s > refreshes * self.period_s + 2 * self._guard_after(refreshes):
            refreshes += 1
        expected, guard_s = self._last_edge + refreshes * self.period_s, self._guard_after(refreshes)
        pause_s = max(DENSE_S, 0.05 * guard_s)
        # Halving the way to the expected edge: a late wake-up on the way costs a bracket as wide as it was early, for a handful of reads.
        self.due = max(expected - guard_s, now + pause_s, now + 0.5 * (expected - now))

    def _guard_after(self, refreshes: int) -> float:
        return min(self.guard_s * refreshes, (self.period_s or 0.0) / 3)
