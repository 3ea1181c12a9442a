"""Valid reports pass, broken ones are refused, and what is wrong reads well."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_tpf.codec import as_dict, from_dict
from pytest_tpf.records import Report
from pytest_tpf.report.validate import MAX_PROBLEMS, validate
from pytest_tpf.report.walk import walk
from tests.report.factory import report, report_dict

GOLDEN = Path(__file__).parent / "golden" / "report-1.0.0.json"
FULL = report_dict()
PLACES = [path for path, _ in walk(FULL)]
UNDER_EXTRA = {path for path in PLACES if "extra" in path[:-1]}
OPEN = {"labels", "params", "software", "domains", "clock_reasons", "extra", "ceilings"}


def at(root: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        root = root[key]
    return root


def with_value(path: tuple[Any, ...], value: Any) -> Any:
    changed = copy.deepcopy(FULL)
    at(changed, path[:-1])[path[-1]] = value
    return changed


CLOSED_OBJECTS = [p for p in PLACES if isinstance(at(FULL, p), dict) and not OPEN & set(p[-1:]) and p not in UNDER_EXTRA]
REQUIRED_KEYS = [(*p, key) for p in CLOSED_OBJECTS for key in at(FULL, p)]
NUMBERS = [p for p in PLACES if isinstance(at(FULL, p), (int, float)) and not isinstance(at(FULL, p), bool)]


def test_the_golden_report_is_what_the_records_give():
    assert json.loads(GOLDEN.read_text()) == as_dict(report())


def test_the_golden_report_is_valid_and_survives_the_way_through_records():
    golden = json.loads(GOLDEN.read_text())
    assert validate(golden) == []
    assert from_dict(Report, golden) == report()
    assert as_dict(from_dict(Report, golden)) == golden


@given(st.sampled_from(REQUIRED_KEYS))
def test_a_missing_key_is_refused(path):
    broken = copy.deepcopy(FULL)
    del at(broken, path[:-1])[path[-1]]
    assert any(f"missing key {path[-1]!r}" in problem for problem in validate(broken))


@given(st.sampled_from(CLOSED_OBJECTS), st.text(min_size=1))
def test_an_unknown_key_is_refused(path, name):
    broken = copy.deepcopy(FULL)
    target = at(broken, path)
    if name not in target:
        target[name] = None
        assert any("unknown key" in problem for problem in validate(broken))


@given(st.sampled_from(REQUIRED_KEYS))
def test_a_value_of_another_type_is_refused(path):
    wrong = [] if isinstance(at(FULL, path), (str, int, float, type(None))) else "text"
    if path[-1] == "limit":
        wrong = None  # a limit may be a list
    assert validate(with_value(path, wrong)) != []


@given(st.sampled_from(NUMBERS), st.sampled_from([math.nan, math.inf, -math.inf]))
def test_a_number_that_is_not_finite_is_refused_everywhere(path, value):
    problems = validate(with_value(path, value))
    assert len(problems) == 1
    assert problems[0].endswith("is not a finite number")


@given(st.sampled_from(NUMBERS))
def test_true_is_not_a_number(path):
    if path not in UNDER_EXTRA:
        assert validate(with_value(path, True)) != []


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=10,
)


@given(st.sampled_from([p for p in PLACES if p]), JUNK)
def test_whatever_stands_anywhere_validation_answers_in_bounded_printable_lines(path, value):
    problems = validate(with_value(path, value))
    assert len(problems) <= MAX_PROBLEMS + 1
    assert all(len(problem) <= 300 and problem.isascii() and problem.isprintable() for problem in problems)


@given(JUNK)
def test_junk_is_refused(value):
    assert validate(value) != []


def problems_with(path: str, value: Any) -> list[str]:
    keys = tuple(int(key) if key.isdigit() else key for key in path.split("/"))
    return validate(with_value(keys, value))


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        ("tests/0/energy/it_j", -1, "$.tests[0].energy.it_j: -1 is less than 0"),
        ("tests/0/energy/method", None, "$.tests[0].energy: an energy that is not null needs its method and its trust"),
        ("tests/0/energy/trust", None, "$.tests[0].energy: an energy that is not null needs its method and its trust"),
        ("tests/0/energy/valid", False, "$.tests[0].energy: an invalid energy is null: valid false forbids it_j, facility_j and net_j"),
        ("tests/2/energy/reasons", [], "$.tests[2].energy: an it_j that is null needs a reason code"),
        ("facility/pue/kind", None, '$.facility.pue: a PUE value needs source "declared" and its kind'),
        ("facility/pue/source", "undeclared", '$.facility.pue: a PUE value needs source "declared" and its kind'),
        ("facility/pue/value", 0.99, "$.facility.pue.value: 0.99 is less than 1"),
        ("facility/fleet_utilization", 1.01, "$.facility.fleet_utilization: 1.01 is more than 1"),
        (
            "tests/2/mandated/joules_per_token/reason",
            None,
            "$.tests[2].mandated.joules_per_token: a joules-per-token value needs its trust; null needs a reason and no interval",
        ),
        (
            "tests/0/mandated/joules_per_token/trust",
            None,
            "$.tests[0].mandated.joules_per_token: a joules-per-token value needs its trust; null needs a reason and no interval",
        ),
        (
            "tests/0/mandated/pue_adjusted_power_w/pue",
            None,
            "$.tests[0].mandated.pue_adjusted_power_w: a PUE-adjusted power needs its IT power and its PUE; null needs a reason",
        ),
        (
            "tests/0/mandated/utilization_adjusted_tokens_per_second/utilization_source",
            None,
            "$.tests[0].mandated.utilization_adjusted_tokens_per_second: a utilization needs its source",
        ),
        (
            "tests/2/production/ceilings/power/reason",
            None,
            "$.tests[2].production.ceilings.power: a ceiling needs numerator, denominator and provenance; null needs a reason",
        ),
        ("tests/0/production/phi_baseline", None, "$.tests[0].production: phi_system is a ratio and needs its phi_baseline"),
        ("tests/0/production/theta", 0, "$.tests[0].production.theta: 0 is not above 0"),
        ("tests/0/budgets/0/boundary", None, "$.tests[0].budgets[0]: an energy budget needs its boundary"),
        ("tests/0/budgets/0/actual", None, "$.tests[0].budgets[0]: a pass or a fail needs an actual value"),
        ("tests/2/budgets/0/reason", None, "$.tests[2].budgets[0]: a verdict that was not reached needs a reason"),
        ("tests/0/budgets/1/limit", 3.0, '$.tests[0].budgets[1]: comparison "in" needs names as its limit; the others need a number'),
        ("tests/0/budgets/0/verdict", "ok", "$.tests[0].budgets[0].verdict: 'ok' is not one of: pass, fail, inconclusive, not_measured"),
        ("tests/0/workload/token_source", None, "$.tests[0].workload: a token count needs its token_source"),
        ("tests/0/power/clock_reasons", {"x": 2}, "$.tests[0].power.clock_reasons.x: 2 is more than 1"),
        ("tests/0/nodeid", "x" * 9000, f"$.tests[0].nodeid: '{'x' * 57}...' is longer than 8192"),
        ("created_at", "yesterday", None),
        ("created_at", "2026-13-01T00:00:00Z", None),
        ("created_at", "2026-01-01T00:00:00+01:00", None),
        ("tests/0/mandated/joules_per_token/ci95", [0.5, 0.3], "$.tests[0].mandated.joules_per_token.ci95: low 0.5 is above high 0.3"),
        ("summary/tests", 4, "$.summary.tests: 4, but the rows under tests give 3"),
        ("summary/measured", 2, "$.summary.measured: 2, but the rows under tests give 1"),
        ("summary/total_it_j", None, "$.summary.total_it_j: must be known where the it_j of a test is, and null otherwise"),
        ("meters/0/trust", "guessed", "$.meters[0].trust: 'guessed' is not one of: measured, replayed, estimated"),
        (
            "schema_version",
            "2.0.0",
            "$.schema_version: schema_version 2.0.0 is not supported: this pytest-tpf reads 1.x; use the version that wrote it",
        ),
        ("schema_version", 1, "$.schema_version: is integer, expected string"),
    ],
)
def test_what_is_wrong_reads_well(path, value, problem):
    problems = problems_with(path, value)
    assert problems == [problem] if problem else len(problems) == 1


def test_an_undeclared_pue_has_no_value():
    undeclared = {"value": None, "source": "undeclared", "kind": None, "category": None}
    assert problems_with("facility/pue", undeclared) == []
    assert problems_with("facility/pue", undeclared | {"source": "declared"}) != []


@pytest.mark.parametrize("value", [{1, 2}, b"bytes", 1j, object(), (1, 2)])
def test_what_json_cannot_carry_is_found_under_extra_too(value):
    (problem,) = problems_with("tests/0/extra", {"mine": [value]})
    assert problem == f"$.tests[0].extra.mine[0]: is {type(value).__name__}, which JSON can't carry"


def test_keys_are_strings():
    assert problems_with("tests/0/extra", {7: 1}) == ["$.tests[0].extra: a key is integer, expected string"]


def test_a_member_without_a_text_for_a_name_is_no_test():
    assert validate({**FULL, 3: FULL["tests"][0]}) == ["$: unknown key '3'"]


def test_nesting_without_end_is_one_problem():
    endless: dict[str, Any] = {}
    endless["again"] = endless
    assert problems_with("tests/0/extra", endless) == ["$.tests[0]: nested deeper than 64 levels"]


def test_many_problems_are_cut_short():
    problems = validate(with_value(("tests",), [1] * 10_000))
    assert len(problems) == MAX_PROBLEMS + 1
    assert problems[-1] == "... and more problems"


@pytest.mark.parametrize("value", [None, [], "report", 3, {}, {"tests": []}])
def test_what_is_no_report_at_all_is_one_problem(value):
    assert len(validate(value)) == 1
