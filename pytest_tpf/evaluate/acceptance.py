"""Which requests are accepted: those that met quality, every service limit and completeness. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from pytest_tpf.engines.protocol import Request
from pytest_tpf.evaluate.load import is_client_late
from pytest_tpf.evaluate.requests import e2e_s, requests_of, tally, tpot_s, ttft_s
from pytest_tpf.load.seen import Sent
from pytest_tpf.markers import Marker
from pytest_tpf.observation import MeasuredRound, Observation
from pytest_tpf.records import record

TIME_LIMITS = ("max_ttft_s", "max_tpot_s", "max_e2e_s")


@record
class Attempt:
    """What is accepted as a whole or not at all: an observed request; in a load one of its requests, with all that it had engines do.

    ``is_good``: complete and in time; None where a limit is on a time that wasn't seen.
    """

    output_tokens: int
    is_good: bool | None


def accepted_requests(observation: Observation, marker: Marker) -> list[bool] | None:
    """For each attempt, failed ones included: did it meet q*, s* and completeness? None where that can't be told of each.

    A list given to ``tpf.quality`` stands for the requests of one call, or of one run of a load, in their order; it is taken to hold for
    every call, since every call of ``tpf(fn)`` is given the same arguments.
    """
    limits = {name: limit for name, limit in marker.limits.items() if name in TIME_LIMITS}
    made = [_attempts(one, limits) for one in observation.rounds]
    good = [attempt.is_good for each in made for attempt in each]
    known = [is_good for is_good in good if is_good is not None]
    if not good or len(known) < len(good) or (limits and is_client_late(observation)):
        return None
    quality = observation.quality
    if quality is None:
        return None if "min_quality" in marker.limits else known
    if quality.accepted is None:
        return None
    per_call = len(quality.accepted)
    if any(len(each) != per_call * one.calls for each, one in zip(made, observation.rounds, strict=True)):
        return None
    return [is_good and answer for is_good, answer in zip(known, itertools.cycle(quality.accepted), strict=False)]


def accepted_tokens(observation: Observation, marker: Marker) -> int | None:
    """Output tokens of the accepted requests; None where acceptance, or whose tokens they are, can't be told per request."""
    accepted = accepted_requests(observation, marker)
    if accepted is None:
        return None
    tokens = [attempt.output_tokens for one in observation.rounds for attempt in _attempts(one, {})]
    if any(one.load for one in observation.rounds) and sum(tokens) != tally(observation.rounds).output_tokens:
        return None
    return sum(made for made, is_good in zip(tokens, accepted, strict=True) if is_good)


def unfinished(observation: Observation) -> tuple[int, int]:
    """How many attempts failed or stopped early, and how many there were."""
    made = [attempt for one in observation.rounds for attempt in _attempts(one, {})]
    return sum(attempt.is_good is False for attempt in made), len(made)


def _attempts(one: MeasuredRound, limits: Mapping[str, float]) -> list[Attempt]:
    if one.load is None:
        return [
            Attempt(output_tokens=request.output_tokens, is_good=_all_of([_is_good(request, limits)])) for request in requests_of([one])
        ]
    return [Attempt(output_tokens=sent.output_tokens, is_good=_came_good(sent, limits)) for sent in one.load.sent]


def _came_good(sent: Sent, limits: Mapping[str, float]) -> bool | None:
    if sent.failed or sent.end_s is None:
        return False
    if sent.requests:
        return _all_of([_is_good(request, limits) for request in sent.requests])
    return _all_of([_is_within(sent.end_s - sent.intended_s if name == "max_e2e_s" else None, limit) for name, limit in limits.items()])


def _is_good(request: Request, limits: Mapping[str, float]) -> bool | None:
    """Complete and in time; None where one limit's time wasn't seen and the others are met."""
    if request.complete is False:
        return False
    times = {"max_ttft_s": ttft_s(request), "max_e2e_s": e2e_s(request)}
    if request.output_tokens >= 2:  # else there is no further token to wait for
        times["max_tpot_s"] = tpot_s(request)
    return _all_of([_is_within(times[name], limit) for name, limit in limits.items() if name in times])


def _is_within(time_s: float | None, limit_s: float) -> bool | None:
    return None if time_s is None else time_s <= limit_s


def _all_of(found: Sequence[bool | None]) -> bool | None:
    """False where any is, else None where any isn't known."""
    return False if False in found else None if None in found else True
