"""Channels that tell afterwards what they read around a window (a server, a recording), asked beside the loop that reads live counters.

Each channel has one worker thread, because asking may wait for a network; the loop learns through a pipe that an answer came. Whatever a
source does, every question gets an answer by its deadline: an error becomes a fault, silence becomes ``source_late``.
"""

from __future__ import annotations

import contextlib
import math
import os
import queue
import threading
import time
from array import array
from collections.abc import Callable

from pytest_tpf.measure.channel_log import ChannelLog
from pytest_tpf.meters.protocol import Channel, History, ReadFault
from pytest_tpf.meters.wall_clock import ClockWatch

_LEAST_PAUSE_S = 0.01

_now = time.perf_counter


class Question:
    """A window that a source is asked about. ``answer`` is the best it has said so far; ``done`` once it has nothing to add."""

    def __init__(self, t0: float, t1: float, deadline: float) -> None:
        self.t0, self.t1, self.deadline = t0, t1, deadline
        self.answer: History | None = None
        self.done = False

    @property
    def over(self) -> bool:
        """Nothing better is waited for."""
        return self.done or _now() >= self.deadline

    def settled(self, source: str) -> History:
        """The answer to give now."""
        if self.answer is not None:
            return self.answer
        waited_s = self.deadline - self.t1
        text = f"{source} did not answer within {waited_s:.0f} s of the window's end"
        return History(faults=((self.t1, "source_late", text),), complete=False)


class HistoryReader:
    """One channel that is asked afterwards. ``ready`` is called, in the worker thread, when a question is done."""

    def __init__(self, channel: Channel, ready: Callable[[], None] = lambda: None) -> None:
        assert channel.history is not None
        self.info = channel.info
        self._history, self._ready = channel.history, ready
        self._questions: queue.SimpleQueue[Question] = queue.SimpleQueue()
        self._worker: threading.Thread | None = None
        self._watch = ClockWatch()
        self._period_s: float | None = None
        self._jitter_s: float | None = None
        self._calls, self._calling_s = 0, 0.0

    def arm(self) -> None:
        """A window may begin: from here on the machine's clock is watched for steps. Asks nothing."""
        if self.info.wall_clock:
            self._watch.look()

    def ask(self, t0: float, t1: float) -> Question:
        """Ask about a window without waiting. It is repeated every ``poll_s`` until complete, or too late."""
        question = Question(t0, t1, max(_now(), t1) + self.info.patience_s)
        self._questions.put(question)
        if self._worker is None:
            self._worker = threading.Thread(target=self._work, name=f"history {self.info.domain}", daemon=True)
            self._worker.start()
        return question

    def row(self, question: Question) -> tuple[bytes, bytes, bytes, list[tuple[float, str, str]], float | None, float | None]:
        """What is known of a question's window, laid out like a live channel's readings."""
        history = self._trusted(question, question.settled(self.info.source))
        # Only finite readings count, as for live channels.
        readings = [r for r in history.readings if math.isfinite(r.t_lo) and math.isfinite(r.t_hi) and math.isfinite(r.value)]
        log = ChannelLog()
        for reading in readings:
            log.add(reading.t_lo, reading.t_hi, reading.value)
        period_s, jitter_s = log.period_and_jitter_s()
        self._period_s, self._jitter_s = history.period_s or period_s or self._period_s, jitter_s or self._jitter_s
        columns = [array("d", column).tobytes() for column in zip(*((r.t_lo, r.t_hi, r.value) for r in readings), strict=True)]
        lo, hi, values = columns or (b"", b"", b"")
        return lo, hi, values, [*history.faults], self._period_s, self._jitter_s

    def stats(self) -> tuple[float | None, float | None, float | None]:
        """Refresh period and jitter as last seen, and how long an answer took on average (s)."""
        return self._period_s, self._jitter_s, self._calling_s / self._calls if self._calls else None

    def _trusted(self, question: Question, history: History) -> History:
        """Readings placed by a clock that stepped since the window lie somewhere else: there are none then, but a fault."""
        if not self.info.wall_clock:
            return history
        self._watch.look()
        step_s = self._watch.stepped_since(question.t0)
        if step_s is None:
            return history
        text = f"the machine's clock stepped by {step_s:+.3f} s during the window: readings of {self.info.source} can't be placed"
        return History(faults=((question.t1, "clock_stepped", text),), complete=False)

    def _work(self) -> None:
        while True:
            question = self._questions.get()
            while not question.over:
                self._ask_once(question)
                if not question.done:
                    time.sleep(max(min(self.info.poll_s, question.deadline - _now()), _LEAST_PAUSE_S))
            question.done = True
            self._ready()

    def _ask_once(self, question: Question) -> None:
        begin = _now()
        try:
            question.answer = self._history(question.t0, question.t1)
            question.done = question.answer.complete
        except ReadFault as fault:
            self._failed(question, fault.code, str(fault))
        except Exception as error:  # a meter's own mistake must not end the others
            self._failed(question, "counter_unreadable", f"{self.info.source}: {type(error).__name__}: {error}")
        self._calls, self._calling_s = self._calls + 1, self._calling_s + _now() - begin

    def _failed(self, question: Question, code: str, text: str) -> None:
        """A fault ends the question; readings that came before it are kept."""
        readings = question.answer.readings if question.answer is not None else ()
        question.answer = History(readings=readings, faults=((question.t1, code, text),), complete=False)
        question.done = True


class Bell:
    """A pipe that wakes a ``select`` from another thread."""

    def __init__(self) -> None:
        self.fd, self._ringing_fd = os.pipe()
        os.set_blocking(self.fd, False)
        os.set_blocking(self._ringing_fd, False)

    def ring(self) -> None:
        """Make ``fd`` readable; more often is no louder."""
        with contextlib.suppress(BlockingIOError):
            os.write(self._ringing_fd, b"!")

    def heard(self) -> None:
        """Make ``fd`` quiet again."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.fd, 4096)
