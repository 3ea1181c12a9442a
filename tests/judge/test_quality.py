"""Quality against what it was: shares of accepted answers, and scores without an interval."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_tpf.judge.quality import NO_INTERVAL, compare_quality, newcombe
from pytest_tpf.judge.regression import compare
from pytest_tpf.judge.sample import Sample
from pytest_tpf.judge.thresholds import Threshold
from pytest_tpf.records import Accuracy, Change
from tests.judge.samples import sample

ONE_POINT = Threshold(metric="quality", amount=0.01, kind="absolute")
TEN_PERCENT = Threshold(metric="quality", amount=0.1, kind="relative")
ORDER = {"pass": 0, "inconclusive": 1, "fail": 2}


def share(value: float | None, samples: int = 1000, metric: str = "exact_match") -> Sample:
    return sample(accuracy=Accuracy(value=value, metric=None if value is None else metric, samples=samples))


def judged(new: float, old: float, samples: int = 1000, threshold: Threshold | None = ONE_POINT) -> Change:
    return compare_quality(share(new, samples), [share(old, samples)], threshold)


def test_newcombes_published_interval():
    # Newcombe 1998, table II, method 10: 56/70 - 48/80
    low, high = newcombe(Accuracy(value=56 / 70, samples=70), Accuracy(value=48 / 80, samples=80))
    assert (low, high) == (pytest.approx(0.0524, abs=1e-4), pytest.approx(0.3339, abs=1e-4))
    low, high = newcombe(Accuracy(value=9 / 10, samples=10), Accuracy(value=3 / 10, samples=10))
    assert (low, high) == (pytest.approx(0.1705, abs=1e-4), pytest.approx(0.8090, abs=1e-4))
    low, high = newcombe(Accuracy(value=10 / 10, samples=10), Accuracy(value=0.0, samples=20))
    assert (low, high) == (pytest.approx(0.6791, abs=1e-4), pytest.approx(1.0, abs=1e-4))


def test_the_same_passes_and_much_worse_fails():
    assert judged(0.95, 0.95).verdict == "pass"
    change = judged(0.85, 0.95)
    assert change.verdict == "fail"
    assert change.change == pytest.approx(-0.1)
    assert change.ci95[0] < -0.1 < change.ci95[1] < -0.01
    assert change.p < 0.001
    assert (change.reference, change.actual) == (0.95, 0.85)


def test_a_drop_that_few_answers_cannot_show_is_inconclusive():
    change = judged(0.9, 0.95, samples=20)
    assert (change.verdict, change.reason) == ("inconclusive", "worse than the threshold, but the interval reaches above it")
    assert change.p > 0.025


def test_within_the_threshold_the_same_problems_are_no_worse():
    assert judged(0.945, 0.95, samples=20).verdict == "pass"


def test_better_answers_are_told():
    assert judged(0.99, 0.9).improved
    assert not judged(0.9, 0.9).improved
    assert not judged(0.99, 0.9, samples=10).improved
    assert judged(0.99, 0.9, threshold=None).improved


def test_a_relative_threshold_is_a_share_of_what_it_was():
    assert judged(0.46, 0.5, threshold=TEN_PERCENT).verdict == "pass"
    change = judged(0.35, 0.5, threshold=TEN_PERCENT)
    assert change.verdict == "fail"
    assert change.change == pytest.approx(-0.3)


def test_a_single_score_has_no_interval():
    change = judged(0.5, 0.9, samples=1)
    assert (change.verdict, change.ci95, change.p) == ("inconclusive", None, None)
    assert change.reason == f"worse than the threshold, but {NO_INTERVAL}"
    same = judged(0.9, 0.9, samples=1)
    assert (same.verdict, same.reason) == ("pass", NO_INTERVAL)
    assert not judged(0.95, 0.9, samples=1).improved


@pytest.mark.parametrize(
    ("new", "old", "told"),
    [
        (share(None), share(0.9), "unknown now: the test gave none"),
        (share(0.9), share(None), "unknown then: the test gave none"),
        (share(0.9, metric="rouge"), share(0.9), "quality is rouge, was exact_match"),
    ],
)
def test_what_cannot_be_compared_is_not_measured(new, old, told):
    change = compare_quality(new, [old], ONE_POINT)
    assert (change.verdict, change.reason, change.change) == ("not_measured", told, None)


def test_the_newest_run_counts_and_the_general_way_leads_here():
    runs = [share(0.95), share(0.2)]
    assert compare(share(0.95), runs, ONE_POINT, "quality") == compare_quality(share(0.95), runs, ONE_POINT)
    assert compare_quality(share(0.95), runs, ONE_POINT).verdict == "pass"


shares = st.floats(0, 1)
counts = st.integers(2, 5000)


@given(shares, shares, counts, counts)
def test_the_interval_holds_the_difference_and_stays_within_the_possible(new, old, ours, theirs):
    low, high = newcombe(Accuracy(value=new, samples=ours), Accuracy(value=old, samples=theirs))
    assert -1 - 1e-9 <= low <= new - old + 1e-9
    assert new - old - 1e-9 <= high <= 1 + 1e-9


@given(shares, shares, counts, counts)
def test_swapping_the_sides_turns_the_interval(new, old, ours, theirs):
    one, other = Accuracy(value=new, samples=ours), Accuracy(value=old, samples=theirs)
    low, high = newcombe(one, other)
    assert newcombe(other, one) == (pytest.approx(-high), pytest.approx(-low))


@given(shares, shares, shares, counts, st.sampled_from([ONE_POINT, TEN_PERCENT]))
def test_what_is_worse_never_gets_a_better_verdict(one, other, old, samples, threshold):
    worse, better = sorted((one, other))
    assert ORDER[judged(better, old, samples, threshold).verdict] <= ORDER[judged(worse, old, samples, threshold).verdict]


@given(shares, shares, counts)
def test_a_fail_is_an_interval_beyond_the_threshold(new, old, samples):
    change = judged(new, old, samples)
    assert (change.verdict == "fail") == (change.change < -0.01 and change.ci95[1] < -0.01)
    assert 0 <= change.p <= 1
    assert change.verdict != "fail" or change.p <= 0.0251


@given(st.floats(allow_nan=True, allow_infinity=True), st.floats(allow_nan=True), st.integers(0, 10), st.sampled_from([None, TEN_PERCENT]))
def test_no_score_breaks_it(new, old, samples, threshold):
    change = compare_quality(share(new, samples), [share(old, samples)], threshold)
    assert change.verdict in ("pass", "fail", "inconclusive", "not_measured")
    assert change.change is None or math.isfinite(change.change)


def test_the_interval_holds_the_true_difference_95_times_in_100():
    rng, held = random.Random(2), 0
    for _ in range(2000):
        ours, theirs = (sum(rng.random() < p for _ in range(64)) / 64 for p in (0.9, 0.95))
        low, high = newcombe(Accuracy(value=ours, samples=64), Accuracy(value=theirs, samples=64))
        held += low <= -0.05 <= high
    assert 0.93 <= held / 2000 <= 0.98
