"""Boards and loads drawn at random, for the coverage study: what LLM inference does to power, and what sensors do to it."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.standin import Board, Drive

Turns = Iterator[tuple[float, float]]

_GAUGES = ((0.1, 0.025), (0.1, 0.1), (0.02, 0.01), (0.1, 1.0))  # refresh and averaging time (s), as measured on real boards
_ARCHITECTURE = {0.025: 9, 0.1: 8, 0.01: 5, 1.0: 9}  # the generation for which the meter knows that averaging time
_FAST_S = 0.004
LEAD_S, TAIL_S = 3.0, 1.2
"""Time before the first window, for writing waveforms and starting the sampler, and after the last."""


@dataclass(frozen=True)
class Case:
    """One board in one draw, and the window it is measured in."""

    shape: str
    board: Board
    drive: Drive
    window: tuple[float, float]

    @property
    def true_j(self) -> float:
        """The true energy of the window (J)."""
        return self.drive.energy_j(*self.window)


@dataclass(frozen=True)
class Load:
    """What a waveform is made of: power before and after, its swing, and how fast it swings; ``opens`` and ``closes`` are a job's."""

    start: float
    end: float
    opens: float
    closes: float
    base_w: float
    swing_w: float
    period_s: float


def between(rng: random.Random, low: float, high: float) -> float:
    """A number spread evenly over the orders of magnitude."""
    return math.exp(rng.uniform(math.log(low), math.log(high)))


def ticks(start: float, end: float, step_s: float) -> Iterator[float]:
    """Instants from ``start`` to before ``end``."""
    return (start + n * step_s for n in range(max(math.ceil((end - start) / step_s), 0)))


def constant(load: Load, rng: random.Random) -> Turns:
    yield load.start, load.base_w


def wave(load: Load, rng: random.Random) -> Turns:
    duty = rng.uniform(0.2, 0.8)
    yield load.start, load.base_w
    for t in ticks(load.start + rng.uniform(0, load.period_s), load.end, load.period_s):
        yield t, load.base_w + load.swing_w
        yield t + duty * load.period_s, load.base_w


def sine(load: Load, rng: random.Random) -> Turns:
    phase = rng.random()
    for t in ticks(load.start, load.end, min(_FAST_S, load.period_s / 10)):
        yield t, load.base_w + min(load.swing_w, 0.9 * load.base_w) * math.sin(math.tau * ((t - load.start) / load.period_s + phase))


def levels(load: Load, rng: random.Random) -> Turns:
    for t in ticks(load.start, load.end, max(load.period_s, 0.02)):
        yield t, load.base_w + load.swing_w * rng.random()


def job(load: Load, rng: random.Random) -> Turns:
    yield load.start, load.base_w
    yield load.opens, load.base_w + load.swing_w
    yield load.closes, load.base_w


def job_in_steps(load: Load, rng: random.Random) -> Turns:
    step_s, dip = rng.uniform(0.01, 0.06), rng.uniform(0.1, 0.6)
    yield load.start, load.base_w
    for t in ticks(load.opens, load.closes, step_s):
        yield t, load.base_w + load.swing_w
        yield min(t + step_s / 2, load.closes), load.base_w + load.swing_w * (1 - dip)
    yield load.closes, load.base_w


def job_warming_up(load: Load, rng: random.Random) -> Turns:
    lag_s = rng.uniform(0.01, 0.15)
    yield load.start, load.base_w
    for t in ticks(load.opens, load.closes, _FAST_S):
        yield t, load.base_w + load.swing_w * (1 - math.exp(-(t - load.opens) / lag_s))
    top_w = load.swing_w * (1 - math.exp(-(load.closes - load.opens) / lag_s))
    for t in ticks(load.closes, load.closes + 5 * lag_s, _FAST_S):
        yield t, load.base_w + top_w * math.exp(-(t - load.closes) / lag_s)


SHAPES: dict[str, Callable[[Load, random.Random], Turns]] = {
    "constant": constant,
    "wave": wave,
    "sine": sine,
    "random levels": levels,
    "job": job,
    "job in steps": job_in_steps,
    "job warming up": job_warming_up,
}


def a_case(index: int, rng: random.Random, folder: Path, now: float, longest_s: float) -> Case:
    """A board drawn at random, its waveform written."""
    shape = list(SHAPES)[index % len(SHAPES)]
    gauge_s, averaging_s = _GAUGES[rng.choice((0, 0, 1, 2, 3))]
    has_counter = rng.random() < 0.85
    refresh_s = between(rng, 0.01, 0.5)
    length_s = min(max(between(rng, 0.05, longest_s), 1.1 * (refresh_s if has_counter else gauge_s)), longest_s)
    opens = now + LEAD_S + rng.uniform(0.0, 0.5)
    base_w = rng.uniform(50.0, 400.0)
    load = Load(
        start=now,
        end=opens + length_s + TAIL_S,
        opens=opens + rng.uniform(-0.001, 0.001),
        closes=opens + length_s + rng.uniform(-0.001, 0.001),
        base_w=base_w,
        swing_w=base_w * between(rng, 0.2, 3.0),
        period_s=between(rng, 0.01, 3.0),
    )
    turns = list(SHAPES[shape](load, rng))
    drive = Drive(folder / f"drive-{index}", capacity=len(turns))
    for t, watts in turns:
        drive.set(watts, at_s=t)
    board = Board(
        uuid=f"GPU-{index:08x}-0000-4000-8000-{index:012x}",
        pci_bus_id=f"00000000:{index + 1:02X}:00.0",
        name="NVIDIA Stand-in",
        architecture=_ARCHITECTURE[averaging_s],
        drive=str(drive.path),
        counter_supported=has_counter,
        counter_period_s=refresh_s,
        counter_phase_s=rng.uniform(0, refresh_s),
        counter_jitter_s=rng.choice((0.0, 0.0, 0.02, 0.1)) * refresh_s,
        noise_w=rng.uniform(0.02, 1.0),
        power_period_s=gauge_s,
        power_phase_s=rng.uniform(0, gauge_s),
        instant_supported=averaging_s < 1.0,
        instant_window_s=averaging_s,
        gain=1.0 + rng.uniform(-0.05, 0.05),
        seed=rng.randrange(1, 2**15),
    )
    return Case(shape=shape, board=board, drive=drive, window=(opens, opens + length_s))
