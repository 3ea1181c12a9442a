"""A load run as often as a measurement wants, or once where nothing is measured."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Generator
from contextlib import closing
from typing import Any

from pytest_tpf.load.plan import Job
from pytest_tpf.load.sending import Keep, Sending

Steps = Generator[None, None, None]


def measured(job: Job, steps: Steps, keep: Keep) -> list[Any] | Awaitable[list[Any]]:
    """The replies of the last run, one run a step; something to await where the requests are coroutine functions."""
    return _awaited(job, steps, keep) if job.is_async else _called(job, steps, keep)


def straight_through(job: Job) -> list[Any] | Awaitable[list[Any]]:
    """Every request once, one after the other, in the caller's thread or loop; replies and exceptions as in a load."""
    return _one_by_one_awaited(job) if job.is_async else _one_by_one(job)


def _called(job: Job, steps: Steps, keep: Keep) -> list[Any]:
    from pytest_tpf.load.threads import send_from_threads

    replies: list[Any] = []
    with closing(steps):
        for _ in steps:
            replies = send_from_threads(job, keep)
    return replies


async def _awaited(job: Job, steps: Steps, keep: Keep) -> list[Any]:
    from pytest_tpf.load.tasks import send_from_tasks

    replies: list[Any] = []
    with closing(steps):
        for _ in steps:
            replies = await send_from_tasks(job, keep)
    return replies


def _one_by_one(job: Job) -> list[Any]:
    sending = Sending(job)
    for index, call in enumerate(job.calls):
        with sending.under_way(index, time.perf_counter()):
            sending.take(index, call())
    return sending.checked_replies()


async def _one_by_one_awaited(job: Job) -> list[Any]:
    sending = Sending(job)
    for index, call in enumerate(job.calls):
        with sending.under_way(index, time.perf_counter()):
            sending.take(index, await call())
    return sending.checked_replies()
