"""How fast it was and what was accepted: tokens, times and goodput from the requests of all rounds. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from pytest_tpf.engines.protocol import Request
from pytest_tpf.judge.statistics import distribution
from pytest_tpf.markers import Marker
from pytest_tpf.observation import MeasuredRound, Observation, busy_spans, counted_spans, length_s
from pytest_tpf.records import Goodput, Service, record


@record
class Tally:
    """Tokens and requests of one or more rounds; ``prompt_tokens`` is None where any part didn't tell."""

    output_tokens: int
    prompt_tokens: int | None
    requests: int


def tally(rounds: Sequence[MeasuredRound]) -> Tally:
    """Add up what was observed and what was declared.

    Declared counts add to observed ones: a test that declares is counting an engine nobody observes.
    """
    parts = [(r.output_tokens, r.prompt_tokens, 1) for r in requests_of(rounds)]
    parts += [(c.output_tokens, c.prompt_tokens, c.requests) for r in rounds for c in r.declared]
    prompts = [prompt for _, prompt, _ in parts]
    known = [prompt for prompt in prompts if prompt is not None]
    return Tally(
        output_tokens=sum(output for output, _, _ in parts),
        prompt_tokens=sum(known) if parts and len(known) == len(parts) else None,
        requests=sum(requests for _, _, requests in parts),
    )


def requests_of(rounds: Sequence[MeasuredRound]) -> list[Request]:
    """Every observed request, in the order of the calls."""
    generations = [g for r in rounds for g in sorted(r.generations, key=lambda g: g.start_s)]
    return [request for g in generations for request in g.requests]


def ttft_s(request: Request) -> float | None:
    """Time to the first token (s)."""
    return None if request.first_token_s is None else request.first_token_s - _sent_s(request)


def tpot_s(request: Request) -> float | None:
    """Time per output token after the first (s): (end - first token) / (n - 1); None below two tokens."""
    if request.first_token_s is None or request.output_tokens < 2:
        return None
    return (request.end_s - request.first_token_s) / (request.output_tokens - 1)


def e2e_s(request: Request) -> float:
    """End-to-end time (s)."""
    return request.end_s - _sent_s(request)


def _sent_s(request: Request) -> float:
    """From when its times count: a request that waited for the client has waited, too."""
    return request.start_s if request.intended_s is None else request.intended_s


def describe_service(observation: Observation, marker: Marker) -> Service:
    """The service times over all rounds, and goodput where requests were observed."""
    requests = requests_of(observation.rounds)
    duration_s = length_s(counted_spans(observation))
    observed = any(r.generations for r in observation.rounds)
    tokens = tally(observation.rounds).output_tokens
    good = accepted_requests(observation, marker)
    return Service(
        duration_s=duration_s,
        busy_s=length_s(busy_spans(observation.rounds)) if observed else None,
        tokens_per_second=tokens / duration_s if duration_s > 0 else None,
        ttft_s=distribution([t for t in map(ttft_s, requests) if t is not None]),
        tpot_s=distribution([t for t in map(tpot_s, requests) if t is not None]),
        inter_chunk_s=distribution([b - a for r in requests for a, b in itertools.pairwise(r.chunk_times_s)]),
        e2e_s=distribution(_end_to_end(observation, requests)),
        goodput=Goodput(requests_per_second=sum(good) / duration_s, good=sum(good), attempted=len(good))
        if good and duration_s > 0
        else None,
    )


def _end_to_end(observation: Observation, requests: Sequence[Request]) -> list[float]:
    """Observed requests, else windows in which exactly one request was declared."""
    if requests:
        return [e2e_s(request) for request in requests]
    alone = [r for r in observation.rounds if r.calls == 1 and sum(c.requests for c in r.declared) == 1]
    return [r.end_s - r.start_s for r in alone]


def accepted_requests(observation: Observation, marker: Marker) -> list[bool] | None:
    """For each observed request: did it meet q*, s* and completeness? None where q* can't be told per request.

    A list given to ``tpf.quality`` stands for the requests of one call; it is taken to hold for every call, since every call of
    ``tpf(fn)`` is given the same arguments.
    """
    requests = requests_of(observation.rounds)
    if not requests:
        return None
    in_time = [_in_time(request, marker) and request.complete is not False for request in requests]
    quality = observation.quality
    if quality is None:
        return None if "min_quality" in marker.limits else in_time
    if quality.accepted is None or len(requests) % len(quality.accepted) or not _calls_match(observation, len(quality.accepted)):
        return None
    return [good and answer for good, answer in zip(in_time, itertools.cycle(quality.accepted), strict=False)]


def _calls_match(observation: Observation, per_call: int) -> bool:
    return all(len(requests_of([r])) == per_call * r.calls for r in observation.rounds)


def _in_time(request: Request, marker: Marker) -> bool:
    times = {"max_ttft_s": ttft_s(request), "max_tpot_s": tpot_s(request), "max_e2e_s": e2e_s(request)}
    return all(times[name] is None or times[name] <= limit for name, limit in marker.limits.items() if name in times)  # type: ignore[operator]


def accepted_tokens(observation: Observation, marker: Marker) -> int | None:
    """Output tokens of the accepted requests; None where acceptance can't be told per request."""
    accepted = accepted_requests(observation, marker)
    if accepted is None:
        return None
    return sum(r.output_tokens for r, good in zip(requests_of(observation.rounds), accepted, strict=True) if good)
