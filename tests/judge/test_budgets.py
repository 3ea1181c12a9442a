from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_tpf.judge.budgets import Figure, judge, verdict_on
from pytest_tpf.markers import LIMITS, Marker
from pytest_tpf.records import BindingConstraint

POWER = BindingConstraint(value="power", margin=1.5, attainment=0.9, reason="sw_power_cap 40 % of the window")
UNKNOWN = BindingConstraint(value="undetermined", margin=None, attainment=None, reason="no compute ceiling")
ORDER = {"fail": 0, "not_measured": 0, "pass": 1}


def figures(**known):
    return {limit.metric: Figure(value=None, reason="unknown") for limit in LIMITS} | known


@pytest.mark.parametrize(
    ("comparison", "limit", "figure", "expected"),
    [
        ("<=", 1.0, Figure(value=0.5, ci95=(0.4, 0.6)), ("pass", False)),
        ("<=", 1.0, Figure(value=0.95, ci95=(0.9, 1.1)), ("pass", True)),
        ("<=", 1.0, Figure(value=1.05, ci95=(0.9, 1.2)), ("fail", True)),
        ("<=", 1.0, Figure(value=1.5, ci95=(1.1, 1.9)), ("fail", False)),
        ("<=", 1.0, Figure(value=1.0), ("pass", False)),
        (">=", 1.0, Figure(value=1.5, ci95=(1.1, 1.9)), ("pass", False)),
        (">=", 1.0, Figure(value=0.5, ci95=(0.4, 0.6)), ("fail", False)),
        (">=", 1.0, Figure(value=1.05, ci95=(0.9, 1.2)), ("pass", True)),
        (">=", 1.0, Figure(value=1.0), ("pass", False)),
        ("<=", 1.0, Figure(value=None, reason="no meter"), ("not_measured", False)),
    ],
)
def test_the_interval_decides_and_the_point_where_the_limit_lies_inside(comparison, limit, figure, expected):
    assert verdict_on(comparison, limit, figure) == expected


@given(st.floats(0.01, 100), st.floats(0, 10), st.floats(0.01, 100), st.floats(0.01, 100))
def test_a_looser_limit_never_turns_a_pass_into_a_failure(value, half, one, other):
    figure = Figure(value=value, ci95=(value - half, value + half))
    tight, loose = sorted((one, other))
    assert ORDER[verdict_on("<=", loose, figure)[0]] >= ORDER[verdict_on("<=", tight, figure)[0]]
    assert ORDER[verdict_on(">=", tight, figure)[0]] >= ORDER[verdict_on(">=", loose, figure)[0]]


def test_only_what_was_asked_is_judged():
    marker = Marker(limits={"max_joules_per_token": 1.0, "min_quality": 0.9}, boundary="device")
    results = judge(marker, figures(joules_per_token=Figure(value=0.5), quality=Figure(value=0.5)), POWER)
    assert [(r.metric, r.verdict, r.boundary) for r in results] == [("joules_per_token", "pass", "device"), ("quality", "fail", None)]


def test_a_missing_figure_is_not_measured_and_says_why():
    (result,) = judge(Marker(limits={"max_ttft_s": 1.0}), figures(), POWER)
    assert (result.verdict, result.reason) == ("not_measured", "unknown")


@pytest.mark.parametrize(
    ("expected", "found", "verdict"),
    [
        (("power",), POWER, "pass"),
        (("compute", "power"), POWER, "pass"),
        (("compute",), POWER, "fail"),
        (("compute",), UNKNOWN, "inconclusive"),
    ],
)
def test_the_binding_constraint_is_judged_by_name(expected, found, verdict):
    (result,) = judge(Marker(binding=expected), figures(), found)
    assert (result.metric, result.verdict) == ("binding", verdict)
