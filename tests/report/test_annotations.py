"""Workflow commands as GitHub reads them: escaped, bounded, at the test's own line."""

from __future__ import annotations

import dataclasses
import re
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_tpf.report.annotations import MOST, annotation_lines
from pytest_tpf.report.regressions import regression_lines
from tests.report.compared import FEW, NASTY, any_compared, compared, one_of_each
from tests.report.factory import estimated_test, invalid_test, measured_test

COMMAND = re.compile(r"::(error|warning) ([^:]*)::(.*)")


def parsed(line: str) -> tuple[str, dict[str, str], str]:
    """As the runner does it: properties up to the first ``::``, at commas, then the escapes."""
    match = COMMAND.fullmatch(line)
    assert match is not None, line
    properties = dict(pair.split("=", 1) for pair in match[2].split(","))
    return match[1], {name: unquote(value) for name, value in properties.items()}, unquote(match[3])


def test_a_regression_is_an_error_at_the_line_of_its_test():
    (line,) = annotation_lines([compared("test_x", {})], {"tests/test_a.py::test_x": ("tests/test_a.py", 11)})
    assert line == (
        "::error file=tests/test_a.py,line=12,title=tpf%3A regressed::tests/test_a.py::test_x regressed: joules_per_token +12.4%25 "
        "(95 %25 interval +10.1%25 to +14.8%25), threshold 5%25: 0.412 -> 0.463 J/token, 10 rounds against 10 of main@0123abc"
    )


def test_a_broken_budget_is_an_error_and_what_could_not_be_told_a_warning():
    found = [parsed(line) for line in annotation_lines([*one_of_each(), estimated_test(), invalid_test()], {})]
    assert sorted((level, properties["title"]) for level, properties, _ in found) == [
        ("error", "tpf: budget broken"),
        ("error", "tpf: regressed"),
        ("warning", "tpf: budget could not be judged"),
        ("warning", "tpf: inconclusive"),
        ("warning", "tpf: inconclusive"),
        ("warning", "tpf: not compared"),
    ]
    messages = {properties["title"]: message for _, properties, message in found}
    assert messages["tpf: regressed"].count("\n") == 1  # a line for each figure
    assert messages["tpf: budget broken"].endswith("(95 % interval 0.006 to 0.018) at boundary it, limit at most 0.01")


def test_strict_makes_errors_of_warnings():
    (line,) = annotation_lines([compared("test_x", FEW)], {}, strict=True)
    assert line.startswith("::error ")


@pytest.mark.parametrize("test", [measured_test(), estimated_test(outcome="xfailed")])
def test_what_passed_or_was_expected_is_not_annotated(test):
    assert annotation_lines([test], {}) == []


@pytest.mark.parametrize(
    ("location", "root", "place"),
    [
        (None, "", {"file": "tests/test_a.py"}),
        (("tests/test_a.py", None), "", {"file": "tests/test_a.py"}),
        (("tests/test_a.py", 0), "packages/one", {"file": "packages/one/tests/test_a.py", "line": "1"}),
        (("../shared/test_a.py", 4), "packages/one", {"file": "packages/shared/test_a.py", "line": "5"}),
        (("tests\\test_a.py", 4), "", {"file": "tests/test_a.py", "line": "5"}),
    ],
)
def test_the_place_is_relative_to_the_repository(location, root, place):
    test = compared("test_x", {})
    (line,) = annotation_lines([test], {test.nodeid: location} if location else {}, root=root)
    properties = parsed(line)[1]
    assert {name: properties[name] for name in properties if name != "title"} == place


def test_problems_of_the_whole_run_have_no_place_and_stand_once():
    test = compared("test_x", {})
    lines = annotation_lines([test], {}, ["nothing was measured: no_meter", *regression_lines(test)])
    assert lines[0] == "::error title=tpf::nothing was measured: no_meter"
    assert len(lines) == 2


def test_ten_of_a_kind_are_all_that_is_shown_so_the_last_counts_the_rest():
    worse = [compared(f"test_{place}", {"change": place / 10}) for place in range(30)]
    few = [compared(f"few_{place}", FEW) for place in range(MOST)]
    lines = annotation_lines([*worse, *few], {})
    assert [parsed(line)[0] for line in lines] == ["error"] * MOST + ["warning"] * MOST
    assert "test_29 regressed" in lines[0]
    assert lines[MOST - 1] == "::error title=tpf::21 more errors; all of them are in the report"


def test_nothing_in_a_report_begins_a_command_of_its_own():
    test = dataclasses.replace(compared("x", {"reason": NASTY, "metric": NASTY[:256]}), nodeid=NASTY)
    (line,) = annotation_lines([test], {NASTY: (NASTY, 3)}, [], "a,b:c%")
    level, properties, message = parsed(line)
    assert (level, set(properties), properties["line"]) == ("error", {"file", "line", "title"}, "4")
    assert properties["file"].startswith("a,b:c%/t.py::t[")
    assert "::error file=x::y %0A" in message


@given(st.lists(any_compared(), max_size=15), st.booleans())
def test_whatever_a_valid_report_holds_there_are_few_commands_of_one_line(tests, strict):
    lines = annotation_lines(tests, {}, strict=strict)
    assert len(lines) <= 2 * MOST
    for line in lines:
        assert not set(line) & set("\r\n\x1b\u2028")
        assert set(parsed(line)[1]) <= {"file", "line", "title"}
        assert len(line) < 40_000
