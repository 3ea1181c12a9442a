"""Loads on a stand-in board, driven by the test itself, with noise put in where real boards have it.

A run has its own level (a board that is warmer leaks more: 0.7 % of its power, and 0.3 % of its speed), which wanders from round to
round (0.4 %, and half of it is left a round later); steps take their time give or take 2 %, and one round in fifty is held up by 10 %.
What the counter's refreshes, the sampler and this machine's timers add is real.
"""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest

from tests.standin import Drive

STEPS, STEP_S, IDLE_W = 10, 0.02, 90.0
LOADS = {"prefill": (650.0, 0.7), "decode": (410.0, 1.0), "batch": (560.0, 1.3), "small": (240.0, 0.8)}
"""Power (W) and length of a step in units of ``STEP_S``."""


class Board:
    """What a run does to the board."""

    def __init__(self, drive: Path, seed: int) -> None:
        self._drive, self._rng, self._drift = Drive.attach(drive), random.Random(seed), 0.0
        self._power, self._pace = self._rng.gauss(1.0, 0.007), self._rng.gauss(1.0, 0.003)

    def generate(self, watts: float, length: float) -> None:
        """One round of work: ``STEPS`` steps."""
        self._drift = 0.5 * self._drift + self._rng.gauss(0.0, 0.004)
        held_up = 1.1 if self._rng.random() < 0.02 else 1.0
        for _ in range(STEPS):
            self._drive.set(watts * self._power * (1 + self._drift) * self._rng.gauss(1.0, 0.02))
            _wait(STEP_S * length * self._pace * held_up * self._rng.gauss(1.0, 0.02))
        self._drive.set(IDLE_W)


def _wait(seconds: float) -> None:
    end_s = time.perf_counter() + seconds
    time.sleep(max(0.0, seconds - 0.001))
    while time.perf_counter() < end_s:
        pass


@pytest.fixture(scope="session")
def board() -> Board:
    return Board(Path(os.environ["GATE_DRIVE"]), int(os.environ["GATE_SEED"]))


@pytest.mark.tpf(boundary="device")
@pytest.mark.parametrize("load", LOADS)
def test_load(tpf, board, load):
    def work() -> None:
        board.generate(*LOADS[load])
        tpf.count(output_tokens=1000)

    tpf(work)
