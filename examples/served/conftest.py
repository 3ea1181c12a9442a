"""What the tests in test_served.py work with. The server starts here, outside what is measured."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Iterator

import openai
import pytest
from adder import MODELS, problem, split
from server import serving

PROBLEMS = 16


@pytest.fixture(scope="session")
def model() -> str:
    """What the server calls its model: the folder that it was given."""
    return str((MODELS / "adder-1m").resolve())


@pytest.fixture(scope="session")
def base_url(model) -> Iterator[str]:
    """A server of our own, or the one that SERVED_URL names."""
    if named := os.environ.get("SERVED_URL"):
        yield named
        return
    with serving(model) as started:
        yield started


@pytest.fixture(scope="session")
def client(base_url) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=base_url, api_key="none") as client:
        yield client


@pytest.fixture(scope="session")
def event_loop_runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="session")
def async_client(base_url, event_loop_runner) -> Iterator[openai.AsyncOpenAI]:
    client = openai.AsyncOpenAI(base_url=base_url, api_key="none")
    yield client
    event_loop_runner.run(client.close())


@pytest.fixture(scope="session")
def pairs():
    """Pairs the model has never seen."""
    _, held_out = split()
    return random.Random(1).sample(held_out, PROBLEMS)


@pytest.fixture(scope="session")
def problems(pairs) -> list[str]:
    return [problem(a, b) for a, b in pairs]


@pytest.fixture(scope="session")
def answers(pairs) -> list[str]:
    return [str(a + b) for a, b in pairs]
