from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_tpf.uncertainty import NONE, normal, total, triangular, u_shaped, uniform

sizes = st.floats(0.01, 100.0)


def test_the_coverage_factor_is_that_of_the_distribution():
    assert normal(3.0).expanded == pytest.approx(5.88, abs=0.01)
    assert uniform(1.0).expanded == pytest.approx(0.95, abs=0.01)
    assert triangular(1.0).expanded == pytest.approx(0.776, abs=0.015)  # 1 - sqrt(0.05)
    assert u_shaped(1.0).standard == pytest.approx(0.7071, abs=1e-4)
    assert 1.0 <= u_shaped(1.0).expanded < 1.2  # never less than the most it can be off
    assert NONE.expanded == 0.0


@pytest.mark.parametrize(
    ("spread", "draw"),
    [
        (total([uniform(1.0), uniform(1.0)]), lambda rng: rng.uniform(-1, 1) + rng.uniform(-1, 1)),
        (total([uniform(1.0), uniform(0.3), normal(0.2)]), lambda rng: rng.uniform(-1, 1) + rng.uniform(-0.3, 0.3) + rng.gauss(0, 0.2)),
        (total([triangular(1.0), normal(0.5)]), lambda rng: rng.triangular(-1, 1, 0) + rng.gauss(0, 0.5)),
    ],
    ids=["two ends", "a mixture", "a step and a swing"],
)
def test_the_interval_of_a_sum_holds_95_in_100(spread, draw):
    rng = random.Random(3)
    held = sum(abs(draw(rng)) <= spread.expanded for _ in range(20_000)) / 20_000
    assert held == pytest.approx(0.95, abs=0.01)


@given(st.lists(sizes, min_size=1, max_size=8), sizes)
def test_another_influence_never_narrows_the_standard_uncertainty(sizes_j, more):
    parts = [uniform(size) for size in sizes_j]
    assert total([*parts, triangular(more)]).standard >= total(parts).standard
