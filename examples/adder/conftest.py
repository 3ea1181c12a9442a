"""What the tests in test_adder.py work with. Loading happens here, outside what is measured."""

from __future__ import annotations

import random

import pytest
from adder import Adder, load, problem, split

PROBLEMS = 64


@pytest.fixture(scope="session")
def adder() -> Adder:
    return load("adder-1m")


@pytest.fixture(scope="session")
def small_adder() -> Adder:
    return load("adder-0.1m")


@pytest.fixture(scope="session")
def model(adder):
    return adder.model


@pytest.fixture(scope="session")
def tokenizer(adder):
    return adder.tokenizer


@pytest.fixture(scope="session")
def pairs():
    """Pairs the models have never seen."""
    _, held_out = split()
    return random.Random(1).sample(held_out, PROBLEMS)


@pytest.fixture(scope="session")
def problems(pairs) -> list[str]:
    return [problem(a, b) for a, b in pairs]


@pytest.fixture(scope="session")
def answers(pairs) -> list[str]:
    return [str(a + b) for a, b in pairs]
