"""What becomes of the requests of one run of a load: replies in order, and when each was to be sent, was sent, and ended."""

from __future__ import annotations

import dataclasses
import inspect
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from pytest_tpf.engines.intent import intended
from pytest_tpf.load.heartbeat import Beat
from pytest_tpf.load.plan import Job
from pytest_tpf.load.seen import LoadRun, Sent
from pytest_tpf.usage import refuse

_UNAWAITED = (
    "load(...): request {index} gave a coroutine although it is no coroutine function: give functools.partial(fn, ...) of a coroutine "
    "function, or send=fn, and await tpf.load(...)"
)

Keep = Callable[[LoadRun], None]
"""Takes what is known of a run when it is over, however it ended."""


class Sending:
    """One run of the list under way. Threads may use it together. ``broken``: what ended the run, where something did."""

    def __init__(self, job: Job) -> None:
        self.replies: list[Any] = [None] * len(job.calls)
        self.broken: BaseException | None = None
        self._sent: list[Sent | None] = [None] * len(job.calls)
        self._job = job
        self._lock = threading.Lock()
        self._intents_s: set[float] = set()

    @contextmanager
    def under_way(self, index: int, intended_s: float, due_s: float | None = None) -> Iterator[None]:
        """Around one request. What it raises becomes its reply; what isn't an ``Exception`` ends the run.

        ``due_s``: when it could be sent, where it had to wait for its turn.
        """
        intended_s = self._as_a_name(intended_s)
        sent = Sent(intended_s=intended_s, due_s=max(intended_s, due_s or 0.0), sent_s=time.perf_counter())
        self._sent[index] = sent
        failed = False
        with intended(intended_s):
            try:
                yield
            except Exception as error:
                self.replies[index], failed = error, True
        self._sent[index] = dataclasses.replace(sent, end_s=time.perf_counter(), failed=failed)

    def take(self, index: int, reply: Any) -> None:
        """The reply of the request under way. A coroutine is none, and is refused."""
        if inspect.iscoroutine(reply):
            reply.close()
            refuse(_UNAWAITED.format(index=index))
        self.replies[index] = reply

    def _as_a_name(self, at_s: float) -> float:
        """The next instant that no other request has: what engines report of a request is found by it."""
        with self._lock:
            while at_s in self._intents_s:
                at_s = math.nextafter(at_s, math.inf)
            self._intents_s.add(at_s)
        return at_s

    def run(self, beats: Sequence[Beat]) -> LoadRun:
        """What is known by now."""
        plan = self._job.plan
        return LoadRun(
            mode=plan.mode,
            concurrency=plan.concurrency,
            rate=plan.rate,
            arrival=plan.arrival,
            seed=plan.seed,
            sent=tuple(sent for sent in self._sent if sent is not None),
            beats=tuple(beats),
        )

    def checked_replies(self) -> list[Any]:
        """The replies, exceptions among them. Raises what ended the run, or the first exception where there is nothing else."""
        if self.broken is not None:
            raise self.broken
        if all(sent is not None and sent.failed for sent in self._sent):
            raise self.replies[0]
        return self.replies
