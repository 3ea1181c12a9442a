"""Runs of a test as the judge compares them, made from figures."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Sequence
from typing import Any

from pytest_tpf.judge.sample import Sample
from pytest_tpf.records import Accuracy, Model, Reference, Round, Workload

TOKENS = 100
REFERENCE = Reference(source="baseline", ref="tpf-baseline.json", runs=0, rounds=0)

WORK = Workload(
    engine="transformers",
    model=Model(name="Llama", parameters=8, dtype="bfloat16", digest="sha256:1"),
    requests=20,
    rounds=5,
    calls_per_round=1,
    warmup_rounds=1,
    prompt_tokens=400,
    output_tokens=500,
    accepted_tokens=None,
    token_source="engine",
)


def a_round(joules: float | None = 50.0, seconds: float = 2.0, **changes: Any) -> Round:
    """A round of ``TOKENS`` tokens."""
    plain: dict[str, Any] = {
        "duration_s": seconds,
        "output_tokens": TOKENS,
        "prompt_tokens": 80,
        "requests": 4,
        "it_j": joules,
        "device_j": joules,
        "ttft_s": 0.1 * seconds,
        "tpot_s": 0.01 * seconds,
        "e2e_s": 0.9 * seconds,
    }
    return Round(**{**plain, **changes})


def sample(joules: Sequence[float | None] = (50.0, 51.0, 49.0, 50.5, 49.5), **changes: Any) -> Sample:
    """A run whose rounds took so many joules, and time in proportion."""
    plain: dict[str, Any] = {
        "key": "test_adder",
        "nodeid": "tests/test_adder.py::test_adder",
        "fingerprint": "4fe2",
        "workload": WORK,
        "rounds": tuple(a_round(each, (each or 50.0) / 25) for each in joules),
        "accuracy": Accuracy(),
        "boundary": "it",
        "trust": "measured",
        "domains": ("gpu:0",),
        "uncertainty": 0.0,
        "reasons": (),
    }
    return Sample(**{**plain, **changes})


def times(run: Sample, factor: float) -> Sample:
    """The same run with ``factor`` times the energy and the time."""

    def scaled(value: float | None) -> float | None:
        return None if value is None else value * factor

    rounds = tuple(
        dataclasses.replace(
            each,
            duration_s=each.duration_s * factor,
            it_j=scaled(each.it_j),
            device_j=scaled(each.device_j),
            ttft_s=scaled(each.ttft_s),
            tpot_s=scaled(each.tpot_s),
            e2e_s=scaled(each.e2e_s),
        )
        for each in run.rounds
    )
    return dataclasses.replace(run, rounds=rounds)


def drawn(rng: random.Random, rounds: int = 5, within: float = 0.02, between: float = 0.0, truth: float = 50.0) -> Sample:
    """A run of lognormal rounds; its level scatters by ``between`` around ``truth``."""
    level = truth * math.exp(rng.gauss(0.0, between))
    return sample([level * math.exp(rng.gauss(0.0, within)) for _ in range(rounds)])
