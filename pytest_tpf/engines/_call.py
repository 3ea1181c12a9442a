"""One call of ``generate``: what is learnt while it runs, and the requests that follow from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pytest_tpf.engines._clock import StepMarks, Steps
from pytest_tpf.engines._requests import requests_of
from pytest_tpf.engines._tokens import count_prompt, count_until_end, count_until_stopped, ids_of, pad_of
from pytest_tpf.engines.protocol import Request


class Call:
    """What is learnt of one outermost ``generate`` while it runs; None until it is known.

    ``inputs`` is the prompt as ``generate`` resolved it (the encoder's input if there is one), ``start_length`` the length of the
    sequences before the first new token, ``config`` the resolved generation config.
    """

    def __init__(self, model: Any, kwargs: Mapping[str, Any]) -> None:
        self.model = model
        self.device = model.device  # a walk through the parameters: looked up once
        self.attention_mask = kwargs.get("attention_mask")
        self.inputs_embeds = kwargs.get("inputs_embeds")
        self.inputs: Any = None
        self.start_length: int | None = None
        self.config: Any = getattr(model, "generation_config", None)
        self.marks: StepMarks | None = None
        self.start_s = 0.0
        self.end_s = 0.0


def requests_of_call(call: Call, steps: Steps, result: Any, returned: bool) -> tuple[Request, ...]:
    """The requests of a call that returned ``result``, or that failed (``returned`` is False).

    Raises:
        ValueError: the result is not made of token ids, or it can't be told where the prompt ends.
    """
    start_length = _start_length(call, steps)
    step_tokens = [length - start_length for length in steps.lengths]
    per_prompt = call.config.num_return_sequences or 1
    if returned:
        row_tokens = _returned_tokens(call, steps, step_tokens, result, start_length)
    else:
        row_tokens = _failed_tokens(call, steps, step_tokens, per_prompt)
    return requests_of(
        start_s=call.start_s,
        end_s=call.end_s,
        step_times_s=steps.times_s,
        step_tokens=step_tokens,
        row_tokens=row_tokens,
        prompt_tokens=_prompt_tokens(call, len(row_tokens) // per_prompt),
        rows_per_request=per_prompt,
        complete=returned,
    )


def _start_length(call: Call, steps: Steps) -> int:
    if call.start_length is not None:
        return call.start_length
    if not steps.lengths:
        raise ValueError("this version of transformers doesn't tell where the prompt ends")
    return steps.lengths[0] - 1


def _returned_tokens(call: Call, steps: Steps, step_tokens: Sequence[int], result: Any, start_length: int) -> list[int]:
    sequences = getattr(result, "sequences", result)
    if getattr(sequences, "dim", lambda: 0)() != 2 or sequences.is_floating_point():
        raise ValueError("the result is not a batch of token ids")
    if _row_is_sequence(call, step_tokens):
        counts = count_until_stopped(steps.stopped)
        if len(counts) == len(sequences) and max(counts) == sequences.shape[1] - start_length:
            return counts
    return count_until_end(sequences[:, start_length:], ids_of(call.config.eos_token_id), pad_of(call.config))


def _failed_tokens(call: Call, steps: Steps, step_tokens: Sequence[int], per_prompt: int) -> list[int]:
    if _row_is_sequence(call, step_tokens):
        return count_until_stopped(steps.stopped)
    rows = len(call.inputs) * per_prompt if call.inputs is not None else 0
    return [step_tokens[-1] if step_tokens else 0] * rows


def _row_is_sequence(call: Call, step_tokens: Sequence[int]) -> bool:
    """Whether the rows the criteria saw are the returned sequences, one token a step: not with beams, not with accepted drafts."""
    one_token_a_step = list(step_tokens) == list(range(1, len(step_tokens) + 1))
    return bool(step_tokens) and one_token_a_step and (call.config.num_beams or 1) == 1


def _prompt_tokens(call: Call, prompts: int) -> list[int] | None:
    if call.inputs is None or len(call.inputs) != prompts:
        return None
    embeds = call.inputs is call.inputs_embeds
    return count_prompt(call.inputs, call.attention_mask, embeds, ids_of(call.config.eos_token_id), pad_of(call.config))
