"""The contrast of logarithms, its uncertainty, and what runs scatter."""

from __future__ import annotations

import dataclasses
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_tpf.judge.contrast import UNKNOWN_NOISE, Contrast, RunNoise, contrast, metric_of, run_noise
from pytest_tpf.judge.statistics import t_quantile
from pytest_tpf.judge.thresholds import DEVICE, METRICS
from tests.judge.samples import a_round, drawn, sample, times

JOULES = METRICS["joules_per_token"]
SPEED = METRICS["tokens_per_second"]

energies = st.lists(st.floats(1.0, 1000.0), min_size=2, max_size=12)
factors = st.floats(0.01, 100.0)


def between(new, old, what=JOULES, noise=UNKNOWN_NOISE) -> Contrast:
    found = contrast(what, new.rounds, new, [old] if not isinstance(old, list) else old, noise)
    assert isinstance(found, Contrast)
    return found


def test_the_figure_is_the_ratio_of_the_sums():
    found = between(sample([60.0, 60.0]), sample([40.0, 60.0]))
    assert found.new.value == pytest.approx(0.6)
    assert found.old.value == pytest.approx(0.5)
    assert found.worse == pytest.approx(math.log(1.2))


def test_a_rate_is_worse_where_it_is_lower():
    found = between(sample([60.0, 60.0]), sample([50.0, 50.0]), SPEED)
    assert found.new.value == pytest.approx(100 / 2.4)
    assert found.worse == pytest.approx(math.log(1.2))


def test_its_uncertainty_is_that_of_two_means():
    new, old = [49.0, 50.0, 51.0, 50.0], [48.0, 52.0, 50.0]
    found = between(sample(new), sample(old))
    by_hand = math.hypot(math.sqrt(2 / 3 / 4) / 50, math.sqrt(4 / 3) / 50)
    assert found.standard == pytest.approx(by_hand)
    assert 2 < found.degrees_of_freedom < 5


def test_the_meters_own_uncertainty_counts_where_it_is_wider():
    rounds = [50.0, 50.0, 50.0]
    found = between(sample(rounds, uncertainty=0.0196), sample(rounds))
    assert found.standard == pytest.approx(0.01, rel=1e-3)
    assert between(sample(rounds, uncertainty=0.0196), sample(rounds), SPEED).standard == 0.0
    scattered = between(sample(uncertainty=0.0001), sample())
    assert scattered.standard == pytest.approx(between(sample(), sample()).standard)


def test_a_single_round_scatters_as_the_earlier_ones_did():
    old = sample([49.0, 50.0, 51.0, 50.0])
    one, all_four = between(sample([55.0]), old), between(sample([55.0] * 4), old)
    assert one.standard > 2 * all_four.standard
    assert one.degrees_of_freedom >= 3


def test_single_rounds_of_several_runs_scatter_as_runs_do():
    runs = [sample([joules]) for joules in (49.0, 50.0, 51.0, 50.0, 50.0)]
    found = between(sample([50.0]), runs)
    logs = [math.log(joules) for joules in (49.0, 50.0, 51.0, 50.0, 50.0)]
    mean = sum(logs) / 5
    variance = sum((each - mean) ** 2 for each in logs) / 4
    assert found.standard == pytest.approx(math.sqrt(variance * (1 + 1 / 5)), rel=1e-6)


@pytest.mark.parametrize("what", [JOULES, SPEED, METRICS["ttft_s"]])
def test_nothing_known_says_on_which_side(what):
    unknown = sample([None, None], reasons=("counter_reset",))
    unknown = dataclasses.replace(unknown, rounds=tuple(dataclasses.replace(r, duration_s=0.0, ttft_s=None) for r in unknown.rounds))
    why = "counter_reset" if what.is_energy else "no round has it"
    assert contrast(what, unknown.rounds, unknown, [sample()], UNKNOWN_NOISE) == f"unknown now: {why}"
    assert contrast(what, sample().rounds, sample(), [unknown], UNKNOWN_NOISE) == f"unknown then: {why}"


def test_rounds_without_energy_are_left_out():
    assert between(sample([50.0, None, 52.0]), sample()) == between(sample([50.0, 52.0]), sample())


HOPELESS = [None, 0.0, math.nan, math.inf, -math.inf, -1.0]


