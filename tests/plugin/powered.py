"""A model on a stand-in board that spends exactly the joules it is told to, whatever the machine does meanwhile.

Each call gives the board's waveform a pulse of known energy with quiet time before and after it, so that where a window's ends fall, and
how late this process gets its turn, makes no difference to the energy between them.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pytest_tpf.engines.protocol import Generation, Request, Sink
from pytest_tpf.records import Model
from tests.standin import Drive

DRIVE_VARIABLE = "TPF_TEST_DRIVE"
IDLE_W = 0.5
QUIET_S, PULSE_S = 0.025, 0.03

CONFTEST = """
import pytest
from tests.plugin.powered import Powered, PoweredEngine

def pytest_tpf_engines(config):
    return [PoweredEngine()]

@pytest.fixture
def model():
    return Powered()
"""


class Powered:
    """``calls`` counts; of itself it says what it is told to."""

    def __init__(self) -> None:
        self.model = Model(name="Powered", dtype="float32", digest="sha256:1")
        self.calls = 0

    def named(self, **changes: str) -> Powered:
        """The same, saying something else of itself."""
        self.model = dataclasses.replace(self.model, **changes)
        return self

    def generate(
        self, joules: float = 20.0, tokens: int = 10, first_s: float = 0.01, pause_s: float = 0.0, prompt_tokens: int = 3
    ) -> list[int]:
        """Spend ``joules`` on ``tokens`` tokens, and ``pause_s`` more seconds.

        ``first_s`` is the time to first token that is told, ``prompt_tokens`` the prompt's length.
        """
        self.calls += 1
        drive = Drive.attach(Path(os.environ[DRIVE_VARIABLE]))  # anew: another worker may have had its turn meanwhile
        time.sleep(QUIET_S)
        now_s = time.perf_counter()
        drive.set(joules / PULSE_S, now_s)
        drive.set(IDLE_W, now_s + PULSE_S)
        time.sleep(PULSE_S + QUIET_S + pause_s)
        return list(range(tokens))

    def settling(self, *joules: float) -> list[int]:
        """Calls spend these joules, one after the other, and then 20 each."""
        return self.generate(joules[self.calls] if self.calls < len(joules) else 20.0)


class PoweredEngine:
    """Observes ``Powered``."""

    name = "powered"
    module = "tests.plugin.powered"

    @contextmanager
    def observe(self, sink: Sink) -> Iterator[None]:
        original = Powered.generate

        def generate(
            model: Powered,
            joules: float = 20.0,
            tokens: int = 10,
            first_s: float = 0.01,
            pause_s: float = 0.0,
            prompt_tokens: int = 3,
        ) -> list[int]:
            start_s = time.perf_counter()
            made = original(model, joules, tokens, first_s, pause_s)
            end_s = time.perf_counter()
            first_token_s = start_s + first_s
            request = Request(
                start_s=start_s,
                end_s=end_s,
                first_token_s=first_token_s,
                prompt_tokens=prompt_tokens,
                output_tokens=len(made),
                complete=True,
            )
            sink(
                Generation(
                    engine=self.name,
                    model=model.model,
                    start_s=start_s,
                    end_s=end_s,
                    first_token_s=first_token_s,
                    requests=(request,),
                    token_source="engine",
                )
            )
            return made

        Powered.generate = generate  # type: ignore[method-assign]
        try:
            yield
        finally:
            Powered.generate = original  # type: ignore[method-assign]

    def synchronize(self) -> None:
        """Nothing runs behind the caller's back."""
