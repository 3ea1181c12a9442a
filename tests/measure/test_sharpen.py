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
def test_brackets_only_ever_shrink_and_values_stay(seed, jitter_s, unseen):
    rng = random.Random(seed)
    times = refreshes(rng, jitter_s)
    edges = seen(rng, times, unseen)
    for t, before, after in zip(times, edges, sharpened(edges, PERIOD_S), strict=True):
        assert before.t_lo <= after.t_lo < after.t_hi <= before.t_hi
        assert after.joules == before.joules
        assert jitter_s or after.t_lo <= t <= after.t_hi


def test_sharpened_brackets_still_hold_their_edges_whatever_the_jitter():
    narrowed = missed = 0
    for seed in range(300):
        rng = random.Random(seed)
        times = refreshes(rng, rng.choice((0.0002, 0.001, 0.005)))
        edges = seen(rng, times, rng.uniform(0.0, 0.5))
        for t, before, after in zip(times, edges, sharpened(edges, PERIOD_S), strict=True):
            narrowed += after != before
            missed += not after.t_lo <= t <= after.t_hi
    assert narrowed > 1000
    assert missed / narrowed < 0.003  # four standard deviations of a handful of edges, not of the truth


def test_an_unseen_edge_is_known_nearly_as_well_as_a_seen_one():
    rng = random.Random(2)
    edges = seen(rng, refreshes(rng, 0.0002), 0.2)
    wide = [n for n, edge in enumerate(edges) if edge.t_hi - edge.t_lo > 0.02]
    sharp = sharpened(edges, PERIOD_S)
    assert len(wide) >= 5
    assert statistics.median(sharp[n].t_hi - sharp[n].t_lo for n in wide) < 0.004


def test_a_counter_without_rhythm_is_left_alone():
    rng = random.Random(4)
    edges = seen(rng, refreshes(rng, 0.03), 0.2)
    assert sharpened(edges, PERIOD_S) == tuple(edges)
    assert sharpened(edges, None) == tuple(edges)


def test_a_read_that_may_have_seen_either_of_two_refreshes_stays_wide():
    steady = [Edge(t_lo=n * PERIOD_S - 0.0002, t_hi=n * PERIOD_S + 0.0002, joules=float(n)) for n in range(8)]
    unseen = Edge(t_lo=0.71, t_hi=0.9999, joules=9.0)  # two edges unseen at least; the read came just as another was due
    assert sharpened([*steady, unseen], PERIOD_S)[-1] == unseen
    clear = sharpened([*steady, dataclasses.replace(unseen, t_hi=0.95)], PERIOD_S)[-1]
    assert 0.89 < clear.t_lo < 0.9 < clear.t_hi < 0.91


def test_too_few_edges_are_no_rhythm():
    few = [Edge(t_lo=n * PERIOD_S - 0.0002, t_hi=n * PERIOD_S + 0.0002, joules=float(n)) for n in range(3)]
    unseen = Edge(t_lo=0.21, t_hi=0.35, joules=3.0)
    assert sharpened([*few, unseen], PERIOD_S)[-1] == unseen
