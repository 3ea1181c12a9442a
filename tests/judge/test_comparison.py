"""A test against its earlier runs, and all tests of a run together."""

from __future__ import annotations

import dataclasses
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_tpf.codec import as_dict, from_dict
from pytest_tpf.judge.comparison import TOLD, Terms, compare_test, not_compared, settle
from pytest_tpf.judge.sample import Sample, sample_of
from pytest_tpf.judge.thresholds import DEFAULT, overridden, parse_thresholds
from pytest_tpf.records import Accuracy, Reference, Regression
from pytest_tpf.report.validate import validate
from tests.judge.samples import REFERENCE, WORK, drawn, sample, times
from tests.report.factory import measured_test, report_dict

FIVE_PERCENT = Terms(thresholds=DEFAULT)
STEADY = sample([50.0, 50.2, 49.8, 50.1, 49.9])
WORSE = times(STEADY, 1.2)


def compared(new: Sample, *old: Sample, terms: Terms = FIVE_PERCENT, remeasured: int = 0) -> Regression:
    return compare_test(new, old or (STEADY,), terms, REFERENCE, remeasured)


def metrics(regression: Regression) -> list[str]:
    return [change.metric for change in regression.changes]


# --- one test ---------------------------------------------------------------------------------------------------------


def test_the_judged_figures_come_first_and_others_are_told():
    found = compared(WORSE)
    assert found.verdict == "fail"
    assert metrics(found) == ["joules_per_token", "tokens_per_second", "ttft_s"]
    assert [change.verdict for change in found.changes] == ["fail", "pass", "pass"]
    assert found.changes[1].change == pytest.approx(1 / 1.2 - 1)


GRADED = dataclasses.replace(STEADY, accuracy=Accuracy(value=0.9, metric="exact_match", samples=50))


@pytest.mark.parametrize(("new", "old"), [(STEADY, GRADED), (GRADED, STEADY)])
def test_a_judged_figure_that_is_missing_on_one_side_is_there_all_the_same(new, old):
    found = compared(new, old, terms=Terms(thresholds=parse_thresholds("quality:0.01,joules_per_token:5%")))
    assert metrics(found)[:2] == ["quality", "joules_per_token"]
    assert found.changes[0].verdict == "not_measured"
    assert found.verdict == "not_measured"


def test_a_figure_that_a_test_never_had_is_not_asked_of_it():
    found = compared(STEADY, terms=Terms(thresholds=parse_thresholds("quality:0.01,joules_per_token:5%")))
    assert (metrics(found)[0], "quality" in metrics(found), found.verdict) == ("joules_per_token", False, "pass")


def test_where_neither_run_has_any_judged_figure_nothing_is_called_no_worse():
    found = compared(STEADY, terms=Terms(thresholds=parse_thresholds("quality:0.01")))
    assert (found.verdict, found.changes, found.reason) == ("inconclusive", (), "not compared: neither run has quality")


def test_the_worst_of_the_judged_decides():
    both = Terms(thresholds=parse_thresholds("joules_per_token:50%,ttft_s:5%"))
    assert compared(WORSE, terms=both).verdict == "fail"
    assert compared(WORSE, terms=Terms(thresholds=parse_thresholds("joules_per_token:50%"))).verdict == "pass"


def test_a_tests_own_threshold_and_off():
    assert compared(WORSE, terms=Terms(thresholds=overridden(DEFAULT, "joules_per_token:30%"))).verdict == "pass"
    off = compared(WORSE, terms=Terms(thresholds=overridden(DEFAULT, "off")))
    assert off.verdict == "pass"
    assert set(metrics(off)) <= set(TOLD)
    assert off.changes[0].change == pytest.approx(0.2)


def test_the_reference_says_how_much_it_rests_on():
    found = compared(STEADY, STEADY, STEADY, sample([50.0]))
    assert found.reference == Reference(source="baseline", ref="tpf-baseline.json", runs=3, rounds=11)


