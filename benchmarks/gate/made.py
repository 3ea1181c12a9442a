"""Noise that is made: lognormal, as wide as its name says. It shows up to which noise the gate keeps its promises."""

from __future__ import annotations

import math
import random

from benchmarks.gate.recorded import Recorded
from pytest_tpf.records import Round

MADE = {
    f"{within:g} % within, {between:g} % between runs": (within / 100, between / 100)
    for within, between in ((1, 0), (1, 1), (2, 0.5), (2, 1), (3, 1), (2, 2), (5, 5))
}


def made(name: str, tests: int = 6, runs: int = 60, rounds: int = 20) -> list[Recorded]:
    """Tests with that noise; always the same."""
    within, between = MADE[name]
    rng = random.Random(name)
    return [Recorded(f"{name} {number}", tuple(_run(rng, within, between, rounds) for _ in range(runs))) for number in range(tests)]


def _run(rng: random.Random, within: float, between: float, rounds: int) -> tuple[Round, ...]:
    level = 50.0 * math.exp(rng.gauss(0.0, between))
    return tuple(
        Round(duration_s=0.2, output_tokens=100, prompt_tokens=None, requests=1, it_j=level * math.exp(rng.gauss(0.0, within)))
        for _ in range(rounds)
    )
