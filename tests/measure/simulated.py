"""Counters and gauges computed from a power that is known exactly, for tests of the arithmetic."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from pytest_tpf.measure.trace import Edge, PowerSample, Trace
from pytest_tpf.meters.protocol import ChannelInfo

EnergyAt = Callable[[float], float]
DENSE_POLL_S = 0.0005


def channel(domain: str = "gpu:0", *, stepped: bool = True, quantity: str = "energy_j", energy: bool = True, **more) -> ChannelInfo:
    known = {"meter": "simulated", "device": None, "method": "counter", "source": "test", "trust": "measured", "poll_s": 0.01}
    return ChannelInfo(domain=domain, stepped=stepped, quantity=quantity, energy=energy, **{**known, **more})


def constant(power_w: float) -> EnergyAt:
    return lambda t: power_w * t


def square(low_w: float, high_w: float, period_s: float, phase_s: float) -> EnergyAt:
    def energy_j(t: float) -> float:
        half = period_s / 2
        whole = math.floor((t + phase_s) / period_s)
        rest = t + phase_s - whole * period_s
        return whole * half * (low_w + high_w) + high_w * min(rest, half) + low_w * max(rest - half, 0.0)

    return energy_j


def job(idle_w: float, load_w: float, start: float, end: float) -> EnergyAt:
    return lambda t: idle_w * t + (load_w - idle_w) * max(0.0, min(t, end) - start)


def stepped_trace(energy_j: EnergyAt, period_s: float, phase_s: float = 0.0, *, end: float = 4.0, seed: int = 0, **more) -> Trace:
    """A counter in whole millijoules that refreshes every ``period_s`` from -1 s to ``end``, its edges bracketed by dense polls."""
    rng = random.Random(seed)
    edges = []
    for n in range(int((end + 1) / period_s) + 2):
        t = -1.0 + phase_s + n * period_s
        t_lo = t - rng.random() * DENSE_POLL_S
        edges.append(Edge(t_lo=t_lo, t_hi=t_lo + DENSE_POLL_S, joules=math.floor(energy_j(t) * 1000) / 1000))
    return Trace(channel=channel(resolution_j=0.001, gain=0.05, **more), edges=tuple(edges), period_s=period_s, jitter_s=0.0)


def gauge_trace(power_w: Callable[[float], float], every_s: float, *, end: float = 4.0, **more) -> Trace:
    powers = tuple(PowerSample(t=-1.0 + n * every_s, watts=power_w(-1.0 + n * every_s)) for n in range(int((end + 1) / every_s) + 2))
    info = channel(stepped=False, quantity="power_w", **more)
    return Trace(channel=info, powers=powers, period_s=every_s)
