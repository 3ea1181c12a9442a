"""What a test asks of ``tpf.load``: checked, and with each request as something to call. Pure."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable
from typing import Any, Literal

from pytest_tpf.calls import is_async
from pytest_tpf.load.schedule import ARRIVALS, Arrival, send_times_s
from pytest_tpf.records import record
from pytest_tpf.usage import is_whole, refuse

_EITHER = "load(...) needs concurrency=N (so many at a time) or rate=R (so many a second), and not both"
_MIXED = "load(...): some requests are coroutine functions and some are not: give it one kind"
_UNCALLED = "load(...): request {index} is {found}, which can't be called: with send=... each request is what send is called with"


@record
class Plan:
    """How the requests are sent. ``concurrency``: how many are kept under way (closed), or are allowed at a time (open; None: any number).

    ``rate`` is in requests per second. ``arrival`` and ``seed`` (of random gaps only) are None where no schedule is kept.
    """

    mode: Literal["closed", "open"]
    concurrency: int | None = None
    rate: float | None = None
    arrival: Arrival | None = None
    seed: int | None = None

    def send_times_s(self, count: int) -> list[float]:
        """When each of ``count`` requests is to be sent (s from the start), by the schedule of an open plan."""
        return send_times_s(count, self.rate or 1.0, self.arrival or "constant", self.seed or 0)


@record
class Job:
    """The requests as functions without arguments, all of one kind, and how they are sent."""

    calls: tuple[Callable[[], Any], ...]
    is_async: bool
    plan: Plan


def prepare(
    requests: Iterable[Any],
    send: Callable[[Any], Any] | None,
    *,
    concurrency: int | None,
    rate: float | None,
    arrival: str,
    seed: int,
    max_in_flight: int | None,
) -> Job:
    """The job of these arguments, which are those of ``tpf.load``; ones that are wrong or contradict each other are refused."""
    plan = _plan(concurrency, rate, arrival, seed, max_in_flight)
    asked = tuple(requests)
    if not asked:
        refuse("load(...): there are no requests")
    calls = asked if send is None else tuple(functools.partial(send, request) for request in asked)
    for index, call in enumerate(calls):
        if not callable(call):
            refuse(_UNCALLED.format(index=index, found=repr(call)[:40]))
    kinds = {is_async(call) for call in calls}
    if len(kinds) > 1:
        refuse(_MIXED)
    return Job(calls=calls, is_async=kinds.pop(), plan=plan)


def _plan(concurrency: Any, rate: Any, arrival: Any, seed: Any, max_in_flight: Any) -> Plan:
    if (concurrency is None) == (rate is None):
        refuse(_EITHER)
    for name, value in (("concurrency", concurrency), ("max_in_flight", max_in_flight)):
        if value is not None and not is_whole(value, 1):
            refuse(f"load({name}=...) needs a whole number from 1 up, not {value!r}")
    if rate is None:
        if max_in_flight is not None:
            refuse("load(max_in_flight=...) goes with rate=...: concurrency=N never has more than N under way")
        return Plan(mode="closed", concurrency=concurrency)
    if not isinstance(rate, (int, float)) or isinstance(rate, bool) or not 0 < rate < math.inf:
        refuse(f"load(rate=...) needs a number of requests per second above 0, not {rate!r}")
    if arrival not in ARRIVALS:
        refuse(f"load(arrival=...) needs one of {', '.join(ARRIVALS)}, not {arrival!r}")
    if not is_whole(seed):
        refuse(f"load(seed=...) needs a whole number, not {seed!r}")
    return Plan(mode="open", concurrency=max_in_flight, rate=rate, arrival=arrival, seed=seed if arrival == "poisson" else None)
