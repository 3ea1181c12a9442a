"""Requests sent from threads: for functions that wait for their replies."""

from __future__ import annotations

import contextvars
import threading
import time
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Any

from pytest_tpf.load.heartbeat import Beat, beating
from pytest_tpf.load.plan import Job
from pytest_tpf.load.sending import Keep, Sending


def send_from_threads(job: Job, keep: Keep) -> list[Any]:
    """One run of the list; see ``Sending.checked_replies`` for what comes back. Returns when every request has ended.

    The threads are daemons: a run that is interrupted doesn't wait for replies that may never come.
    """
    sending, beats = Sending(job), list[Beat]()
    try:
        with beating(beats):
            threads = _by_turns(job, sending) if job.plan.mode == "closed" else _by_schedule(job, sending)
            for thread in threads:
                thread.join()
    except BaseException as error:
        sending.broken = error
        raise
    finally:
        keep(sending.run(beats))
    return sending.checked_replies()


def _by_turns(job: Job, sending: Sending) -> list[threading.Thread]:
    """So many threads, each with the next request as soon as it has a reply: that is when the next one is to be sent."""
    waiting: SimpleQueue[int] = SimpleQueue()
    for index in range(len(job.calls)):
        waiting.put(index)

    def work() -> None:
        while sending.broken is None:
            free_s = time.perf_counter()
            try:
                index = waiting.get_nowait()
            except Empty:
                return
            _send(job, sending, index, free_s)

    return [_started(work) for _ in range(min(job.plan.concurrency or 1, len(job.calls)))]


def _by_schedule(job: Job, sending: Sending) -> Sequence[threading.Thread]:
    """A thread for each request, at its time, or later where no more are allowed at a time."""
    plan, threads = job.plan, list[threading.Thread]()
    start_s = time.perf_counter()
    slots: SimpleQueue[float] = SimpleQueue()
    for _ in range(plan.concurrency or 0):
        slots.put(start_s)
    for index, after_s in enumerate(plan.send_times_s(len(job.calls))):
        intended_s = start_s + after_s
        due_s = max(intended_s, slots.get()) if plan.concurrency else intended_s
        time.sleep(max(0.0, due_s - time.perf_counter()))
        if sending.broken is not None:
            break
        threads.append(_started(_scheduled(job, sending, index, intended_s, due_s, slots)))
    return threads


def _scheduled(job: Job, sending: Sending, index: int, intended_s: float, due_s: float, slots: SimpleQueue[float]) -> Callable[[], None]:
    def work() -> None:
        _send(job, sending, index, intended_s, due_s)
        slots.put(time.perf_counter())

    return work


def _send(job: Job, sending: Sending, index: int, intended_s: float, due_s: float | None = None) -> None:
    try:
        with sending.under_way(index, intended_s, due_s):
            sending.take(index, job.calls[index]())
    except BaseException as error:
        sending.broken = error


def _started(work: Callable[[], None]) -> threading.Thread:
    """A thread in the context of the test, so that what it set is seen."""
    thread = threading.Thread(target=contextvars.copy_context().run, args=(work,), name="tpf-load", daemon=True)
    thread.start()
    return thread
