"""Which attempt of a test that was run again decides which budget."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_tpf.judge.attempts import FIRST_DECIDES, laundered, settled
from pytest_tpf.judge.budgets import failure_message
from pytest_tpf.markers import LIMITS
from pytest_tpf.records import BudgetResult, TestRecord
from tests.report.factory import measured_test

METRICS = [limit.metric for limit in LIMITS]
VERDICTS = ("pass", "fail", "inconclusive", "not_measured")


def attempt(outcome: str = "passed", nodeid: str = "t.py::test_it", **verdicts: str) -> TestRecord:
    budgets = tuple(
        BudgetResult(metric=metric, limit=1.0, comparison="<=", actual=2.0, ci95=None, boundary=None, verdict=verdict, reason="so")
        for metric, verdict in verdicts.items()
    )
    return dataclasses.replace(measured_test(), nodeid=nodeid, outcome=outcome, budgets=budgets)


def test_what_was_spent_is_energy_tokens_and_power():
    assert set(METRICS) - FIRST_DECIDES == {"tokens_per_second", "ttft_p95_s", "tpot_p95_s", "e2e_p95_s", "quality"}


@given(st.lists(st.fixed_dictionaries({metric: st.sampled_from(VERDICTS) for metric in ("joules", "quality")}), min_size=1, max_size=5))
def test_the_first_that_was_judged_decides_what_was_spent_and_the_latest_all_else(attempts):
    record = None
    for number, verdicts in enumerate(attempts, 1):
        record = settled(attempt(**verdicts), number, record)
    joules, quality = sorted(record.budgets, key=lambda budget: budget.metric)
    judged = [(number, each["joules"]) for number, each in enumerate(attempts, 1) if each["joules"] in ("pass", "fail")]
    first, verdict = judged[0] if judged else (len(attempts), attempts[-1]["joules"])
    assert joules.verdict == verdict
    assert joules.attempt == (None if first == len(attempts) else first)
    assert (quality.verdict, quality.attempt) == (attempts[-1]["quality"], None)
    assert record.attempt == len(attempts)


@pytest.mark.parametrize(("broke", "told"), [(1, "in its first attempt (of 3)"), (2, "in its attempt 2 (of 3)")])
def test_the_message_names_the_attempt(broke, told):
    record = None
    for number in (1, 2, 3):
        record = settled(attempt(joules="fail" if number >= broke else "not_measured"), number, record)
    message = failure_message(record, strict=False)
    assert message is not None
    assert message.splitlines()[0].endswith(told)
    assert "output tokens, " not in message  # the joules of the latest attempt aren't those that broke it


def test_only_what_passed_after_it_had_broken_is_laundered():
    broke, kept = attempt("rerun", joules="fail"), attempt("rerun", joules="pass", quality="fail")
    passed, failed = attempt("passed", joules="pass"), attempt("failed", joules="fail")
    assert laundered([broke, failed]) == laundered([kept, passed]) == laundered([passed]) == []
    assert laundered([broke, attempt("passed", "t.py::other", joules="pass")]) == []
    assert laundered([broke, kept, passed]) == ["t.py::test_it passed when it was run again, but an earlier attempt had broken joules"]
