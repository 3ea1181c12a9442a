"""The fit of energy over lengths: exact data give exact parameters, the interval holds the truth, and what can't be told is refused."""

from __future__ import annotations

import dataclasses
import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_tpf.judge.fit import NoFit, Point, Solution, fit
from pytest_tpf.judge.statistics import t_quantile
from pytest_tpf.uncertainty import normal

PROMPTS, OUTPUTS = (64, 256, 1024), (8, 32, 128)
BETA_J, BASE_J, SLOPE_J = 0.4, 0.7, 0.005


def truth_j(prompt: float, output: float) -> float:
    return BASE_J + SLOPE_J * prompt + (output - 1) * BETA_J


def grid(prompts=PROMPTS, outputs=OUTPUTS, joules=truth_j, **more) -> list[Point]:
    return [Point(group=p, prompt_tokens=float(p), output_tokens=float(o), joules=joules(p, o), **more) for p in prompts for o in outputs]


def by_numpy(points: list[Point]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Parameters (F by group, then beta), residuals and the design, by numpy's own least squares."""
    groups = sorted({point.group for point in points})
    design = np.array([[*(float(point.group == g) for g in groups), point.output_tokens - 1] for point in points])
    energies = np.array([point.joules for point in points])
    parameters, *_ = np.linalg.lstsq(design, energies, rcond=None)
    return parameters, energies - design @ parameters, design


def close(found: Solution, wanted: Solution) -> bool:
    def flat(s: Solution) -> list[float]:
        return [s.beta_j, s.slope_j or 0.0, *(joules for _, (_, joules) in sorted(s.prompts.items()))]

    return flat(found) == pytest.approx(flat(wanted), rel=1e-6, abs=1e-6)


lengths = st.lists(st.integers(1, 8192), min_size=2, max_size=5, unique=True)
noisy = st.lists(st.floats(0.1, 1e4), min_size=25, max_size=25)


def drawn(prompts, outputs, energies) -> list[Point]:
    values = iter(energies)
    return grid(prompts, outputs, lambda p, o: next(values))


@given(lengths, lengths, st.floats(1e-4, 1e3), st.floats(-10, 1e3), st.floats(-1.0, 1.0))
def test_exact_data_give_the_exact_parameters(prompts, outputs, beta, base, slope):
    found = fit(grid(prompts, outputs, lambda p, o: base + slope * p + (o - 1) * beta))
    scale = max(abs(base) + abs(slope) * max(prompts), beta * max(outputs))
    assert found.beta_j == pytest.approx(beta, abs=1e-12 * scale)
    assert found.slope_j == pytest.approx(slope, abs=1e-12 * scale)
    for p in prompts:
        assert found.prompts[p] == (p, pytest.approx(base + slope * p, abs=1e-11 * scale))
        assert found.joules(p, 100.0) == pytest.approx(base + slope * p + 99 * beta, rel=1e-9, abs=1e-9 * scale)


@given(lengths, lengths, noisy)
def test_it_is_numpys_least_squares(prompts, outputs, energies):
    points = drawn(prompts, outputs, energies)
    found, (parameters, residuals, _) = fit(points), by_numpy(points)
    assert [*(found.prompts[group][1] for group in sorted(prompts)), found.beta_j] == pytest.approx(list(parameters), rel=1e-6, abs=1e-6)
    joules = np.array([point.joules for point in points])
    whole = float(((joules - joules.mean()) ** 2).sum())
    if whole > 1e-6:
        assert found.r2 == pytest.approx(1 - float((residuals**2).sum()) / whole, abs=1e-6)
    assert found.worst_relative_error == pytest.approx(float(max(abs(residuals) / joules)), rel=1e-6, abs=1e-9)


@given(lengths, lengths, noisy, st.floats(0.01, 100), st.randoms())
def test_units_and_order_do_not_matter_and_an_offset_is_a_prompts(prompts, outputs, energies, factor, shuffler):
    points = drawn(prompts, outputs, energies)
    found = fit(points)
    scaled = fit([dataclasses.replace(point, joules=factor * point.joules) for point in points])
    assert scaled.beta_j == pytest.approx(factor * found.beta_j, rel=1e-9, abs=1e-9 * factor)
    assert scaled.half_width_j == pytest.approx(factor * found.half_width_j, rel=1e-6, abs=1e-9 * factor)
    shifted = fit([dataclasses.replace(point, joules=point.joules + 5.0) for point in points])
    moved = {group: (length, joules + 5.0) for group, (length, joules) in found.prompts.items()}
    assert close(shifted, dataclasses.replace(found, prompts=moved))
    shuffled = shuffler.sample(points, len(points))
    assert close(fit(shuffled), found)


def test_a_grid_with_a_hole_is_fitted_over_what_is_left():
    assert fit(grid()[:-1]).beta_j == pytest.approx(BETA_J)
    assert fit(grid()[2:]).prompts[64][1] == pytest.approx(truth_j(64, 1))


def test_one_prompt_length_has_no_slope_and_beta_all_the_same():
    found = fit(grid(prompts=(64,)))
    assert (found.beta_j, found.slope_j) == (pytest.approx(BETA_J), None)


def test_prompts_that_came_out_alike_have_no_slope():
    points = [dataclasses.replace(point, prompt_tokens=60.0) for point in grid()]
    assert fit(points).slope_j is None


def test_as_many_points_as_unknowns_leave_nothing_to_check_by():
    found = fit(grid(prompts=(64,), outputs=(8, 32)))
    assert found.beta_j == pytest.approx(BETA_J)
    assert (found.r2, found.worst_relative_error, found.half_width_j) == (None, None, None)


@pytest.mark.parametrize(
    ("points", "said"),
    [
        ([], "no point of the grid has a known energy"),
        (grid(prompts=(64, 256), outputs=(8,)), "3 unknowns (F for each prompt length, and beta) need as many points, and 2 are known"),
        (grid(prompts=(64,), outputs=(8,)) * 2, "one output length only"),
        ([dataclasses.replace(point, output_tokens=16.0) for point in grid()], "one output length only"),
    ],
)
def test_what_cannot_be_told_is_refused(points, said):
    with pytest.raises(NoFit) as error:
        fit(points)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


# --- the interval -----------------------------------------------------------------------------------------------------


def test_a_wrong_model_widens_the_interval_as_the_textbook_has_it():
    points = grid(joules=lambda p, o: truth_j(p, o) + 0.01 * math.sin(p * o))
    parameters, residuals, design = by_numpy(points)
    freedom = len(points) - len(parameters)
    covariance = np.linalg.inv(design.T @ design) * float((residuals**2).sum()) / freedom
    assert fit(points).half_width_j == pytest.approx(t_quantile(0.975, freedom) * math.sqrt(covariance[-1, -1]), rel=1e-6)


def test_rounds_that_differ_widen_it_where_the_points_lie_on_a_line_by_chance():
    steady, scattered = fit(grid(scatter_j=0.001, rounds=4)), fit(grid(scatter_j=1.0, rounds=4))
    assert scattered.half_width_j > 100 * steady.half_width_j > 0
    assert fit(grid(prompts=(64,), outputs=(8, 32), scatter_j=1.0, rounds=4)).half_width_j == pytest.approx(
        t_quantile(0.975, 6) * math.sqrt(2) / 24
    )


def test_a_single_round_has_the_meters_interval():
    assert fit(grid(prompts=(64,), outputs=(8, 32), spread=normal(1.0))).half_width_j == pytest.approx(1.96 * math.sqrt(2) / 24, rel=1e-3)


def measured(draw: random.Random, prompts, outputs, rounds: int, noise: float) -> list[Point]:
    """Means of rounds that are each off by ``noise``, relative."""
    points = []
    for point in grid(prompts, outputs):
        made = [point.joules * draw.gauss(1.0, noise) for _ in range(rounds)]
        mean = sum(made) / rounds
        scatter = math.sqrt(sum((each - mean) ** 2 for each in made) / (rounds - 1) / rounds)
        points.append(dataclasses.replace(point, joules=mean, scatter_j=scatter, rounds=rounds))
    return points


@pytest.mark.parametrize(("prompts", "outputs", "rounds"), [((64,), (8, 128), 4), ((64, 256), (8, 128), 4), (PROMPTS, OUTPUTS, 4)])
def test_the_interval_holds_the_truth(prompts, outputs, rounds):
    draw, tries = random.Random(7), 500
    found = [fit(measured(draw, prompts, outputs, rounds, noise=0.02)) for _ in range(tries)]
    assert sum(abs(each.beta_j - BETA_J) <= each.half_width_j for each in found) >= 0.94 * tries
