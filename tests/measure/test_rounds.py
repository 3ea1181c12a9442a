from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pytest_tpf.measure.rounds import (
    MAX_ROUNDS,
    MIN_ROUNDS,
    Effort,
    calls_per_round,
    passes_wanted,
    rounds_wanted,
    visiting_order,
)

EFFORT = Effort(rounds=None, warmup=1, max_time_s=10.0, target_ci=0.05)


def test_a_short_call_is_repeated_until_the_round_is_long_enough():
    assert calls_per_round(0.010, 0.100) == 10
    assert calls_per_round(0.030, 0.100) == 4
    assert calls_per_round(2.0, 0.100) == 1


def test_a_fixed_number_of_rounds_is_kept():
    fixed = Effort(rounds=7, warmup=0, max_time_s=0.001, target_ci=0.05)
    assert rounds_wanted(fixed, 0, 0.0, 0.0, None, undecided=False) == 7
    assert rounds_wanted(fixed, 7, 1.0, 100.0, 0.5, undecided=True) == 7


def test_at_least_three_rounds_even_when_time_is_spent():
    assert rounds_wanted(EFFORT, 1, 60.0, 60.0, None, undecided=False) == MIN_ROUNDS


def test_a_narrow_interval_is_enough():
    assert rounds_wanted(EFFORT, 3, 0.1, 0.3, 0.04, undecided=False) == 3


def test_a_wide_interval_asks_for_as_many_as_its_square_needs():
    assert rounds_wanted(EFFORT, 4, 0.1, 0.4, 0.10, undecided=False) == 16


def test_time_is_the_limit():
    assert rounds_wanted(EFFORT, 4, 1.0, 4.0, 1.0, undecided=False) == 10


def test_an_undecided_budget_asks_for_more_rounds():
    assert rounds_wanted(EFFORT, 5, 0.1, 0.5, 0.01, undecided=True) == 10


@given(st.integers(0, 2000), st.floats(0, 100), st.floats(0, 1000), st.one_of(st.none(), st.floats(0, 10)), st.booleans())
def test_never_fewer_than_done_and_never_unbounded(done, round_s, spent_s, half_width, undecided):
    wanted = rounds_wanted(EFFORT, done, round_s, spent_s, half_width, undecided=undecided)
    assert done <= wanted <= max(done, MAX_ROUNDS)


def test_passes_over_a_grid_come_in_pairs_unless_their_number_is_fixed():
    assert passes_wanted(EFFORT, 0, 0.0, None) == 4
    assert passes_wanted(EFFORT, 4, 1.0, 0.04) == 4
    assert passes_wanted(EFFORT, 4, 1.0, 0.10) == 16
    assert passes_wanted(EFFORT, 4, 4.5, None) == 8
    assert passes_wanted(Effort(rounds=3, warmup=1, max_time_s=10.0, target_ci=0.05), 0, 0.0, None) == 3


@given(st.integers(0, 2000), st.floats(0, 1000), st.one_of(st.none(), st.floats(0, 10)))
def test_passes_never_end_in_the_middle_of_a_pair(pairs, spent_s, half_width):
    wanted = passes_wanted(EFFORT, 2 * pairs, spent_s, half_width)
    assert wanted % 2 == 0
    assert 2 * pairs <= wanted <= max(2 * pairs, MAX_ROUNDS)


@given(st.integers(1, 6), st.integers(2, 5), st.integers(1, 4))
def test_there_and_back_every_point_has_the_same_mean_place_in_time(prompts, outputs, pairs):
    grid = [(p, o) for p in range(prompts) for o in range(outputs)]
    order = [point for done in range(2 * pairs) for point in visiting_order(grid, done)]
    places = {point: [n for n, visited in enumerate(order) if visited == point] for point in grid}
    assert {len(each) for each in places.values()} == {2 * pairs}
    assert len({sum(each) for each in places.values()}) == 1
