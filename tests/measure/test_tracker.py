"""When the sampler reads: a stepped counter is followed like a clock. Time is simulated: reads and sleeps cost what the test says."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_tpf.measure.tracker import PolledTracker, Reading, SteppedTracker

READ_S = 30e-6


def follow(
    tracker: SteppedTracker | PolledTracker, value_at: Callable[[float], float], until: float, late_s: Callable[[], float] = lambda: 1e-4
) -> tuple[list[Reading], int]:
    """Do what the tracker says until then; the readings it kept, and how many reads it took."""
    kept, reads, now = [], 0, 0.0
    tracker.restart(0.0)
    while now < until:
        now = max(now, tracker.due) + late_s()
        reading = tracker.observe(now, now + READ_S, value_at(now + READ_S / 2))
        now += READ_S
        reads += 1
        kept += [reading] if reading else []
    return kept, reads


def clock(period_s: float, phase_s: float) -> Callable[[float], float]:
    return lambda t: 300.0 * (math.floor((t - phase_s) / period_s) * period_s)


@given(st.floats(0.008, 0.3), st.floats(0.0, 0.3))
def test_every_edge_is_caught_in_a_narrow_bracket_that_holds_it(period_s, phase_s):
    tracker = SteppedTracker(0.001)
    kept, reads = follow(tracker, clock(period_s, phase_s), 40 * period_s)
    assert len(kept) >= 38
    assert tracker.period_s == pytest.approx(period_s, rel=0.05)
    for lo, hi, _ in kept:
        edge = phase_s + math.floor((hi - phase_s) / period_s) * period_s
        assert lo - 1e-9 <= edge <= hi
    assert statistics.median(hi - lo for lo, hi, _ in kept[-20:]) < 0.001
    assert reads < 4 * period_s / 0.001 + 40 * 15  # three refreshes to learn, then a handful of reads each


def test_a_known_refresh_is_slept_through():
    tracker = SteppedTracker(0.001)
    _, learning = follow(tracker, clock(0.1, 0.0), 1.0)
    _, knowing = follow(tracker, clock(0.1, 0.0), 1.0)
    assert knowing < learning
    assert knowing < 350  # of 1000 at the probing rate, most before the first edge


@given(st.integers(0, 1 << 30))
def test_brackets_stay_honest_on_a_busy_machine(seed):
    rng = random.Random(seed)

    def late_s() -> float:
        return rng.uniform(0.005, 0.03) if rng.random() < 0.02 else 1e-4

    kept, _ = follow(SteppedTracker(0.001), clock(0.02, 0.007), 3.0, late_s)
    for lo, hi, _ in kept:
        edge = 0.007 + math.floor((hi - READ_S / 2 - 0.007) / 0.02) * 0.02
        assert lo - 1e-9 <= edge <= hi
    assert statistics.median(hi - lo for lo, hi, _ in kept) < 0.001


def test_a_counter_that_always_moves_is_read_as_it_goes():
    tracker = SteppedTracker(0.001)
    kept, reads = follow(tracker, lambda t: 300.0 * t, 2.0)
    assert tracker.flowing
    assert reads < 350
    assert all(hi - lo == pytest.approx(READ_S) for lo, hi, _ in kept[10:])


def test_a_counter_that_stands_still_is_not_hammered_and_not_given_up():
    tracker = SteppedTracker(0.001)
    kept, reads = follow(tracker, lambda t: clock(0.1, 0.0)(t) if t < 1.0 or t > 9.0 else 1e3, 10.0)
    assert reads < 1500
    assert sum(lo > 9.0 for lo, _, _ in kept) >= 8


def test_a_refresh_that_changes_is_learned_anew():
    tracker = SteppedTracker(0.001)
    follow(tracker, lambda t: clock(0.02, 0.0)(t) if t < 2.0 else 600.0 + clock(0.1, 0.0)(t - 2.0), 6.0)
    assert tracker.period_s == pytest.approx(0.1, rel=0.05)


def test_a_polled_channel_keeps_its_pace_and_late_reads_do_not_pile_up():
    kept, _ = follow(PolledTracker(0.01), lambda t: t, 1.0)
    assert 90 <= len(kept) <= 101
    slow, _ = follow(PolledTracker(0.01), lambda t: t, 1.0, late_s=lambda: 0.05)
    assert 15 <= len(slow) <= 21


def test_a_refresh_taken_for_twice_its_length_is_found_out():
    tracker = SteppedTracker(0.001)
    follow(tracker, lambda t: clock(0.1, 0.0)(t) if t < 2.0 else 600.0 + clock(0.05, 0.0)(t - 2.0), 4.0)
    assert tracker.period_s == pytest.approx(0.05, rel=0.05)
