"""What a person reads whose test broke a budget."""

from __future__ import annotations

import dataclasses

import pytest

from pytest_tpf.judge.budgets import failure_message
from pytest_tpf.records import BudgetResult
from tests.report.factory import estimated_test, measured_test

LIMIT = {"metric": "joules_per_token", "limit": 0.1, "comparison": "<=", "boundary": "it"}
FOUND = {"actual": 0.4, "ci95": (0.39, 0.41), "verdict": "fail"}


def broken(test, **budget):
    return dataclasses.replace(test, budgets=(BudgetResult(**LIMIT | FOUND | budget),))


def test_nothing_broken_is_no_message():
    assert failure_message(broken(measured_test(), verdict="pass"), strict=True) is None
    assert failure_message(broken(measured_test(), verdict="not_measured"), strict=False) is None


def test_the_distance_is_a_percentage_or_so_many_times():
    assert "300.0% over max_joules_per_token=0.1" in failure_message(broken(measured_test()), strict=False)
    assert "4e+05 times over max_joules_per_token=1e-06" in failure_message(broken(measured_test(), limit=1e-6), strict=False)


def test_an_estimate_is_called_one_for_energy_and_power():
    assert "0.4 J/token (estimated) > 0.1" in failure_message(broken(estimated_test()), strict=False)
    power = {"metric": "power_w", "actual": 50.0, "limit": 40.0, "boundary": None, "ci95": None}
    assert "power_w 50 W (estimated) > 40" in failure_message(broken(estimated_test(), **power), strict=False)
    assert "power_w 50 W > 40" in failure_message(broken(measured_test(), **power), strict=False)


def test_a_marginal_failure_says_how_to_decide_it():
    assert "more rounds" in failure_message(broken(measured_test(), marginal=True), strict=False)


@pytest.mark.parametrize("verdict", ["not_measured", "inconclusive"])
def test_strict_names_what_could_not_be_reached(verdict):
    message = failure_message(broken(measured_test(), verdict=verdict, actual=None, ci95=None, reason="device_lost"), strict=True)
    assert "device_lost" in message
    assert "max_joules_per_token=0.1" in message
