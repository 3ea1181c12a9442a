"""How much slower is an observed ``generate``? Paired: observed and plain calls alternate, on a random Llama of about 1 M parameters.

    OMP_NUM_THREADS=1 python benchmarks/observer_overhead.py [--pairs 100] [--tokens 32]

For each batch size: the median times, the ratio of the medians, and a 95 % bootstrap interval of that ratio (pairs resampled).
The order within a pair is drawn at random, so a drift of the machine's speed favours neither.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time

import torch
from tabulate import tabulate
from transformers import LlamaConfig, LlamaForCausalLM

from pytest_tpf.engines.transformers import TransformersEngine

VOCABULARY = 64


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


def timed_s(model: LlamaForCausalLM, ids: torch.Tensor, tokens: int) -> float:
    start_s = time.perf_counter()
    model.generate(ids, max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False)
    return time.perf_counter() - start_s


def observed_s(engine: TransformersEngine, model: LlamaForCausalLM, ids: torch.Tensor, tokens: int) -> float:
    with engine.observe(lambda generation: None):
        return timed_s(model, ids, tokens)


def measure(model: LlamaForCausalLM, batch: int, tokens: int, pairs: int) -> list[tuple[float, float]]:
    """(plain, observed) seconds of each pair."""
    engine, ids = TransformersEngine(), torch.randint(2, VOCABULARY, (batch, 8))
    for _ in range(3):
        timed_s(model, ids, tokens)
        observed_s(engine, model, ids, tokens)
    results = []
    for _ in range(pairs):
        if random.random() < 0.5:
            plain = timed_s(model, ids, tokens)
            observed = observed_s(engine, model, ids, tokens)
        else:
            observed = observed_s(engine, model, ids, tokens)
            plain = timed_s(model, ids, tokens)
        results.append((plain, observed))
    return results


def ratio(pairs: list[tuple[float, float]]) -> float:
    return statistics.median(observed for _, observed in pairs) / statistics.median(plain for plain, _ in pairs)


def interval(pairs: list[tuple[float, float]], draws: int = 2000) -> tuple[float, float]:
    ratios = sorted(ratio(random.choices(pairs, k=len(pairs))) for _ in range(draws))
    return ratios[int(0.025 * draws)], ratios[int(0.975 * draws)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--tokens", type=int, nargs="+", default=[4, 32])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16])
    args = parser.parse_args()
    model = build()
    rows = []
    for batch in args.batches:
        for tokens in args.tokens:
            pairs = measure(model, batch, tokens, args.pairs)
            low, high = interval(pairs)
            plain_ms, observed_ms = (1000 * statistics.median(times) for times in zip(*pairs, strict=True))
            rows.append([batch, tokens, plain_ms, observed_ms, f"{ratio(pairs) - 1:+.2%}", f"{low - 1:+.2%} .. {high - 1:+.2%}"])
    print(f"{model.num_parameters():,} parameters, {torch.get_num_threads()} thread(s), {args.pairs} pairs each")
    print(tabulate(rows, headers=["batch", "new tokens", "plain ms", "observed ms", "slower", "95 %"], floatfmt=".2f"))


if __name__ == "__main__":
    main()
