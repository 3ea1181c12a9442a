"""What the fault tests share: suites, boards to plug in, and samplers over them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_tpf.measure.sampler import Sampler
from pytest_tpf.meters.protocol import MeterOptions
from tests.plugin.conftest import suite as suite  # a fixture, for the tests here
from tests.standin import Board, Standin, StandinUnavailable


@pytest.fixture
def plugged(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Plug boards in: every process started from now on loads the stand-in driver."""

    def plug(*boards: Board, **settings: object) -> None:
        try:
            environment = Standin(boards=boards, **settings).environment(tmp_path)  # type: ignore[arg-type]
        except StandinUnavailable as why:
            pytest.skip(str(why))
        for name, value in environment.items():
            monkeypatch.setenv(name, value)

    return plug


@pytest.fixture
def sampler() -> Iterator[Callable[..., Sampler]]:
    """Start a sampler of the named meters; it is closed at the end."""
    started: list[Sampler] = []

    def begin(*meters: str, linger_s: float = 1.0, **options: object) -> Sampler:
        made = Sampler(meters, MeterOptions(watched_pid=os.getpid(), **options), linger_s)  # type: ignore[arg-type]
        started.append(made)
        made.start()
        return made

    yield begin
    for one in started:
        one.close()
