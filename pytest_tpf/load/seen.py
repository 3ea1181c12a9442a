"""What was seen of one run of a load: data, and which requests of engines belong to which request of the load. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal

from pytest_tpf.engines.protocol import Generation, Request
from pytest_tpf.load.heartbeat import Beat
from pytest_tpf.load.schedule import Arrival
from pytest_tpf.records import record

if TYPE_CHECKING:
    from pytest_tpf.observation import Counts


@record
class Sent:
    """One request of a load. Instants are ``time.perf_counter()`` seconds.

    ``intended_s``: when it was to be sent; no two of a run have the same. ``due_s``: when it could be: later where no more were allowed at
    a time. ``end_s``: when its function returned or raised (``failed``); None where the run ended before.
    ``requests``: what observed engines told of it, ``output_tokens``: all that they or the test counted in it. ``is_read``: whether a
    reply was read by the client, as a server's is; the times of an engine in this process are its own.
    """

    intended_s: float
    due_s: float
    sent_s: float
    end_s: float | None = None
    failed: bool = False
    requests: tuple[Request, ...] = ()
    output_tokens: int = 0
    is_read: bool = True


@record
class LoadRun:
    """One run of a load's list: how it was sent, each request that was, in the order of the list, and the client's heartbeat.

    ``concurrency``, ``rate``, ``arrival`` and ``seed`` are those of ``load.plan.Plan``.
    """

    mode: Literal["closed", "open"]
    concurrency: int | None
    rate: float | None
    arrival: Arrival | None
    seed: int | None
    sent: tuple[Sent, ...]
    beats: tuple[Beat, ...] = ()


def linked(run: LoadRun, generations: Iterable[Generation], declared: Iterable[Counts]) -> tuple[LoadRun, tuple[Generation, ...]]:
    """The run with what was generated and declared in each of its requests, found by their intended instant; and the generations.

    A request may call engines more than once, one after the other: the times of the later calls count from their own start.
    """
    calls: dict[float, list[Generation]] = {sent.intended_s: [] for sent in run.sent}
    tokens = dict.fromkeys(calls, 0)
    others: list[Generation] = []
    for generation in sorted(generations, key=lambda each: each.start_s):
        intended_s = next((request.intended_s for request in generation.requests), None)
        if intended_s is None or intended_s not in calls:
            others.append(generation)
        else:
            earlier = calls[intended_s]
            earlier.append(_from_its_start(generation) if earlier else generation)
    for counts in declared:
        if counts.intended_s in tokens:
            tokens[counts.intended_s] += counts.output_tokens
    sent = tuple(_told(each, calls[each.intended_s], tokens[each.intended_s]) for each in run.sent)
    return dataclasses.replace(run, sent=sent), (*others, *(each for found in calls.values() for each in found))


def _from_its_start(generation: Generation) -> Generation:
    requests = tuple(dataclasses.replace(request, intended_s=None) for request in generation.requests)
    return dataclasses.replace(generation, requests=requests)


def _told(sent: Sent, calls: Sequence[Generation], declared_tokens: int) -> Sent:
    requests = tuple(request for each in calls for request in each.requests)
    return dataclasses.replace(
        sent,
        requests=requests,
        output_tokens=sum(request.output_tokens for request in requests) + declared_tokens,
        is_read=not calls or any(each.endpoint is not None for each in calls),
    )