@given(st.lists(st.sampled_from([*HOPELESS, 50.0, 51.0]), max_size=8), st.lists(st.sampled_from([*HOPELESS, 50.0]), max_size=8))
def test_no_rounds_break_it(new, old):
    found = contrast(JOULES, sample(new).rounds, sample(new), [sample(old)], UNKNOWN_NOISE)
    assert isinstance(found, str) or math.isfinite(found.worse)


def test_joules_are_taken_where_the_budgets_are():
    assert metric_of("joules_per_token", sample(boundary="device")) is DEVICE
    assert metric_of("joules_per_token", sample(boundary="facility")) is JOULES
    assert metric_of("ttft_s", sample(boundary="device")) is METRICS["ttft_s"]
    run = sample([50.0], rounds=(a_round(50.0, device_j=40.0),))
    assert between(run, run, DEVICE).new.value == pytest.approx(0.4)


@given(energies, energies, st.sampled_from([JOULES, SPEED]))
def test_swapping_the_sides_turns_the_sign(new, old, what):
    there, back = between(sample(new), sample(old), what), between(sample(old), sample(new), what)
    assert there.worse == pytest.approx(-back.worse, abs=1e-12)
    assert there.standard == pytest.approx(back.standard)


@given(energies, energies, factors)
def test_the_unit_does_not_matter(new, old, factor):
    plain, scaled = between(sample(new), sample(old)), between(times(sample(new), factor), times(sample(old), factor))
    assert scaled.worse == pytest.approx(plain.worse, abs=1e-9)
    assert scaled.standard == pytest.approx(plain.standard, abs=1e-9)


@given(energies, st.randoms(use_true_random=False))
def test_the_order_of_rounds_does_not_matter(joules, rng):
    shuffled = rng.sample(joules, len(joules))
    plain, other = between(sample(joules), sample()), between(sample(shuffled), sample())
    assert (other.worse, other.standard) == (pytest.approx(plain.worse), pytest.approx(plain.standard))


@given(energies, st.integers(0, 11), st.floats(0.1, 0.9))
def test_a_round_split_in_two_is_the_same_figure(joules, at, share):
    whole = sample(joules)
    place = at % len(joules)
    old = whole.rounds[place]
    parts = [
        dataclasses.replace(old, it_j=part * old.it_j, duration_s=part * old.duration_s, output_tokens=part * old.output_tokens)
        for part in (share, 1 - share)
    ]
    split = dataclasses.replace(whole, rounds=(*whole.rounds[:place], *parts, *whole.rounds[place + 1 :]))
    assert between(split, sample()).worse == pytest.approx(between(whole, sample()).worse, abs=1e-9)
    assert between(split, sample(), SPEED).worse == pytest.approx(between(whole, sample(), SPEED).worse, abs=1e-9)


@given(st.lists(st.floats(-0.2, 0.2), min_size=3, max_size=8), st.floats(0.1, 1.0), st.floats(1.0, 3.0))
def test_wider_rounds_never_narrow_the_interval(deviations, narrow, wide):
    def half(scale: float) -> float:
        mean = sum(deviations) / len(deviations)
        run = sample([50 * (1 + scale * (each - mean)) for each in deviations])
        found = between(run, run)
        return found.quantile(0.975)

    assert half(narrow) <= half(wide) + 1e-12


@given(st.floats(0, 0.01), st.floats(0, 0.01), st.integers(4, 1000))
def test_more_noise_of_runs_never_lessens_the_uncertainty(one, other, degrees):
    less, more = sorted((one, other))
    found = [between(sample(), sample(), noise=RunNoise(variance=each, degrees_of_freedom=degrees)) for each in (less, more)]
    assert found[0].standard <= found[1].standard


def test_noise_that_is_hardly_known_does_not_count():
    assert between(sample(), sample(), noise=RunNoise(variance=1.0, degrees_of_freedom=3)) == between(sample(), sample())


def test_where_no_side_scatters_there_is_no_interval():
    found = between(sample([50.0], uncertainty=0.01), sample([50.0]))
    assert found.quantile(0.975) == math.inf
    assert between(sample([50.0]), sample([50.0])).quantile(0.975) == math.inf


# --- what runs scatter ------------------------------------------------------------------------------------------------


def test_the_scatter_of_runs_is_found_from_many_tests():
    rng = random.Random(3)
    tests = [[drawn(rng, rounds=6, within=0.03, between=0.02) for _ in range(6)] for _ in range(80)]
    found = run_noise(tests, "joules_per_token")
    assert 50 < found.degrees_of_freedom <= 400
    assert math.sqrt(found.variance) == pytest.approx(0.02, rel=0.15)


