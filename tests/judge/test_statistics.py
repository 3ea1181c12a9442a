from __future__ import annotations

import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_tpf.judge.statistics import distribution, expanded_uncertainty, quantile, ratio_uncertainty, t_quantile
from pytest_tpf.uncertainty import NONE, normal, total, uniform

# Two-sided 95 % points, from the NIST/SEMATECH e-Handbook, table 1.3.6.7.2.
TABLE = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 7: 2.365, 10: 2.228, 20: 2.086, 30: 2.042, 60: 2.000, 100: 1.984}


@pytest.mark.parametrize(("dof", "expected"), TABLE.items())
def test_t_quantiles_agree_with_the_published_table(dof, expected):
    assert t_quantile(0.975, dof) == pytest.approx(expected, abs=6e-4)


def test_t_tends_to_the_normal():
    assert t_quantile(0.975, math.inf) == pytest.approx(1.959964, abs=1e-6)
    assert t_quantile(0.975, 9e5) == pytest.approx(1.959964, abs=1e-5)


@given(st.floats(min_value=1, max_value=1e5), st.floats(min_value=1, max_value=1e5))
def test_t_never_grows_with_the_degrees_of_freedom(one, other):
    few, many = sorted((one, other))
    assert t_quantile(0.975, few) >= t_quantile(0.975, many) - 1e-9


def test_ratio_uncertainty_of_equal_rounds_is_the_standard_error_of_the_mean():
    joules, tokens = [10.0, 11.0, 9.0, 10.5], [100.0] * 4
    expected = statistics.stdev(j / 100 for j in joules) / 2
    assert ratio_uncertainty(joules, tokens) == pytest.approx(expected)


def test_rounds_of_one_common_ratio_have_no_spread():
    assert ratio_uncertainty([1.0, 2.0, 4.0], [10.0, 20.0, 40.0]) == pytest.approx(0.0)


def test_one_round_has_no_spread_to_tell():
    assert ratio_uncertainty([1.0], [10.0]) is None
    assert ratio_uncertainty([1.0, 1.0], [0.0, 0.0]) is None


def test_without_spread_the_meter_alone_counts():
    assert expanded_uncertainty(None, 1, normal(2.0)) == pytest.approx(1.959964 * 2)
    assert expanded_uncertainty(0.0, 5, uniform(2.0)) == pytest.approx(0.95 * 2, rel=0.01)


def test_without_meter_uncertainty_the_small_sample_t_counts():
    assert expanded_uncertainty(1.0, 3, NONE) == pytest.approx(4.303, abs=1e-3)


def test_what_the_meter_scatters_counts_once():
    assert expanded_uncertainty(1.0, 12, normal(1.2)) == pytest.approx(1.96 * 1.2, rel=0.001)
    assert expanded_uncertainty(2.0, 3, normal(1.0)) == expanded_uncertainty(2.0, 3, NONE)


@given(st.floats(0.001, 10), st.integers(2, 30), st.floats(0, 10), st.floats(0, 10))
def test_more_uncertainty_of_either_kind_never_narrows_the_interval(type_a, rounds, less, more):
    less, more = sorted((less, more))
    assert expanded_uncertainty(type_a, rounds, normal(less)) <= expanded_uncertainty(type_a, rounds, normal(more))
    assert expanded_uncertainty(less, rounds, normal(type_a)) <= expanded_uncertainty(more, rounds, normal(type_a))


@pytest.mark.parametrize("rounds", [3, 5, 12])
@pytest.mark.parametrize(("process", "meter"), [(2.0, 0.0), (0.0, 2.0), (1.0, 1.0), (2.0, 1.0)])
def test_the_interval_over_rounds_holds_the_truth(process, meter, rounds):
    rng = random.Random(7)
    type_b = total([normal(meter)] * rounds)
    held = 0
    for _ in range(2000):
        joules = [rng.gauss(50.0, process) + rng.gauss(0.0, meter) for _ in range(rounds)]
        spread = ratio_uncertainty(joules, [1.0] * rounds)
        held += abs(sum(joules) - 50.0 * rounds) <= expanded_uncertainty(spread * rounds, rounds, type_b)
    assert 0.94 <= held / 2000 <= 0.995


def test_the_interval_of_five_rounds_holds_the_truth_95_times_in_100():
    rng = random.Random(7)
    held = 0
    for _ in range(2000):
        joules = [rng.gauss(50.0, 2.0) for _ in range(5)]
        spread = ratio_uncertainty(joules, [100.0] * 5)
        half_width = expanded_uncertainty(spread, 5, NONE)
        held += abs(sum(joules) / 500 - 0.5) <= half_width
    assert 0.935 <= held / 2000 <= 0.965


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50))
def test_a_distribution_is_ordered_and_counts_all(values):
    found = distribution(values)
    assert found is not None
    assert found.count == len(values)
    assert found.min <= found.p50 <= found.p95 <= found.p99 <= found.max


def test_quantiles_interpolate():
    assert quantile([0.0, 10.0], 0.25) == 2.5
    assert quantile([3.0], 0.99) == 3.0
    assert distribution([]) is None
