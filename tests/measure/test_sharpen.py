"""Edges that came unseen are placed by the rhythm of their neighbours, and never outside what was seen."""

from __future__ import annotations

import dataclasses
import random
import statistics

from hypothesis import given
from hypothesis import strategies as st

from pytest_tpf.measure.sharpen import sharpened
from pytest_tpf.measure.trace import Edge

PERIOD_S = 0.1


def refreshes(rng: random.Random, jitter_s: float, count: int = 40) -> list[float]:
    return [n * PERIOD_S + rng.uniform(-jitter_s, jitter_s) for n in range(count)]


def seen(rng: random.Random, times: list[float], unseen: float) -> list[Edge]:
    """Brackets as a sampler makes them: narrow, or (with probability ``unseen``) from soon after the edge before to some time after."""
    edges: list[Edge] = []
    last_read = times[0] - 0.05
    for n, t in enumerate(times):
        following = times[n + 1] if n + 1 < len(times) else t + PERIOD_S
        if rng.random() < unseen:
            lo, hi = last_read, t + rng.uniform(0.0, 0.9) * (following - t)
        else:
            lo = max(last_read, t - rng.uniform(0, 0.0005))
            hi = t + rng.uniform(0, 0.0005)
        edges.append(Edge(t_lo=lo, t_hi=hi, joules=float(n)))
        last_read = hi
    return edges


@given(st.integers(0, 1 << 30), st.sampled_from((0.0, 0.0002, 0.001)), st.floats(0.0, 0.4))
def test_sharpened_brackets_still_hold_their_edges_and_are_never_wider(seed, jitter_s, unseen):
    rng = random.Random(seed)
    times = refreshes(rng, jitter_s)
    edges = seen(rng, times, unseen)
    for t, before, after in zip(times, edges, sharpened(edges, PERIOD_S, jitter_s), strict=True):
        assert before.t_lo <= after.t_lo <= t <= after.t_hi <= before.t_hi
        assert after.joules == before.joules


def test_an_unseen_edge_is_known_nearly_as_well_as_a_seen_one():
    rng = random.Random(2)
    edges = seen(rng, refreshes(rng, 0.0002), 0.2)
    wide = [n for n, edge in enumerate(edges) if edge.t_hi - edge.t_lo > 0.02]
    sharp = sharpened(edges, PERIOD_S, 0.0002)
    assert len(wide) >= 5
    assert statistics.median(sharp[n].t_hi - sharp[n].t_lo for n in wide) < 0.004


def test_a_counter_without_rhythm_is_left_alone():
    rng = random.Random(4)
    edges = seen(rng, refreshes(rng, 0.03), 0.2)
    assert sharpened(edges, PERIOD_S, 0.02) == tuple(edges)
    assert sharpened(edges, None, None) == tuple(edges)


def test_a_read_that_may_have_seen_either_of_two_refreshes_stays_wide():
    lonely = Edge(t_lo=0.01, t_hi=0.3001, joules=1.0)  # two edges unseen, the read came just as a third was due
    edges = [Edge(t_lo=-0.0002, t_hi=0.0002, joules=0.0), lonely]
    assert sharpened(edges, PERIOD_S, 0.001)[1] == lonely
    clear = dataclasses.replace(lonely, t_hi=0.25)
    assert sharpened([edges[0], clear], PERIOD_S, 0.001)[1].t_lo > 0.19
