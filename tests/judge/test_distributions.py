"""Tail probabilities against scipy 1.16's: ``stats.t.sf``, ``stats.f.sf``, ``special.betainc``."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_tpf.judge.distributions import f_tail, incomplete_beta, student_tail
from pytest_tpf.judge.statistics import t_quantile

STUDENT = [
    (0.0, 3, 0.5),
    (1.0, 1, 0.25),
    (2.015, 5, 0.05000308616340318),
    (3.5, 2.5, 0.026172773480160172),
    (-1.3, 4, 0.868274201764388),
    (6.0, 8, 0.00016169661094257446),
    (12.0, 30, 2.7900927075996303e-13),
    (40.0, 4, 1.1670081613006339e-06),
    (0.01, 7, 0.49615015882181085),
    (5.0, 1000, 3.3836281823243174e-07),
    (1.96, 1e6, 0.024998033792634926),
    (8.0, 8e3, 7.093664396735455e-16),
]
FISHER = [
    (1.0, 1, 1, 0.5),
    (0.5, 4, 10, 0.736775548696845),
    (3.48, 4, 10, 0.04992722707010811),
    (10.0, 2, 20, 0.0009765625),
    (50.0, 7, 32, 1.9094445300907416e-15),
    (2.0, 36, 144, 0.0022041858228263895),
    (1.1, 500, 2000, 0.0846442354386361),
    (300.0, 1, 4, 6.52107025409421e-05),
]
BETA = [
    (0.5, 0.5, 0.5, 0.5),
    (0.1, 2, 3, 0.0523),
    (0.9, 2, 3, 0.9963),
    (0.3, 10, 0.5, 1.2205229279531696e-06),
    (0.99, 50, 0.5, 0.3173043978741973),
    (0.001, 0.5, 20, 0.15758381398363844),
    (0.7, 100, 40, 0.3458280101299907),
]


@pytest.mark.parametrize(("t", "degrees", "expected"), STUDENT)
def test_students_tail(t, degrees, expected):
    assert student_tail(t, degrees) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("ratio", "above", "below", "expected"), FISHER)
def test_fishers_tail(ratio, above, below, expected):
    assert f_tail(ratio, above, below) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("x", "a", "b", "expected"), BETA)
def test_the_incomplete_beta_function(x, a, b, expected):
    assert incomplete_beta(x, a, b) == pytest.approx(expected, rel=1e-9)


def test_at_the_ends():
    assert student_tail(math.inf, 3) == 0.0
    assert student_tail(-math.inf, 3) == 1.0
    assert student_tail(1.959963984540054, math.inf) == pytest.approx(0.025, rel=1e-12)
    assert f_tail(math.inf, 2, 3) == 0.0
    assert f_tail(0.0, 2, 3) == f_tail(-1.0, 2, 3) == 1.0
    assert incomplete_beta(0.0, 2, 3) == 0.0
    assert incomplete_beta(1.0, 2, 3) == 1.0


degrees_of_freedom = st.floats(1, 1e4)


@given(st.floats(0.0001, 0.4), st.integers(1, 300))
def test_the_tail_beyond_a_quantile_is_what_the_quantile_leaves(chance, degrees):
    assert student_tail(t_quantile(1 - chance, degrees), degrees) == pytest.approx(chance, rel=2e-3)


@given(st.floats(-50, 50), degrees_of_freedom)
def test_both_tails_are_one(t, degrees):
    assert student_tail(t, degrees) + student_tail(-t, degrees) == pytest.approx(1.0)


@given(st.floats(-50, 50), st.floats(-50, 50), degrees_of_freedom)
def test_the_farther_out_the_less_likely(one, other, degrees):
    near, far = sorted((one, other))
    assert student_tail(far, degrees) <= student_tail(near, degrees) + 1e-12


@given(st.floats(0.01, 40), degrees_of_freedom)
def test_the_square_of_students_t_is_fishers(t, degrees):
    assert f_tail(t * t, 1, degrees) == pytest.approx(2 * student_tail(t, degrees), rel=1e-6, abs=1e-14)


@given(st.floats(0.001, 0.999), st.floats(0.5, 500), st.floats(0.5, 500))
def test_the_two_sides_of_a_beta_are_one(x, a, b):
    assert incomplete_beta(x, a, b) + incomplete_beta(1 - x, b, a) == pytest.approx(1.0)
    assert -1e-12 <= incomplete_beta(x, a, b) <= 1 + 1e-12
