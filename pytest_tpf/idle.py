"""Idle power through a run: taken before a measured test, again when it is old, and tried again where the machine wasn't idle."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

from pytest_tpf.evaluate.context import IdlePower
from pytest_tpf.evaluate.idle import may_settle

FRESH_S = 60.0
"""Idle power is taken again before a test that starts so much later: a board that warmed up, or holds a model, idles higher."""

RETRY_S = 30.0
_EAGER_TRIES = 3


class IdleWatch:
    """The run's idle power. ``take`` measures it now, which takes a moment.

    It is that of a set of processes: a server that was started meanwhile, or has gone, holds its model or holds it no more, so that what
    was idle power before says nothing of now.
    """

    def __init__(self, take: Callable[[], IdlePower], clock_s: Callable[[], float] = time.perf_counter) -> None:
        self._take, self._clock_s = take, clock_s
        self._first_w: float | None = None
        self._failures = 0
        self._due_s = float("-inf")
        self._present: frozenset[int] | None = None
        self.latest: IdlePower | None = None
        """The newest known idle power, else why it isn't known; None before the first try."""

    def refresh(self, present: frozenset[int] = frozenset()) -> None:
        """Before a test: take idle power where it isn't known, or old, or was that of other processes than are ``present``."""
        if present != self._present:
            self._present, self._due_s, self._first_w, self.latest = present, float("-inf"), None, None
        if self._clock_s() < self._due_s:
            return
        found = self._settled()
        if found.total_w is None:
            self._failures += 1
            self._due_s = self._clock_s() + (RETRY_S if self._failures >= _EAGER_TRIES else 0.0)
            # One that was known goes on to serve; only where none was, the reason is news.
            self.latest = found if self.latest is None or self.latest.total_w is None else self.latest
        else:
            self._due_s = self._clock_s() + FRESH_S
            self.latest = dataclasses.replace(found, earlier_w=self._first_w)
            self._first_w = found.total_w if self._first_w is None else self._first_w

    def _settled(self) -> IdlePower:
        """After a load power fades for a moment: try again at once, a few times."""
        found = self._take()
        for _ in range(_EAGER_TRIES - 1):
            if not may_settle(found):
                break
            found = self._take()
        return found
