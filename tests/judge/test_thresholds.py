"""``joules_per_token:5%,quality:0.01``"""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_tpf.judge.thresholds import DEFAULT, EXAMPLE, METRICS, Threshold, overridden, parse_thresholds


def test_the_example():
    assert parse_thresholds(EXAMPLE) == (
        Threshold(metric="joules_per_token", amount=0.05, kind="relative"),
        Threshold(metric="ttft_s", amount=0.1, kind="relative"),
        Threshold(metric="quality", amount=0.01, kind="absolute"),
    )


def test_spaces_and_empty_parts_do_not_matter():
    assert parse_thresholds(" joules_per_token : 5 % ,, ") == DEFAULT


@pytest.mark.parametrize("text", ["off", " OFF "])
def test_off_is_none(text):
    assert parse_thresholds(text) == ()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "expected METRIC:CHANGE such as"),
        (",", "expected METRIC:CHANGE such as"),
        ("joules_per_token", "'joules_per_token' has no change"),
        ("joule_per_token:5%", "did you mean 'joules_per_token'?"),
        ("zzz:5%", "one of joules_per_token, joules_per_request"),
        ("ttft_s:5%,ttft_s:6%", "ttft_s is named twice"),
        ("ttft_s:", "expected a change above 0"),
        ("ttft_s:-5%", "expected a change above 0"),
        ("ttft_s:0", "expected a change above 0"),
        ("ttft_s:nan", "expected a change above 0"),
        ("ttft_s:inf%", "expected a change above 0"),
        ("ttft_s:five", "expected a change above 0"),
        ("tokens_per_second:100%", "expected a change above 0"),
        ("quality:120%", "expected a change above 0"),
    ],
)
def test_mistakes_are_one_line_that_says_which_part(text, told):
    with pytest.raises(ValueError) as caught:
        parse_thresholds(text)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_cost_may_double_and_more():
    assert parse_thresholds("joules_per_token:150%")[0].amount == pytest.approx(1.5)


def test_a_tests_own_thresholds_take_the_place_of_the_runs():
    run = parse_thresholds("joules_per_token:5%,ttft_s:10%")
    assert overridden(run, None) == run
    assert overridden(run, "off") == ()
    own = {each.metric: each.amount for each in overridden(run, "joules_per_token:3%,quality:0.02")}
    assert own == {"joules_per_token": 0.03, "ttft_s": 0.1, "quality": 0.02}


amounts = st.floats(1e-6, 1e6, allow_nan=False)
thresholds = st.lists(
    st.tuples(st.sampled_from(sorted(METRICS)), amounts, st.booleans()).map(
        lambda each: (each[0], min(each[1], 99.0) if each[2] else each[1], each[2])
    ),
    min_size=1,
    unique_by=lambda each: each[0],
)


@given(thresholds)
def test_what_is_written_is_read(given_):
    found = parse_thresholds(",".join(f"{name}:{amount!r}{'%' if is_percent else ''}" for name, amount, is_percent in given_))
    assert [each.metric for each in found] == [name for name, _, _ in given_]
    for each, (_, amount, is_percent) in zip(found, given_, strict=True):
        assert each.kind == ("relative" if is_percent else "absolute")
        assert each.amount == pytest.approx(amount / 100 if is_percent else amount)


@given(st.text(max_size=40))
def test_a_text_gives_thresholds_or_a_value_error(text):
    with contextlib.suppress(ValueError):
        assert parse_thresholds(text) or text.strip().lower() == "off"
