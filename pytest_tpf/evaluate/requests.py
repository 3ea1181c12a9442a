"""Requests and tokens of rounds, and the times of a request. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_tpf.engines.protocol import Request
from pytest_tpf.observation import MeasuredRound
from pytest_tpf.records import record


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


def whole_times_s(one: MeasuredRound) -> list[float]:
    """End-to-end times (s) of the requests of a round that came to their end.

    A request that failed or stopped early has none: it would make the server look fast, or slow, by the wrong answer. Those of a load that
    no engine was seen at have the load's own.
    """
    seen = [e2e_s(request) for request in requests_of([one]) if request.complete is not False]
    sent = one.load.sent if one.load else ()
    return seen + [each.end_s - each.intended_s for each in sent if each.end_s is not None and not each.failed and not each.requests]
