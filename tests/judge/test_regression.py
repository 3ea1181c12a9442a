"""One figure against its earlier runs: the verdict, and what is said of it."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_tpf.judge.contrast import RunNoise
from pytest_tpf.judge.regression import compare
from pytest_tpf.judge.sample import Sample
from pytest_tpf.judge.statistics import ratio_uncertainty, t_quantile
from pytest_tpf.judge.thresholds import METRICS, Threshold
from pytest_tpf.records import Change
from tests.judge.samples import drawn, sample, times

FIVE_PERCENT = Threshold(metric="joules_per_token", amount=0.05, kind="relative")
STEADY = sample([50.0, 50.2, 49.8, 50.1, 49.9])
BADNESS = {"pass": 0, "inconclusive": 1, "fail": 2}

runs = st.lists(st.floats(30.0, 70.0), min_size=5, max_size=10).map(sample)
steady_runs = st.lists(st.floats(49.0, 51.0), min_size=5, max_size=10).map(sample)
thresholds = st.sampled_from(["joules_per_token", "joules_per_request", "tokens_per_second", "ttft_s", "tpot_s", "e2e_s"]).flatmap(
    lambda name: st.builds(Threshold, metric=st.just(name), amount=st.floats(0.01, 0.5), kind=st.sampled_from(["relative", "absolute"]))
)


def judged(new: Sample, old: Sample | Sequence[Sample], threshold: Threshold | None = FIVE_PERCENT, **more) -> Change:
    metric = more.pop("metric", threshold.metric if threshold else "joules_per_token")
    return compare(new, [old] if isinstance(old, Sample) else old, threshold, metric, **more)


# --- verdicts ---------------------------------------------------------------------------------------------------------


def test_the_same_again_passes():
    change = judged(STEADY, STEADY)
    assert (change.verdict, change.reason, change.improved) == ("pass", None, False)
    assert change.change == pytest.approx(0.0, abs=1e-12)
    assert change.ci95[0] < 0 < change.ci95[1]
    assert change.p > 0.99


def test_clearly_worse_fails_with_change_and_interval():
    change = judged(times(STEADY, 1.2), STEADY)
    assert change.verdict == "fail"
    assert change.change == pytest.approx(0.2)
    assert 0.05 < change.ci95[0] < 0.2 < change.ci95[1]
    assert change.p < 1e-6
    assert (change.reference, change.actual) == (pytest.approx(0.5), pytest.approx(0.6))
    assert (change.rounds, change.reference_rounds) == (5, 5)


def test_the_null_is_at_the_threshold():
    assert judged(times(STEADY, 1.05), STEADY).p == pytest.approx(0.5, abs=1e-6)
    assert judged(times(STEADY, 1.06), STEADY).verdict == "fail"
    assert judged(times(STEADY, 1.04), STEADY).verdict == "pass"


def test_worse_but_not_surely_is_inconclusive():
    noisy = sample([50.0, 60.0, 55.0, 62.0, 48.0])
    change = judged(noisy, STEADY)
    assert (change.verdict, change.reason) == ("inconclusive", "worse than the threshold, but the interval reaches below it")


def test_no_worse_but_far_too_noisy_is_inconclusive():
    noisy = sample([30.0, 70.0, 50.0, 62.0, 38.0])
    change = judged(noisy, STEADY)
    assert (change.verdict, change.reason) == ("inconclusive", "too noisy: the interval reaches beyond twice the threshold")
    assert change.detectable > 0.5


@pytest.mark.parametrize("factor", [1.0, 1.5])
def test_too_few_rounds_say_how_many_are_needed(factor):
    few = times(sample([50.0, 50.2, 49.8]), factor)
    change = judged(few, STEADY)
    assert change.verdict == "inconclusive"
    assert change.reason == "too few rounds (n=3, need 5)"
    assert change.detectable is not None
    assert judged(STEADY, few).reason == "too few rounds in the reference (n=3, need 5)"


def test_five_runs_of_the_reference_stand_for_rounds_of_the_new_one():
    many = [times(sample([50.0]), factor) for factor in (0.99, 0.995, 1.0, 1.005, 1.01)]
    assert judged(sample([50.0]), many).verdict == "pass"
    assert judged(sample([60.0]), many).verdict == "fail"
    assert judged(sample([60.0]), many[:4]).verdict == "inconclusive"


def test_an_improvement_is_told_and_passes():
    change = judged(times(STEADY, 0.8), STEADY)
    assert (change.verdict, change.improved) == ("pass", True)
    assert change.change == pytest.approx(-0.2)
    faster = judged(times(STEADY, 0.8), STEADY, None, metric="tokens_per_second")
    assert (faster.verdict, faster.improved) == ("pass", True)
    assert faster.change == pytest.approx(0.25)


def test_a_small_gain_within_the_threshold_is_no_news():
    assert not judged(times(STEADY, 0.97), STEADY).improved
    assert judged(times(STEADY, 0.97), STEADY, None).improved


def test_without_a_threshold_nothing_is_judged():
    change = judged(times(STEADY, 3.0), STEADY, None)
    assert (change.verdict, change.threshold, change.p, change.detectable) == ("pass", None, None, None)
    assert change.change == pytest.approx(2.0)


def test_a_lower_rate_fails():
    threshold = Threshold(metric="tokens_per_second", amount=0.05, kind="relative")
    change = judged(times(STEADY, 1.2), STEADY, threshold)
    assert change.verdict == "fail"
    assert change.change == pytest.approx(1 / 1.2 - 1)
    assert change.ci95[0] < change.change < change.ci95[1] < -0.05


def test_an_absolute_threshold_is_in_the_figures_unit():
    threshold = Threshold(metric="joules_per_token", amount=0.05, kind="absolute")  # the reference is 0.5 J/token
    assert judged(times(STEADY, 1.08), STEADY, threshold).verdict == "pass"
    change = judged(times(STEADY, 1.2), STEADY, threshold)
    assert change.verdict == "fail"
    assert change.change == pytest.approx(0.1)
    assert 0.05 < change.ci95[0] < 0.1 < change.ci95[1]


@pytest.mark.parametrize("amount", [1.0, 5.0, 60.0])
def test_a_rate_can_fall_by_no_more_than_all_of_it(amount):
    threshold = Threshold(metric="tokens_per_second", amount=amount * 100, kind="absolute")
    assert judged(times(STEADY, 100.0), STEADY, threshold).verdict == "pass"


# --- what can't be compared -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"trust": "estimated"}, "energy is estimated, was measured"),
        ({"domains": ("cpu:0", "gpu:0")}, "metered are cpu:0, gpu:0, were gpu:0"),
    ],
)
def test_energies_of_another_kind_are_not_compared_but_times_are(changed, told):
    other = dataclasses.replace(STEADY, **changed)
    change = judged(other, STEADY)
    assert (change.verdict, change.reason, change.change) == ("not_measured", told, None)
    assert judged(other, STEADY, None, metric="tokens_per_second").change == pytest.approx(0.0, abs=1e-12)


def test_an_energy_that_vanished_is_not_measured():
    lost = sample([None] * 5, trust=None, domains=(), reasons=("counter_reset",))
    change = judged(lost, STEADY)
    assert (change.verdict, change.reason) == ("not_measured", "unknown now: counter_reset")
    assert (change.threshold, change.kind) == (0.05, "relative")


# --- measured once more -----------------------------------------------------------------------------------------------


def test_what_looked_worse_only_at_first_passes():
    again = dataclasses.replace(STEADY, rounds=times(STEADY, 1.2).rounds + STEADY.rounds)
    assert judged(again, STEADY).verdict != "pass"
    change = judged(again, STEADY, remeasured=5)
    assert change.verdict == "pass"
    assert change.rounds == 5
    assert change.reason.startswith("looked worse at first (+10.0%)")


def test_how_the_first_rounds_scattered_is_not_held_against_the_second():
    rounds = times(STEADY, 1.5).rounds + STEADY.rounds
    scatter = ratio_uncertainty([each.it_j for each in rounds], [each.output_tokens for each in rounds])
    mean = sum(each.it_j for each in rounds) / sum(each.output_tokens for each in rounds)
    by_rounds = t_quantile(0.975, len(rounds) - 1) * scatter / mean
    assert judged(dataclasses.replace(STEADY, rounds=rounds, uncertainty=by_rounds), STEADY, remeasured=5).verdict == "pass"
    by_meter = judged(dataclasses.replace(STEADY, rounds=rounds, uncertainty=1.5 * by_rounds), STEADY, remeasured=5)
    assert by_meter.verdict == "inconclusive"


def test_what_is_still_worse_counts_with_all_its_rounds():
    worse = times(STEADY, 1.2)
    change = judged(dataclasses.replace(worse, rounds=worse.rounds * 2), STEADY, remeasured=5)
    assert (change.verdict, change.rounds, change.reason) == ("fail", 10, None)


def test_energy_lost_on_the_second_time_leaves_the_first():
    worse = times(STEADY, 1.2)
    lost = sample([None] * 5).rounds
    assert judged(dataclasses.replace(worse, rounds=worse.rounds + lost), STEADY, remeasured=5).verdict == "fail"


@given(steady_runs, steady_runs, st.floats(0.8, 1.4))
def test_measuring_once_more_never_fails_what_is_no_worse_then(new, old, factor):
    again = dataclasses.replace(new, rounds=times(new, factor).rounds + new.rounds)
    change = judged(again, old, remeasured=len(new.rounds))
    if change.verdict == "fail":
        assert judged(new, old).change > 0.05


# --- invariants -------------------------------------------------------------------------------------------------------


@given(runs, runs, thresholds, st.floats(1.0, 2.0))
def test_what_is_worse_never_gets_a_better_verdict(new, old, threshold, factor):
    one, worse = judged(new, old, threshold), judged(times(new, factor), old, threshold)
    assert BADNESS[one.verdict] <= BADNESS[worse.verdict]
    assert worse.p <= one.p + 1e-12


@given(steady_runs, steady_runs, thresholds, st.floats(1.0, 2.0), st.floats(0.9, 1.3))
def test_a_wider_threshold_never_gets_a_worse_verdict(new, old, threshold, factor, change):
    new = times(new, change)
    wider = dataclasses.replace(threshold, amount=threshold.amount * factor)
    assert BADNESS[judged(new, old, wider).verdict] <= BADNESS[judged(new, old, threshold).verdict]


@given(runs, runs, st.floats(0.001, 1000.0), st.sampled_from(["joules_per_token", "tokens_per_second", "ttft_s"]))
def test_the_unit_does_not_matter(new, old, factor, metric):
    threshold = Threshold(metric=metric, amount=0.05, kind="relative")
    plain, scaled = judged(new, old, threshold), judged(times(new, factor), times(old, factor), threshold)
    assert scaled.change == pytest.approx(plain.change, abs=1e-7)
    assert scaled.ci95 == pytest.approx(plain.ci95, abs=1e-6)


@given(runs, thresholds)
def test_the_identical_run_never_fails_nor_improves(run, threshold):
    change = judged(run, run, threshold)
    assert change.verdict in ("pass", "inconclusive")
    assert not change.improved
    assert change.change == pytest.approx(0.0, abs=1e-12)


@given(runs, runs, thresholds)
def test_a_fail_is_an_interval_beyond_the_threshold(new, old, threshold):
    change = judged(new, old, threshold)
    sign = 1 if METRICS[threshold.metric].better == "lower" else -1
    nearest = min(sign * end for end in change.ci95)
    assert (change.verdict == "fail") == (nearest > threshold.amount)
    assert change.ci95[0] <= change.change <= change.ci95[1]
    assert 0 <= change.p <= 1
    assert change.verdict != "fail" or change.p <= 0.0251


@given(steady_runs, steady_runs, st.integers(1, 500))
def test_more_figures_never_make_a_smaller_change_detectable(new, old, family):
    assert judged(new, old, family=family).detectable >= judged(new, old).detectable - 1e-12


@given(
    st.lists(st.sampled_from([None, 0.0, math.nan, math.inf, -5.0, 1e-300, 1e300, 50.0]), max_size=8),
    runs,
    thresholds,
    st.sampled_from([0, 3]),
)
def test_no_rounds_break_it(joules, run, threshold, remeasured):
    for new, old in ((sample(joules), run), (run, sample(joules))):
        change = judged(new, old, threshold, remeasured=remeasured)
        assert change.verdict in ("pass", "fail", "inconclusive", "not_measured")
        assert change.change is None or math.isfinite(change.change)


def test_what_is_detectable_is_detected_95_times_in_100():
    rng, caught = random.Random(5), 0
    detectable = judged(drawn(rng, 200, 0.02), drawn(rng, 200, 0.02)).detectable
    for _ in range(300):
        caught += judged(drawn(rng, 200, 0.02, truth=50.0 * (1 + detectable)), drawn(rng, 200, 0.02)).verdict == "fail"
    assert 0.9 <= caught / 300 <= 0.99


def test_the_noise_of_runs_widens_the_interval_and_weakens_the_verdict():
    worse = times(STEADY, 1.08)
    assert judged(worse, STEADY).verdict == "fail"
    change = judged(worse, STEADY, noise=RunNoise(variance=0.03**2, degrees_of_freedom=50))
    assert change.verdict == "inconclusive"
    assert change.ci95[1] - change.ci95[0] > 0.1
