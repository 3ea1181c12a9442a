"""The words for a budget that was not kept, or could not be judged. Text from records; pure."""

from __future__ import annotations

from pytest_tpf.records import BudgetResult, TestRecord
from pytest_tpf.report.regressions import Quote, is_energy, short_id
from pytest_tpf.report.text import number, plain

_WORDS = {"fail": "broke a budget", "not_measured": "not measured", "inconclusive": "inconclusive", "pass": "kept a budget"}
_SIDES = {"<=": "at most", ">=": "at least", "in": "one of"}


def budget_lines(test: TestRecord, quote: Quote = plain) -> list[str]:
    """``tests/test_a.py::test_x broke a budget: joules_per_token 0.4 (95 % interval ...), limit at most 0.1``: each that didn't pass."""
    name = quote(short_id(test.nodeid))
    return [f"{name} {_word(test, budget)}: {_figures(test, budget, quote)}" for budget in test.budgets if budget.verdict != "pass"]


def _word(test: TestRecord, budget: BudgetResult) -> str:
    return _WORDS[budget.verdict] + (", as expected" if is_expected(test) and budget.verdict == "fail" else "")


def is_expected(test: TestRecord) -> bool:
    """Whether the test was expected to fail, and did."""
    return test.outcome == "xfailed"


def _figures(test: TestRecord, budget: BudgetResult, quote: Quote) -> str:
    names = budget.limit if isinstance(budget.limit, tuple) else (budget.limit,)
    limit = f"{_SIDES[budget.comparison]} {' or '.join(_figure(name, quote) for name in names)}"
    actual = "" if budget.actual is None else f" {_figure(budget.actual, quote)}"
    follows = budget.boundary is not None or is_energy(budget.metric) or budget.metric.endswith("power_w")
    label = f" ({test.energy.trust})" if follows and budget.actual is not None and test.energy.trust not in (None, "measured") else ""
    interval = f" (95 % interval {number(budget.ci95[0])} to {number(budget.ci95[1])})" if budget.ci95 else ""
    where = f" at boundary {budget.boundary}" if budget.boundary else ""
    reason = f": {quote(budget.reason)}" if budget.reason else ""
    return f"{quote(budget.metric)}{actual}{label}{interval}{where}, limit {limit}{reason}"


def _figure(value: float | str, quote: Quote) -> str:
    return quote(value) if isinstance(value, str) else number(value)
