"""Warm-up and drift: rarely seen where there is only noise, seen where they are."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_tpf.judge.steady import NOTABLE, changing_head, drift

RUNS = 1500


def share(happens) -> float:
    """How often something happens in seeded runs."""
    return sum(bool(happens(random.Random(seed))) for seed in range(RUNS)) / RUNS


def looked_at_after_every_round(values) -> bool:
    return any(changing_head(values[:n]) for n in range(3, len(values) + 1))


@pytest.mark.parametrize("rounds", [3, 6, 24])
@pytest.mark.parametrize("noise", [0.005, 0.05])
def test_noise_is_rarely_taken_for_a_warm_up_by_either_figure(rounds, noise):
    def alarm(chance: random.Random) -> bool:
        seconds = [chance.gauss(1.0, noise) for _ in range(rounds)]
        joules = [value * chance.gauss(300.0, 300.0 * noise) for value in seconds]
        return looked_at_after_every_round(seconds) or looked_at_after_every_round(joules)

    assert share(alarm) <= 0.02


def test_skewed_noise_is_rarely_taken_for_a_warm_up():
    assert share(lambda chance: looked_at_after_every_round([chance.lognormvariate(0.0, 0.1) for _ in range(12)])) <= 0.02


@pytest.mark.parametrize(("slower", "rounds"), [(1.1, 10), (1.3, 6), (2.0, 5)])
def test_one_slow_round_at_the_start_is_found(slower, rounds):
    def found(chance: random.Random) -> bool:
        return changing_head([chance.gauss(slower if i == 0 else 1.0, 0.01) for i in range(rounds)]) == 1

    assert share(found) > 0.85


def test_a_cheaper_start_is_a_warm_up_too():
    assert changing_head([0.8, 1.0, 1.01, 0.99, 1.0, 1.005]) == 1


def test_a_start_that_fades_is_found_as_a_whole():
    assert changing_head([2.0, 1.5, 1.0, 1.01, 0.99, 1.0, 1.002, 0.998]) == 2


def test_an_outlier_among_like_rounds_is_no_warm_up():
    assert changing_head([1.0, 1.0001, 1.5, 1.0002, 0.9999, 1.0001, 1.0, 1.0001]) == 0


def test_a_busy_machines_outliers_are_seldom_taken_for_a_warm_up():
    """One round in ten is held up: hardly more is dropped than the first rounds that were, which do look like a warm-up."""

    def one(chance: random.Random) -> float:
        return chance.gauss(1.5, 0.2) if chance.random() < 0.1 else chance.gauss(1.0, 0.001)

    assert share(lambda chance: looked_at_after_every_round([one(chance) for _ in range(10)])) <= 0.15


def test_a_difference_that_does_not_matter_is_not_told():
    assert changing_head([1.0 + NOTABLE / 2, *[1.0, 1.00001, 0.99999] * 5]) == 0


@given(st.lists(st.floats(0.001, 1e6), max_size=40))
def test_the_head_is_at_most_half_and_leaves_two(values):
    head = changing_head(values)
    assert 0 <= head <= len(values) // 2
    assert head == 0 or len(values) - head >= 2


@given(st.lists(st.floats(0.5, 2.0), min_size=3, max_size=20), st.floats(0.001, 1000))
def test_units_do_not_matter(values, unit):
    one, other = drift(values), drift([value * unit for value in values])
    assert other.change == pytest.approx(one.change, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("rounds", [3, 5, 20])
@pytest.mark.parametrize("noise", [0.005, 0.05])
def test_noise_is_rarely_taken_for_a_drift_by_either_figure(rounds, noise):
    def alarm(chance: random.Random) -> bool:
        return any(drift([chance.gauss(1.0, noise) for _ in range(rounds)]).is_drifting for _ in range(2))

    assert share(alarm) <= 0.02


def test_a_drift_is_found_with_its_interval():
    def found(chance: random.Random) -> bool:
        return drift([chance.gauss(1.0 + 0.1 * i / 9, 0.01) for i in range(10)]).is_drifting

    assert share(found) > 0.95


def test_the_interval_covers_the_true_change():
    def covered(chance: random.Random) -> bool:
        low, high = drift([chance.gauss(1.0 + 0.06 * (i - 3.5) / 7, 0.02) for i in range(8)]).ci95
        return low <= 0.06 <= high

    assert 0.93 <= share(covered) <= 0.97


def test_a_straight_line_is_its_change():
    found = drift([100.0, 101.0, 102.0, 103.0, 104.0])
    assert found.change == pytest.approx(4 / 102)
    assert found.ci95 == pytest.approx((4 / 102, 4 / 102))
    assert found.is_drifting


def test_a_small_certain_change_is_no_drift():
    assert not drift([100.0, 100.1, 100.2, 100.3]).is_drifting


@pytest.mark.parametrize("values", [[], [1.0], [1.0, 2.0], [0.0, 0.0, 0.0]])
def test_too_little_to_tell(values):
    assert drift(values) is None
    assert changing_head(values) == 0


def test_equal_rounds_neither_warm_up_nor_drift():
    found = drift([5.0] * 6)
    assert (found.change, found.is_drifting) == (0.0, False)
    assert math.isclose(found.ci95[0], 0.0, abs_tol=1e-12)
    assert changing_head([5.0] * 6) == 0
