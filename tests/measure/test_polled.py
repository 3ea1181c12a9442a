"""Counters that are read as they go, although what is behind them is written less often."""

from __future__ import annotations

import math
import random

import pytest

from pytest_tpf.measure.energy import energy_of_spans
from pytest_tpf.measure.polled import first_seen
from pytest_tpf.measure.trace import Edge, Trace
from tests.measure.simulated import channel, job, square

POLL_S = 0.01


def a_trace(energy_j, register_s, rng, *, age_s=0.0):
    """Read every 10 ms; the register behind was last written up to ``register_s`` before."""
    phase_s, edges = rng.uniform(0, register_s), []
    for n in range(500):
        t = n * POLL_S - 1 + rng.uniform(0, 0.001)
        written = math.floor((t - phase_s) / register_s) * register_s + phase_s
        edges.append(Edge(t_lo=t, t_hi=t + 2e-5, joules=math.floor(energy_j(written) * 2**14) / 2**14))
    info = channel("cpu:0", stepped=False, resolution_j=2.0**-14)
    return Trace(channel=info, edges=first_seen(edges, age_s), period_s=POLL_S)


# Written every 23 ms and read every 10, edges fall into a pattern with the reads, and intervals are a quarter too narrow.
@pytest.mark.parametrize(("register_s", "age_s", "least"), [(0.001, 0.001, 0.92), (0.01, 0.01, 0.92), (0.023, 0.0, 0.8), (0.05, 0.0, 0.92)])
@pytest.mark.parametrize("load", ["job", "wave"])
def test_the_interval_holds_the_truth_however_seldom_the_register_is_written(register_s, age_s, least, load):
    rng = random.Random(3)
    held = known = 0
    for _ in range(150):
        start = rng.uniform(0.0, 0.5)
        end = start + rng.uniform(2.2 * max(register_s, POLL_S), 1.0)
        energy_j = job(50.0, 150.0, start, end) if load == "job" else square(50.0, 150.0, rng.uniform(0.1, 0.6), rng.random())
        found = energy_of_spans(a_trace(energy_j, register_s, rng, age_s=age_s), [(start, end)])
        if found.joules is not None:
            known += 1
            held += abs(found.joules - (energy_j(end) - energy_j(start))) <= found.half_width_j
    assert known > 100
    assert held / known >= least


def test_a_counter_that_changes_with_every_read_keeps_all_its_readings():
    edges = tuple(Edge(t_lo=n / 10, t_hi=n / 10 + 1e-5, joules=float(n)) for n in range(20))
    assert [edge.joules for edge in first_seen(edges, 0.001)] == [edge.joules for edge in edges]
    assert all(seen.t_lo == pytest.approx(edge.t_lo - 0.001) for seen, edge in zip(first_seen(edges, 0.001)[1:], edges[1:], strict=True))


def test_a_sleeping_counter_counts_nothing_and_is_no_gap_in_the_reading():
    edges = [Edge(t_lo=n / 100, t_hi=n / 100 + 1e-5, joules=min(n, 100.0)) for n in range(400)]
    trace = Trace(channel=channel("cpu:0", stepped=False), edges=first_seen(edges, 0.0), period_s=0.01)
    assert energy_of_spans(trace, [(2.0, 3.5)]).joules == pytest.approx(0.0, abs=1.0)
    assert first_seen(edges[:1], 0.0) == tuple(edges[:1])
    assert first_seen((), 0.0) == ()
