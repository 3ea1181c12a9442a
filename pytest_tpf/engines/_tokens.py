"""How many tokens a call of ``generate`` made: pure functions on small tensors, one transfer each.

Nothing here imports torch by itself: the tensors that come in bring it along.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

NO_TOKEN = -1
"""An id no vocabulary has: what stands for "no padding id", and what beam search fills with when it has none."""


def count_until_end(generated: Any, eos_ids: Sequence[int], pad_id: int) -> list[int]:
    """Tokens of each row up to and including its first EOS; without an EOS, all but the trailing padding.

    Args:
        generated: int tensor (rows, steps), the new tokens only: no prompt, no decoder start token.
        eos_ids: ids that end a row; may be empty.
        pad_id: the id finished rows are filled with, ``NO_TOKEN`` where there is none.
    """
    import torch

    rows, steps = generated.shape
    if steps == 0:
        return [0] * rows
    positions = torch.arange(1, steps + 1, device=generated.device)
    counts = torch.where(generated != pad_id, positions, 0).amax(dim=1)
    if eos_ids:
        is_eos = torch.isin(generated, torch.tensor(list(eos_ids), device=generated.device))
        counts = torch.where(is_eos.any(dim=1), is_eos.int().argmax(dim=1) + 1, counts)
    return list(counts.tolist())


def count_until_stopped(stopped: Sequence[Any]) -> list[int]:
    """Tokens of each row when a step makes one token: up to the first step whose stopping criteria said stop.

    Exact whatever stopped the row (EOS, a stop string, a user's criterion, the length), also where the padding id is an ordinary token.

    Args:
        stopped: a bool tensor (rows,) for each step, in order. At least one.
    """
    import torch

    if len(stopped[0]) == 1:
        return [len(stopped)]  # the loop ends with its only row: nothing to look up
    never = torch.ones_like(stopped[0])  # one more step that stops every row: a row that never stopped is found there
    first = torch.stack((*stopped, never)).int().argmax(dim=0)
    return [min(step + 1, len(stopped)) for step in first.tolist()]


def count_prompt(inputs: Any, attention_mask: Any, embeds: bool, eos_ids: Sequence[int], pad_id: int) -> list[int] | None:
    """Prompt tokens of each row; None where the input isn't made of tokens (sound, pictures).

    Without a mask, padding is recognised as ``generate`` itself does: only where the padding id isn't an EOS as well.

    Args:
        inputs: tensor (rows, length) of ids, or (rows, length, width) of embeddings where ``embeds``; the encoder's input if there is one.
        attention_mask: tensor (rows, length), 1 where a token counts; anything else is ignored.
        embeds: whether ``inputs`` are token embeddings.
        eos_ids: as for ``count_until_end``.
        pad_id: as for ``count_until_end``.
    """
    rows = len(inputs)
    if attention_mask is not None and attention_mask.dim() == 2 and len(attention_mask) == rows:
        return list((attention_mask != 0).sum(dim=1).tolist())
    is_ids = inputs.dim() == 2 and not inputs.is_floating_point()
    if is_ids and pad_id not in (NO_TOKEN, *eos_ids):
        return list((inputs != pad_id).sum(dim=1).tolist())
    return [inputs.shape[1]] * rows if is_ids or embeds else None


def ids_of(value: Any) -> tuple[int, ...]:
    """A generation config's ``eos_token_id`` (None, an int, or a list of ints) as a tuple."""
    if value is None:
        return ()
    return tuple(int(item) for item in value) if isinstance(value, (list, tuple)) else (int(value),)


def pad_of(config: Any) -> int:
    """The id finished rows are filled with: the padding id, else the first EOS as ``generate`` does, else ``NO_TOKEN``."""
    eos_ids = ids_of(config.eos_token_id)
    pad_id = config.pad_token_id
    if pad_id is None:
        return eos_ids[0] if eos_ids else NO_TOKEN
    return int(pad_id)
