"""A test that was run again: which attempt decides which budget. Pure.

Repeating a measurement until it suits is no measurement, so what was spent is judged once, by the first attempt that told it. What the
answers were worth, how fast they came and what held them back is judged in the latest one, for that is what a rerun is for.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from pytest_tpf.markers import LIMITS
from pytest_tpf.records import BudgetResult, TestRecord

_TOKENS_AND_POWER = ("output_tokens_per_request", "prompt_tokens_per_request", "power_w", "facility_power_w")
FIRST_DECIDES = frozenset({limit.metric for limit in LIMITS if limit.is_energy} | set(_TOKENS_AND_POWER))
"""Metrics of which the first attempt that could be judged decides: energy, power and tokens."""


def settled(latest: TestRecord, attempt: int, earlier: TestRecord | None) -> TestRecord:
    """``latest`` as attempt number ``attempt`` (from 1), with the budgets that the attempts before it decided.

    ``earlier``: the latest attempt before this one that has a record, itself settled; None where there is none.
    """
    decided = _decided(earlier) if earlier else {}
    return dataclasses.replace(latest, attempt=attempt, budgets=tuple(decided.get(budget.metric, budget) for budget in latest.budgets))


def laundered(tests: Sequence[TestRecord]) -> list[str]:
    """One line for each test that passed although an earlier attempt had broken what the first one decides.

    In one process ``settled`` lets none through; a worker that dies between two attempts takes with it what the next one should know.
    """
    broken: dict[str, list[str]] = {}
    lines = []
    for test in tests:
        if test.outcome == "rerun":
            metrics = [budget.metric for budget in test.budgets if budget.metric in FIRST_DECIDES and budget.verdict == "fail"]
            broken.setdefault(test.nodeid, []).extend(metrics)
        elif test.outcome == "passed" and (metrics := broken.get(test.nodeid, [])):
            lines.append(
                f"{test.nodeid} passed when it was run again, but an earlier attempt had broken {', '.join(dict.fromkeys(metrics))}"
            )
    return lines


def _decided(earlier: TestRecord) -> Mapping[str, BudgetResult]:
    return {
        budget.metric: dataclasses.replace(budget, attempt=budget.attempt or earlier.attempt)
        for budget in earlier.budgets
        if budget.metric in FIRST_DECIDES and budget.verdict in ("pass", "fail")
    }
