"""Requests sent from tasks of the running event loop: for coroutine functions."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from pytest_tpf.load.heartbeat import Beat, beating
from pytest_tpf.load.plan import Job
from pytest_tpf.load.sending import Keep, Sending


async def send_from_tasks(job: Job, keep: Keep) -> list[Any]:
    """One run of the list; see ``Sending.checked_replies`` for what comes back. Returns when every request has ended."""
    sending, beats = Sending(job), list[Beat]()
    try:
        with beating(beats, asyncio.get_running_loop().call_soon_threadsafe):
            async with asyncio.TaskGroup() as group:
                await (_by_turns if job.plan.mode == "closed" else _by_schedule)(job, sending, group)
    except BaseExceptionGroup as errors:
        sending.broken = errors.exceptions[0]
    finally:
        keep(sending.run(beats))
    return sending.checked_replies()


async def _by_turns(job: Job, sending: Sending, group: asyncio.TaskGroup) -> None:
    """So many tasks, each with the next request as soon as it has a reply: that is when the next one is to be sent."""
    waiting = iter(range(len(job.calls)))

    async def work() -> None:
        free_s = time.perf_counter()
        for index in waiting:
            await _send(job, sending, index, free_s)
            free_s = time.perf_counter()

    for _ in range(min(job.plan.concurrency or 1, len(job.calls))):
        group.create_task(work())


async def _by_schedule(job: Job, sending: Sending, group: asyncio.TaskGroup) -> None:
    """A task for each request, at its time, or later where no more are allowed at a time."""
    plan, start_s = job.plan, time.perf_counter()
    slots: asyncio.Queue[float] = asyncio.Queue()
    for _ in range(plan.concurrency or 0):
        slots.put_nowait(start_s)

    async def work(index: int, intended_s: float, due_s: float) -> None:
        await _send(job, sending, index, intended_s, due_s)
        slots.put_nowait(time.perf_counter())

    for index, after_s in enumerate(plan.send_times_s(len(job.calls))):
        intended_s = start_s + after_s
        due_s = max(intended_s, await slots.get()) if plan.concurrency else intended_s
        await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
        group.create_task(work(index, intended_s, due_s))


async def _send(job: Job, sending: Sending, index: int, intended_s: float, due_s: float | None = None) -> None:
    with sending.under_way(index, intended_s, due_s):
        sending.take(index, await _reply(job, index))


async def _reply(job: Job, index: int) -> Any:
    """A request that was cancelled by itself has failed as others do, so it has a task of its own; with the test all are cancelled."""
    try:
        return await asyncio.ensure_future(job.calls[index]())
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise Cancelled("the request cancelled itself") from error


class Cancelled(Exception):
    """The reply of a request that was cancelled, but not with its test."""
