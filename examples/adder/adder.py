"""The adder: a small Llama that was trained (see train.py) to add two-digit numbers. ``12+34=`` in, ``46`` out."""

from __future__ import annotations

import functools
import itertools
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

MODELS = Path(__file__).parent / "models"
LONGEST_ANSWER = len("198") + 1  # with the end-of-sequence token
SPLIT_SEED = 20260
HELD_OUT_SHARE = 0.2


def split() -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """All pairs of two-digit numbers: those trained on, and the fifth that was held out. Always the same."""
    pairs = list(itertools.product(range(10, 100), repeat=2))
    random.Random(SPLIT_SEED).shuffle(pairs)
    held_out = int(len(pairs) * HELD_OUT_SHARE)
    return pairs[held_out:], pairs[:held_out]


def problem(a: int, b: int) -> str:
    return f"{a}+{b}="


class Adder:
    """A model and its tokenizer as one thing that solves problems."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model = model
        self.tokenizer = tokenizer

    def solve(self, problems: Sequence[str], batch_size: int = 16) -> list[str]:
        """The answers to ``problems``, so many at a time."""
        answers: list[str] = []
        for start in range(0, len(problems), batch_size):
            answers += self._solve_batch(list(problems[start : start + batch_size]))
        return answers

    def _solve_batch(self, problems: list[str]) -> list[str]:
        batch = self.tokenizer(problems, return_tensors="pt", padding=True, return_token_type_ids=False).to(self.model.device)
        sequences = self.model.generate(**batch, max_new_tokens=LONGEST_ANSWER, do_sample=False)
        return self.tokenizer.batch_decode(sequences[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)


@functools.cache
def load(name: str) -> Adder:
    """The adder saved in ``models/<name>``, on the GPU if there is one."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = AutoModelForCausalLM.from_pretrained(MODELS / name, dtype=torch.float32).to(device).eval()
    return Adder(model, AutoTokenizer.from_pretrained(MODELS / name))