def test_how_often_it_was_measured_once_more_is_kept():
    again = dataclasses.replace(WORSE, rounds=WORSE.rounds + STEADY.rounds)
    found = compared(again, remeasured=5)
    assert (found.verdict, found.remeasured_rounds) == ("pass", 5)
    assert "looked worse at first" in found.changes[0].reason


# --- what can't be compared -------------------------------------------------------------------------------------------

_MODEL = WORK.model
UNLIKE = [
    ({"fingerprint": "77aa"}, "hardware is 77aa, was 4fe2"),
    (
        {"workload": dataclasses.replace(WORK, model=dataclasses.replace(_MODEL, digest="sha256:2"))},
        "model digest is sha256:2, was sha256:1",
    ),
    ({"workload": dataclasses.replace(WORK, model=dataclasses.replace(_MODEL, dtype="float16"))}, "dtype is float16, was bfloat16"),
    ({"workload": dataclasses.replace(WORK, output_tokens=600)}, "output tokens per request are 30, were 25 (+20.0%)"),
    ({"workload": dataclasses.replace(WORK, engine="vllm")}, "engine is vllm, was transformers"),
    ({"workload": dataclasses.replace(WORK, token_source="chunks")}, "token source is chunks, was engine"),
]


@pytest.mark.parametrize(("changed", "why"), UNLIKE)
def test_unlike_runs_are_not_compared_and_the_reason_is_said(changed, why):
    found = compared(dataclasses.replace(WORSE, **changed))
    assert (found.verdict, found.changes) == ("inconclusive", ())
    assert found.reason == f"not compared: {why}"
    assert found.reference == REFERENCE


@pytest.mark.parametrize(("changed", "why"), UNLIKE)
def test_unless_it_is_asked_for(changed, why):
    found = compared(dataclasses.replace(WORSE, **changed), terms=dataclasses.replace(FIVE_PERCENT, across=True))
    assert found.verdict == "fail"
    assert found.remarks == (why,)


def test_earlier_runs_that_differ_are_left_out_and_that_is_said():
    other = dataclasses.replace(times(STEADY, 3.0), fingerprint="77aa")
    found = compared(STEADY, STEADY, other, STEADY, other)
    assert found.verdict == "pass"
    assert (found.reference.runs, found.reference.rounds) == (2, 10)
    assert found.remarks == ("2 earlier runs are left out: hardware is 4fe2, was 77aa",)


@pytest.mark.parametrize(
    ("changed", "why"),
    [({"trust": "estimated"}, "energy is estimated, was measured"), ({"domains": ("cpu:0",)}, "metered are cpu:0, were gpu:0")],
)
def test_energies_of_another_kind_are_not_measured_but_the_rest_is_told(changed, why):
    found = compared(dataclasses.replace(WORSE, **changed))
    assert (found.verdict, found.changes[0].reason) == ("not_measured", why)
    assert metrics(found) == ["joules_per_token", "tokens_per_second", "ttft_s"]


def test_what_has_nothing_to_be_compared_with_says_so():
    assert not_compared("new") == Regression(reference=None, changes=(), verdict="inconclusive", reason="new")


def test_a_record_becomes_a_sample():
    test = measured_test()
    found = sample_of(test, "key", "4fe2", commit="0123", recorded_at="2026-01-01T08:00:00Z")
    assert (found.key, found.nodeid, found.fingerprint, found.commit) == ("key", test.nodeid, "4fe2", "0123")
    assert (found.domains, found.trust, found.boundary) == (("gpu:0",), "measured", "it")
    assert found.uncertainty == pytest.approx(18.0 / 2457.6)
    assert found.rounds == test.rounds
    assert compared(found, found).verdict in ("pass", "inconclusive")


# --- all tests together -----------------------------------------------------------------------------------------------


