"""Recorded noise: the rounds of unchanged tests, run after run, and how much they scatter. Pure but for reading the file."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.gate.record import NOISE
from pytest_tpf.records import Round

LEAST = 10
"""Rounds that a run needs: five, and five more."""


@dataclass(frozen=True)
class Recorded:
    """One test: the rounds of each of its runs. Tokens are the same in every round."""

    name: str
    runs: tuple[tuple[Round, ...], ...]


@dataclass(frozen=True)
class Scatter:
    """How one figure of one test scatters, relative to its mean: within runs, between them beyond that, and from one round to the next."""

    name: str
    within: float
    between: float
    autocorrelation: float


def labels(path: Path = NOISE) -> list[tuple[str, str]]:
    """(label, suite) of every recording."""
    content = json.loads(path.read_text()) if path.exists() else {}
    return [(label, suite) for label, suites in sorted(content.items()) for suite in sorted(suites)]


def load(label: str, suite: str, path: Path = NOISE) -> list[Recorded]:
    """The tests of a recording, without the rounds whose energy is unknown and without the runs that this leaves too short."""
    tests = json.loads(path.read_text())[label][suite]["tests"]
    return [Recorded(name, tuple(rounds for run in runs if len(rounds := _rounds(run)) >= LEAST)) for name, runs in tests.items()]


def _rounds(run: dict) -> tuple[Round, ...]:
    (tokens,) = run["tokens"]
    return tuple(
        Round(duration_s=s, output_tokens=tokens, prompt_tokens=None, requests=1, it_j=joules, device_j=joules, ttft_s=ttft)
        for joules, s, ttft in zip(run["it_j"], run["duration_s"], run.get("ttft_s") or [None] * len(run["it_j"]), strict=True)
        if joules
    )


def joules_per_token(each: Round) -> float:
    return (each.it_j or math.nan) / each.output_tokens


def seconds_per_token(each: Round) -> float:
    return each.duration_s / each.output_tokens


def scatter(test: Recorded, figure=joules_per_token) -> Scatter:
    """One-way analysis of variance of the logarithms, and the correlation of neighbours within runs."""
    runs = [[math.log(figure(each)) for each in run] for run in test.runs]
    means = [mean(run) for run in runs]
    within = mean([variance(run) for run in runs])
    rounds = mean([float(len(run)) for run in runs])
    return Scatter(
        name=test.name,
        within=math.sqrt(within),
        between=math.sqrt(max(0.0, variance(means) - within / rounds)),
        autocorrelation=_autocorrelation(runs, means),
    )


def _autocorrelation(runs: Sequence[Sequence[float]], means: Sequence[float]) -> float:
    products = squares = 0.0
    for run, middle in zip(runs, means, strict=True):
        products += math.fsum((a - middle) * (b - middle) for a, b in itertools.pairwise(run)) * len(run) / (len(run) - 1)
        squares += math.fsum((each - middle) ** 2 for each in run)
    # neighbours in a short series look less alike than they are, by about 1 / rounds (M. Kendall 1954)
    return products / squares + 1 / mean([float(len(run)) for run in runs]) if squares else 0.0


def mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def variance(values: Sequence[float]) -> float:
    middle = mean(values)
    return math.fsum((value - middle) ** 2 for value in values) / (len(values) - 1)
