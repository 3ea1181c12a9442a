"""How much slower is an observed ``generate``? Paired: observed and plain calls alternate, on a random Llama of about 1 M parameters.

    OMP_NUM_THREADS=1 python benchmarks/observer_overhead.py [--pairs 100] [--tokens 32]

For each batch size and length: the median times, the ratio of the medians less one, and a 95 % bootstrap interval of it (pairs
resampled); once for the wall clock and once for this process's CPU time, which other work on the machine disturbs less.
The order within a pair is drawn at random, so a drift of the machine's speed favours neither.
"""

from __future__ import annotations

import argparse
import functools
import random
import statistics
import time
from dataclasses import dataclass

import torch
from tabulate import tabulate
from transformers import LlamaConfig, LlamaForCausalLM

from pytest_tpf.engines.transformers import TransformersEngine

VOCABULARY = 64
WARM_UP = 5


def build() -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=160,
        intermediate_size=448,
        num_hidden_layers=3,
        num_attention_heads=4,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=2,
    )
    return LlamaForCausalLM(config).eval()


@dataclass(frozen=True)
class Cost:
    """What one call took: wall clock and CPU time (s)."""

    wall_s: float
    cpu_s: float


Pair = tuple[Cost, Cost]
"""A plain call and an observed one."""


def plain(model: LlamaForCausalLM, ids: torch.Tensor, tokens: int) -> Cost:
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    model.generate(ids, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False)
    return Cost(time.perf_counter() - wall_s, time.process_time() - cpu_s)


def observed(model: LlamaForCausalLM, ids: torch.Tensor, tokens: int, engine: TransformersEngine) -> Cost:
    with engine.observe(lambda generation: None):
        return plain(model, ids, tokens)


def measure(model: LlamaForCausalLM, batch: int, tokens: int, pairs: int) -> list[Pair]:
    ids = torch.randint(2, VOCABULARY, (batch, 8))
    ways = [plain, functools.partial(observed, engine=TransformersEngine())]
    results = []
    for _ in range(WARM_UP + pairs):
        order = random.sample([0, 1], 2)
        costs = {way: ways[way](model, ids, tokens) for way in order}
        results.append((costs[0], costs[1]))
    return results[WARM_UP:]


def slowdown(pairs: list[Pair], clock: str) -> float:
    plain_s, observed_s = (statistics.median(getattr(cost, clock) for cost in costs) for costs in zip(*pairs, strict=True))
    return observed_s / plain_s - 1


def shown(pairs: list[Pair], clock: str, draws: int = 1000) -> str:
    drawn = sorted(slowdown(random.choices(pairs, k=len(pairs)), clock) for _ in range(draws))
    return f"{slowdown(pairs, clock):+.2%} ({drawn[int(0.025 * draws)]:+.2%} .. {drawn[int(0.975 * draws)]:+.2%})"


def row(model: LlamaForCausalLM, batch: int, tokens: int, pairs: int) -> list[object]:
    measured = measure(model, batch, tokens, pairs)
    medians_ms = [1000 * statistics.median(cost.wall_s for cost in costs) for costs in zip(*measured, strict=True)]
    return [batch, tokens, *medians_ms, shown(measured, "wall_s"), shown(measured, "cpu_s")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--tokens", type=int, nargs="+", default=[4, 32])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16])
    args = parser.parse_args()
    model = build()
    rows = [row(model, batch, tokens, args.pairs) for batch in args.batches for tokens in args.tokens]
    print(f"{model.num_parameters():,} parameters, {torch.get_num_threads()} thread(s), {args.pairs} pairs each")
    headers = ["batch", "new tokens", "plain ms", "observed ms", "slower by wall clock (95 %)", "by CPU time (95 %)"]
    print(tabulate(rows, headers=headers, floatfmt=".2f"))


if __name__ == "__main__":
    main()