def test_one_clear_regression_among_many_stays_red():
    found = settle([compared(STEADY) for _ in range(199)] + [compared(times(STEADY, 1.5))])
    assert [each.verdict for each in found] == ["pass"] * 199 + ["fail"]
    change = found[-1].changes[0]
    assert change.p < change.p_adjusted <= 0.05


def marginal(factor: float = 1.07) -> Regression:
    """Worse beyond the threshold, but barely."""
    found = (compared(times(sample(), factor + step / 500)) for step in range(100))
    return next(each for each in found if each.verdict == "fail")


def test_one_that_is_just_beyond_is_red_among_many_that_are_not():
    assert marginal().changes[0].p > 0.005
    assert settle([marginal()] + [compared(STEADY)] * 199)[0].verdict == "fail"


def test_one_that_is_just_beyond_is_not_red_among_many_that_look_worse_by_chance():
    noisy = compared(times(sample([40.0, 60.0, 50.0, 55.0, 45.0]), 1.1))
    assert noisy.verdict == "inconclusive"
    settled = settle([marginal()] + [noisy] * 40)[0]
    assert settled.verdict == "inconclusive"
    assert "among all figures of the run it is so by chance with probability" in settled.changes[0].reason


def test_where_the_tests_of_a_run_scatter_more_than_their_rounds_that_is_said_and_counts():
    others = [compared(times(STEADY, 1 + step / 200)) for step in range(-20, 10)]
    settled = settle([marginal(), *others])
    assert settled[0].verdict == "inconclusive"
    assert "the tests of this run scatter" in settled[0].changes[0].reason
    assert settle([compared(times(STEADY, 1.6)), *others])[0].verdict == "fail"


def test_what_was_not_compared_stays_as_it_is():
    absent = not_compared("new")
    assert settle([None, absent]) == [None, absent]
    assert settle([]) == []


@settings(max_examples=30)
@given(st.lists(st.tuples(st.floats(0.9, 1.3), st.floats(0.001, 0.05)), min_size=1, max_size=12), st.integers(0, 10**6))
def test_settling_only_ever_weakens(tests, seed):
    rng = random.Random(seed)
    before = [compared(times(drawn(rng, 5, noise), factor), drawn(rng, 5, noise)) for factor, noise in tests]
    after = settle(before)
    for old, new in zip(before, after, strict=True):
        assert new.verdict == old.verdict or (old.verdict, new.verdict) == ("fail", "inconclusive")
        for change, settled in zip(old.changes, new.changes, strict=True):
            assert change.p is None or settled.p_adjusted >= change.p
            kept = dataclasses.replace(settled, p_adjusted=None, verdict=change.verdict, reason=change.reason)
            assert kept == change
    assert settle(after) == after


# --- the report -------------------------------------------------------------------------------------------------------


def in_a_report(regression: Regression) -> list[str]:
    return validate(report_dict(measured_test(regression=regression)))


@settings(max_examples=40)
@given(
    st.lists(st.sampled_from([None, 0.0, 30.0, 50.0, 50.5, 70.0, 1e9]), max_size=8),
    st.lists(st.sampled_from([None, 30.0, 50.0, 50.5, 70.0]), max_size=8),
    st.sampled_from(["joules_per_token:5%", "ttft_s:0.1,quality:0.01", "tokens_per_second:5%,joules_per_request:3", "off"]),
    st.sampled_from([Accuracy(), Accuracy(value=0.5, metric="f1", samples=1), Accuracy(value=0.9, metric="f1", samples=64)]),
    st.booleans(),
)
def test_whatever_is_compared_is_a_valid_report(new, old, text, accuracy, across):
    ours = sample(new, accuracy=accuracy, fingerprint="77aa" if across else "4fe2")
    terms = Terms(thresholds=parse_thresholds(text), across=across)
    found = settle([compared(ours, sample(old, accuracy=accuracy), terms=terms, remeasured=2), None, not_compared("new")])
    for each in found:
        if each is not None:
            assert in_a_report(each) == []
            assert from_dict(Regression, as_dict(each)) == each
