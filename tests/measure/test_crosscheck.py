"""Sensors of one domain held against each other: false alarms and misses over many seeded recordings."""

from __future__ import annotations

import random

import pytest

from pytest_tpf.measure.crosscheck import agreements, aliased, with_swing
from pytest_tpf.measure.trace import PowerSample, Trace
from tests.measure.simulated import channel, constant, gauge_trace, square, stepped_trace


def a_gauge(energy_j, rng, *, gain=1.0, refresh_s=0.1, averaging_s=0.025, end=4.0, energy=False):
    """Polled every 20 ms; each refresh shows the mean of the time before it, give or take half a watt."""
    phase_s, noise = rng.uniform(0, refresh_s), {}
    powers = []
    for n in range(int((end + 1) / 0.02)):
        t = -1.0 + 0.02 * n + rng.uniform(0, 0.002)
        refresh = (t - phase_s) // refresh_s
        latched = phase_s + refresh * refresh_s
        watts = gain * (energy_j(latched) - energy_j(latched - averaging_s)) / averaging_s + noise.setdefault(
            refresh, rng.uniform(-0.5, 0.5)
        )
        powers.append(PowerSample(t=t, watts=watts))
    info = channel(stepped=False, quantity="power_w", averaging_s=averaging_s, energy=energy, method="gauge")
    return Trace(channel=info, powers=tuple(powers), period_s=0.02)


def a_load(rng):
    low_w = rng.uniform(50, 400)
    return rng.choice([constant(low_w), square(low_w, low_w * rng.uniform(1.1, 2.0), rng.uniform(0.3, 2.0), rng.random())])


def a_pair(rng, gain):
    energy_j, sensor = a_load(rng), rng.choice([(0.1, 0.025), (0.1, 0.1), (0.02, 0.01), (0.1, 1.0)])
    counter = stepped_trace(energy_j, rng.choice([0.02, 0.05, 0.1]), rng.random() * 0.02, seed=rng.randrange(99))
    return counter, a_gauge(energy_j, rng, gain=gain, refresh_s=sensor[0], averaging_s=sensor[1])


def test_every_disagreement_of_eight_percent_that_can_be_told_is_flagged_and_hardly_any_sound_pair():
    rng = random.Random(4)
    sound = [agreements(a_pair(rng, rng.uniform(0.985, 1.015)))[0].disagree for _ in range(300)]
    apart = [agreements(a_pair(rng, 1 + rng.choice([-1, 1]) * rng.uniform(0.08, 0.3)))[0].disagree for _ in range(300)]
    assert sum(one is True for one in sound) <= 3
    assert sum(one is False for one in apart) == 0
    assert sum(one is None for one in sound + apart) < 0.6 * 600  # part-time gauges on swinging loads can't be compared in 5 s


def test_a_short_recording_tells_nothing_of_a_scale():
    counter, gauge = a_pair(random.Random(1), 1.5)
    short = Trace(channel=gauge.channel, powers=gauge.powers[:30], period_s=0.02)
    assert agreements((counter, short))[0].disagree is None


def test_only_sensors_of_the_same_domain_are_compared():
    counter = stepped_trace(constant(100.0), 0.1)
    other = gauge_trace(lambda t: 500.0, 0.1, domain="gpu:1", energy=False)
    assert agreements((counter, other)) == ()


def test_the_gauge_shows_how_power_swings_between_two_refreshes_of_the_counter():
    rng = random.Random(2)
    swings = {}
    for name, energy_j in {
        "flat": constant(300.0),
        "fast": square(200.0, 400.0, 0.03, 0.0),
        "slow": square(200.0, 400.0, 1.7, 0.0),
    }.items():
        counter = stepped_trace(energy_j, 0.1)
        swings[name] = with_swing((counter, a_gauge(energy_j, rng)))[0].swing
    assert swings["flat"] < 0.01 < swings["fast"]
    assert swings["slow"] < 0.5 * swings["fast"]
    assert with_swing((stepped_trace(constant(300.0), 0.1),))[0].swing is None


@pytest.mark.parametrize("averaging_s", [0.025, 0.1])
def test_rounds_that_differ_while_their_readings_agree_are_aliased_unless_the_gauge_sees_all(averaging_s):
    rng = random.Random(5)
    rounds = [(0.8 * n, 0.8 * n + 0.7) for n in range(5)]

    def load(t):  # a wave of 100 ms that starts anew, at another place of the gauge's refresh, with every round
        index = int(max(t, 0.0) // 0.8)
        return 500.0 if ((t - 0.8 * index + 0.037 * index) % 0.1) < 0.05 else 100.0

    grid = [0.0]
    for n in range(50_000):
        grid.append(grid[-1] + load(-1.0 + n / 10_000) / 10_000)
    energy_j = lambda t: grid[max(int((t + 1.0) * 10_000), 0)]  # noqa: E731
    found = aliased(a_gauge(energy_j, rng, averaging_s=averaging_s, energy=True, end=3.9), rounds)
    assert (found is None) == (averaging_s == 0.1)


def test_steady_rounds_of_a_part_time_gauge_are_not_suspected():
    rng = random.Random(6)
    rounds = [(0.8 * n, 0.8 * n + 0.7) for n in range(4)]
    assert not any(aliased(a_gauge(constant(rng.uniform(50, 500)), rng, energy=True), rounds) for _ in range(50))
