"""From counted tokens and step times to requests. Pure: no tensors, no clock."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from pytest_tpf.engines.protocol import Request


def requests_of(
    *,
    start_s: float,
    end_s: float,
    step_times_s: Sequence[float],
    step_tokens: Sequence[int],
    row_tokens: Sequence[int],
    prompt_tokens: Sequence[int] | None,
    rows_per_request: int,
    complete: bool,
) -> tuple[Request, ...]:
    """One request for each prompt; its returned sequences are neighbours in ``row_tokens``.

    Args:
        start_s: when the call began (s).
        end_s: when the call ended (s); also the end of a request that got no token or whose steps were not timed.
        step_times_s: when each step was done (s), in order; empty where the steps were not timed.
        step_tokens: tokens a row that goes on has after each step; as long as ``step_times_s``, increasing.
        row_tokens: tokens of each returned sequence.
        prompt_tokens: tokens of each prompt, None where unknown.
        rows_per_request: returned sequences per prompt.
        complete: whether the call returned.
    """
    requests = []
    for index, first_row in enumerate(range(0, len(row_tokens), rows_per_request)):
        rows = row_tokens[first_row : first_row + rows_per_request]
        steps = 0 if max(rows) == 0 else min(bisect_left(step_tokens, max(rows)) + 1, len(step_times_s))
        times_s = tuple(step_times_s[:steps])
        requests.append(
            Request(
                start_s=start_s,
                end_s=times_s[-1] if times_s else end_s,
                prompt_tokens=None if prompt_tokens is None else prompt_tokens[index],
                output_tokens=sum(rows),
                first_token_s=times_s[0] if times_s else None,
                chunk_times_s=times_s,
                complete=complete,
            )
        )
    return tuple(requests)
