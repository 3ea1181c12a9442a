"""Was the same work done? Between the rounds of one measurement, and between two runs. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_tpf.judge.statistics import median
from pytest_tpf.records import Round, Workload, record

LENGTH_TOLERANCE = 0.01
"""Relative difference of tokens per request from which on lengths differ."""

SHARP = 2.0
"""A first token that comes so many times sooner than at first wasn't computed from the whole prompt."""

WORTH_CACHING = 64
"""Prompt tokens per request below which a prefix cache saves nothing that matters."""


@record
class FirstTokens:
    """One round's first tokens: median times to first token and per further token (s), None where they weren't seen."""

    ttft_s: float | None
    tpot_s: float | None
    prompt_tokens_per_request: float | None


def lengths_differ(rounds: Sequence[Round]) -> tuple[float, float] | None:
    """Least and most output tokens per request over the rounds, where they differ although prompts and requests are the same."""
    asked = {(each.requests, each.prompt_tokens) for each in rounds}
    if len(rounds) < 2 or len(asked) != 1 or not rounds[0].requests:
        return None
    lengths = [each.output_tokens / each.requests for each in rounds]
    least, most = min(lengths), max(lengths)
    return (least, most) if most - least > LENGTH_TOLERANCE * most else None


def cached_prefill(rounds: Sequence[FirstTokens]) -> tuple[float, float] | None:
    """(first, later) times to first token (s) where every later round's came much sooner for the same prompts; else None.

    Only with prompts worth caching, and where decoding was no slower at first: else the engine itself was still cold.
    """
    ttfts = [each.ttft_s for each in rounds if each.ttft_s]
    prompts = {each.prompt_tokens_per_request for each in rounds}
    if len(ttfts) < len(rounds) or len(rounds) < 2 or len(prompts) != 1 or (prompts.pop() or 0) < WORTH_CACHING:
        return None
    first, later = ttfts[0], ttfts[1:]
    tpots = [each.tpot_s for each in rounds]
    was_cold = tpots[0] is not None and all(t is not None and tpots[0] > 1.5 * t for t in tpots[1:])
    return None if was_cold or first < SHARP * max(later) else (first, median(later))


def comparable_workload(old: Workload, new: Workload, tolerance: float = 0.02) -> list[str]:
    """What keeps two runs' figures from being compared, one line each; empty where the same work was done.

    ``tolerance``: relative difference of tokens per request that is still the same work. What either run doesn't know isn't held against
    it, but prompts that only one of them counted are.
    """
    pairs = {
        "engine": (old.engine, new.engine),
        "model": (old.model.name, new.model.name),
        "parameters": (old.model.parameters, new.model.parameters),
        "dtype": (old.model.dtype, new.model.dtype),
        "quantization": (old.model.quantization, new.model.quantization),
        "model digest": (old.model.digest, new.model.digest),
        "token source": (old.token_source, new.token_source),
    }
    found = [f"{name} is {b}, was {a}" for name, (a, b) in pairs.items() if a is not None and b is not None and a != b]
    if (old.model.quantization is None) != (new.model.quantization is None) and old.model.name and new.model.name:
        found.append(f"quantization is {new.model.quantization or 'none'}, was {old.model.quantization or 'none'}")
    amounts = {
        "requests per call": (_per(old.requests, _calls(old)), _per(new.requests, _calls(new)), 0.0),
        "prompt tokens per request": (_per(old.prompt_tokens, old.requests), _per(new.prompt_tokens, new.requests), tolerance),
        "output tokens per request": (_per(old.output_tokens, old.requests), _per(new.output_tokens, new.requests), tolerance),
    }
    return found + [line for name, (a, b, allowed) in amounts.items() if (line := _changed(name, a, b, allowed))]


def _calls(work: Workload) -> int:
    return work.rounds * work.calls_per_round


def _per(amount: int | None, units: int) -> float | None:
    return amount / units if amount is not None and units else None


def _changed(name: str, old: float | None, new: float | None, allowed: float) -> str | None:
    if old is None or new is None:
        return None if old is new else f"{name} are known in the {'new' if old is None else 'old'} run only"
    if abs(new - old) <= allowed * old:
        return None
    return f"{name} are {new:.4g}, were {old:.4g}" + (f" ({new / old - 1:+.1%})" if old else "")
