"""A small engine that exists only for these tests: ``Toy.generate`` spins for a known time and says how many tokens it made."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from pytest_tpf.engines.protocol import Generation, Request, Sink
from pytest_tpf.records import Model

PROMPT_TOKENS = 3


class Toy:
    """Spins ``seconds`` per call and makes ``tokens`` tokens."""

    def generate(self, tokens: int = 8, seconds: float = 0.05) -> list[int]:
        end_s = time.perf_counter() + seconds
        while time.perf_counter() < end_s:
            pass
        return list(range(tokens))


class ToyEngine:
    """Observes ``Toy``."""

    name = "toy"
    module = "tests.plugin.toy"

    @contextmanager
    def observe(self, sink: Sink) -> Iterator[None]:
        original = Toy.generate

        def generate(model: Toy, tokens: int = 8, seconds: float = 0.05) -> list[int]:
            start_s = time.perf_counter()
            made = original(model, tokens, seconds)
            end_s = time.perf_counter()
            first_s = start_s + 0.2 * (end_s - start_s)
            request = Request(
                start_s=start_s, end_s=end_s, first_token_s=first_s, prompt_tokens=PROMPT_TOKENS, output_tokens=len(made), complete=True
            )
            sink(
                Generation(
                    engine=self.name,
                    model=Model(name="Toy"),
                    start_s=start_s,
                    end_s=end_s,
                    first_token_s=first_s,
                    requests=(request,),
                    token_source="engine",
                )
            )
            return made

        Toy.generate = generate  # type: ignore[method-assign]
        try:
            yield
        finally:
            Toy.generate = original  # type: ignore[method-assign]

    def synchronize(self) -> None:
        """Nothing runs behind the caller's back."""