def test_runs_that_differ_no_more_than_their_rounds_have_next_to_none():
    rng = random.Random(3)
    tests = [[drawn(rng, rounds=6, within=0.03) for _ in range(6)] for _ in range(80)]
    assert math.sqrt(run_noise(tests, "joules_per_token").variance) < 0.005


def test_a_few_runs_far_out_make_heavier_tails():
    rng = random.Random(4)
    calm = [[drawn(rng, rounds=6, within=0.02, between=0.02) for _ in range(6)] for _ in range(80)]
    wild = [[times(run, 1.5) if rng.random() < 0.02 else run for run in runs] for runs in calm]
    assert run_noise(wild, "joules_per_token").degrees_of_freedom < 6
    assert run_noise(calm, "joules_per_token").degrees_of_freedom > 15


def test_runs_of_one_round_tell_no_noise_beyond_their_rounds():
    assert run_noise([[sample([50.0]), sample([60.0])]], "joules_per_token") == UNKNOWN_NOISE
    assert run_noise([[sample()], []], "joules_per_token") == UNKNOWN_NOISE
    assert run_noise([], "joules_per_token") == UNKNOWN_NOISE


def test_a_test_whose_runs_scatter_more_than_the_others_has_its_own_noise():
    calm = RunNoise(variance=0.0001, degrees_of_freedom=100)
    runs = [times(sample(), factor) for factor in (0.8, 0.9, 1.0, 1.1, 1.2)]
    wild, usual = between(sample(), runs, noise=calm), between(sample(), [sample()] * 5, noise=calm)
    assert wild.standard > 3 * usual.standard


@given(st.integers(2, 6), st.integers(2, 6), st.integers(0, 1000))
def test_the_scatter_is_never_below_zero(tests, runs, seed):
    rng = random.Random(seed)
    found = run_noise([[drawn(rng) for _ in range(runs)] for _ in range(tests)], "joules_per_token")
    assert found.variance >= 0
    assert min(4, tests * (runs - 1)) <= found.degrees_of_freedom <= tests * (runs - 1)


# --- does the interval hold the truth? --------------------------------------------------------------------------------

DRAWS = 2000


def held(within: float, between_runs: float, runs: int, is_known: bool, seed: int) -> float:
    """Share of 95 % intervals that hold the true ratio."""
    rng, count = random.Random(seed), 0
    noise = RunNoise(variance=between_runs**2, degrees_of_freedom=1e6) if is_known else UNKNOWN_NOISE
    for _ in range(DRAWS):
        new, old = drawn(rng, 5, within, between_runs, 60.0), [drawn(rng, 5, within, between_runs, 50.0) for _ in range(runs)]
        found = between(new, old, noise=noise)
        count += abs(found.worse - math.log(1.2)) <= found.quantile(0.975)
    return count / DRAWS


@pytest.mark.parametrize("runs", [1, 5])
@pytest.mark.parametrize("within", [0.01, 0.08])
def test_the_interval_holds_the_true_ratio_95_times_in_100(within, runs):
    assert 0.93 <= held(within, 0.0, runs, is_known=False, seed=11) <= 0.97


@pytest.mark.parametrize("runs", [1, 5, 20])
def test_so_it_does_where_runs_scatter_and_that_is_known(runs):
    assert 0.93 <= held(0.02, 0.02, runs, is_known=True, seed=12) <= 0.97


def test_and_where_that_is_learned_from_the_runs_of_twenty_tests():
    rng, count, total = random.Random(13), 0, 0
    for _ in range(60):
        history = [[drawn(rng, 5, 0.02, 0.02) for _ in range(5)] for _ in range(20)]
        noise = run_noise(history, "joules_per_token")
        for runs in history:
            found = between(drawn(rng, 5, 0.02, 0.02), runs, noise=noise)
            count, total = count + (abs(found.worse) <= found.quantile(0.975)), total + 1
    assert 0.93 <= count / total <= 0.97


def test_where_it_is_not_known_the_interval_holds_less():
    assert held(0.02, 0.02, 1, is_known=False, seed=14) < 0.85


def test_a_t_quantile_is_what_widens_the_interval_of_few_rounds():
    found = between(sample(), sample())
    assert found.quantile(0.975) == pytest.approx(t_quantile(0.975, found.degrees_of_freedom) * found.standard)
