"""What is said of a comparison: which test, which figure, how much, how sure, against what; and when it can't be told, what is missing."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_tpf.codec import as_dict
from pytest_tpf.records import Reference
from pytest_tpf.report.columns import COLUMNS, COMPARED_COLUMNS, sorted_tests
from pytest_tpf.report.comparisons import summary_lines
from pytest_tpf.report.detail import render_test
from pytest_tpf.report.junit import junit_properties
from pytest_tpf.report.regressions import change_line, full_lines, reference_name, regression_lines, standing
from pytest_tpf.report.terminal import render_summary
from pytest_tpf.report.validate import validate
from tests.report.compared import BETTER, FEW, MAIN, SAME, SLOWER, UNKNOWN, any_compared, change, compared, one_of_each
from tests.report.factory import estimated_test, measured_test, regression, report, report_dict

LINE = "joules_per_token +12.4% (95 % interval +10.1% to +14.8%), threshold 5%: 0.412 -> 0.463 J/token"


def test_a_regression_is_one_line_with_test_figure_change_interval_threshold_rounds_and_reference():
    assert regression_lines(compared("test_worse", {})) == [
        f"tests/test_a.py::test_worse regressed: {LINE}, 10 rounds against 10 of main@0123abc"
    ]


def test_an_estimate_is_called_one_and_a_time_is_not():
    (line,) = regression_lines(compared("test_x", {}, test=estimated_test()))
    assert f"{LINE} (estimated), 10 rounds" in line
    assert "estimated" not in change_line(change(**SLOWER), "estimated")


def test_rounds_that_were_measured_once_more_are_told_and_so_are_several_runs():
    line = change_line(change(), "measured", dataclasses.replace(MAIN, runs=4), remeasured_rounds=5)
    assert line.endswith(", 10 rounds (5 of them measured once more) against 10 of main@0123abc (4 runs)")


def test_what_could_not_be_told_says_what_is_missing_and_what_would_have_been_seen():
    (line,) = regression_lines(compared("test_few", FEW))
    assert line.startswith("tests/test_a.py::test_few inconclusive: joules_per_token +12.4% ")
    assert line.endswith("; too few rounds (n=3, need 5); the smallest change that would have been seen is 23%")
    (line,) = regression_lines(compared("test_unknown", UNKNOWN))
    assert line == "tests/test_a.py::test_unknown not measured: joules_per_token, threshold 5%: unknown now: counter_reset"


def test_a_pass_that_looked_worse_at_first_says_so():
    line = change_line(change(**SAME, reason="looked worse at first (+7.0%), but not when it was measured once more"))
    assert line.endswith("; looked worse at first (+7.0%), but not when it was measured once more")
    assert "would have been seen" not in line


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"threshold": None}, "joules_per_token +12.4% (95 % interval +10.1% to +14.8%): 0.412"),
        ({"ci95": None}, "joules_per_token +12.4% (no interval), threshold 5%: "),
        ({"change": -1e-9}, "joules_per_token +0.0% ("),
        ({"change": 12.0}, "joules_per_token +1200% ("),
        ({"change": 4e9}, "joules_per_token +4e+11% ("),
        ({"threshold": 0.025}, ", threshold 2.5%: "),
        ({"kind": "absolute", "threshold": 0.01, "metric": "quality", "change": -0.05}, "quality -0.05 ("),
        (
            {"kind": "absolute", "threshold": 0.02, "metric": "ttft_s", "change": 0.05},
            "ttft_s +0.05 s (95 % interval +0.101 s to +0.148 s), ",
        ),
        ({"metric": "tokens_per_second", "reference": 1065.0, "actual": 12345.6}, ": 1065 -> 12346 tokens/s, "),
    ],
    ids=range(9),
)
def test_numbers(changes, text):
    assert text in change_line(change(**changes))


@pytest.mark.parametrize(
    ("ref", "commit", "name"),
    [
        ("main", None, "main"),
        ("main", "0123abc4567", "main@0123abc"),
        ("0123abc", "0123abc4567", "0123abc"),
        ("\x1b[31m", None, "\\x1b[31m"),
    ],
)
def test_a_reference_is_named_once(ref, commit, name):
    assert reference_name(Reference(source="history", ref=ref, runs=1, rounds=3, commit=commit)) == name


def test_the_standing_of_each():
    assert [standing(test) for test in one_of_each()] == [
        "no worse",
        "improved",
        "inconclusive",
        "regressed",
        "not compared",
        "inconclusive",
        "new",
    ]


def test_a_better_figure_without_a_threshold_is_no_improvement_to_tell():
    test = compared("test_x", SAME, BETTER | {"threshold": None, "metric": "ttft_s"})
    assert (standing(test), regression_lines(test)) == ("no worse", [])


def test_the_summary_gives_the_verdict_first_and_then_the_worst_first():
    lines = summary_lines(one_of_each())
    assert lines[0] == "1 regressed, 2 inconclusive, 1 not compared, 1 new, 1 improved, 1 no worse; compared with main@0123abc"
    assert [line.split(": ")[0] for line in lines[1:]] == [
        "tests/test_a.py::test_worse regressed",
        "tests/test_a.py::test_worse regressed",
        "tests/test_a.py::test_few inconclusive",
        "tests/test_a.py::test_unknown not measured",
        "tests/test_a.py::test_better improved",
        "not compared",
        "new",
    ]
    assert "ttft_s +100.0%" in lines[1]  # further beyond its threshold than J/token
    assert lines[-2] == "not compared: hardware is b, was a: tests/test_a.py::test_other"


def test_the_summary_is_bounded_and_counts_the_rest():
    tests = [compared(f"test_{place}", {"change": place / 100}) for place in range(100)]
    lines = summary_lines(tests)
    assert lines[0] == "100 regressed; compared with main@0123abc"
    assert len(lines) == 22
    assert lines[1].startswith("tests/test_a.py::test_99 regressed: ")
    assert lines[-1] == "... and 80 more tests; all of them are in the report"


def test_tests_that_cannot_be_compared_for_one_reason_are_one_line():
    tests = [compared(f"test_{place}", verdict="inconclusive", reason="hardware is b, was a") for place in range(9)]
    text = "not compared: hardware is b, was a: tests/test_a.py::test_0, tests/test_a.py::test_1, tests/test_a.py::test_2 and 6 more"
    assert summary_lines(tests) == ["9 not compared; compared with main@0123abc", text]


def test_a_later_attempt_of_a_compared_test_is_not_new():
    first = compared("test_x", SAME)
    again = dataclasses.replace(first, regression=None, attempt=2)
    assert summary_lines([first, again]) == ["1 no worse; compared with main@0123abc"]


def test_without_a_comparison_nothing_is_said():
    plain = measured_test(regression=None)
    assert summary_lines([plain]) == []
    assert (regression_lines(plain), full_lines(plain)) == ([], [])
    assert not any(line.startswith(("against", "new")) for line in render_summary(report(plain)))


# --- the table --------------------------------------------------------------------------------------------------------


def test_a_column_of_changes_stands_in_the_table_where_something_was_compared_and_only_there():
    compared_table, plain_table = render_summary(report(*one_of_each())), render_summary(report(measured_test(regression=None)))
    assert compared_table[0].split() == [COLUMNS[key].heading for key in COMPARED_COLUMNS]
    assert "change" not in plain_table[0]
    assert max(map(len, compared_table)) <= 80


def test_the_cell_of_each():
    cells = {test.nodeid.partition("::")[2]: COLUMNS["change"].cell(test) for test in one_of_each()}
    assert cells == {
        "test_same": "+0.1%",
        "test_better": "-20%",
        "test_few": "+12% ?",
        "test_worse": "+100% !",
        "test_other": "?",
        "test_unknown": "?",
        "test_new": "-",
    }
    assert COLUMNS["change"].cell(compared("test_x", {}, test=estimated_test())) == "+12% ! est."


def test_what_regressed_comes_before_what_merely_broke_no_budget():
    names = [test.nodeid.partition("::")[2] for test in sorted_tests([*one_of_each(), estimated_test()])]
    assert set(names[:2]) == {"test_worse", "test_adder_on_cpu"}
    assert names[-1] == "test_same"


def test_the_foot_of_the_table_counts_the_comparison():
    lines = render_summary(report(*one_of_each()), width=200)
    assert "against main@0123abc: 1 regressed, 2 inconclusive, 1 not compared, 1 new, 1 improved, 1 no worse" in lines
    assert "not compared: hardware is b, was a: tests/test_a.py::test_other" in lines


def test_everything_known_of_a_comparison():
    text = "\n".join(render_test(compared("test_worse", {}, SLOWER, remeasured_rounds=5, remarks=("torch differs",)), width=1000))
    for part in (
        "\nregression\n",
        "  verdict fail: regressed\n",
        "  regressed: ttft_s +100.0%",
        "; p 1e-09; p of all figures of the run together 1e-07",
    ):
        assert part in text
    assert "  reference: main@0123abc (history; 1 run, 10 rounds, newest of 2026-01-01T08:00:00Z)\n  regressed: ttft_s" in text
    assert "  remark: torch differs\n" in text


def test_junit_properties_tell_change_interval_and_verdict():
    found = dict(
        junit_properties(compared("test_worse", {}, {"metric": "quality", "kind": "absolute", "change": -0.05, "ci95": (-0.1, -0.02)}))
    )
    told = {name: value for name, value in found.items() if "comparison" in name or "change" in name}
    assert told == {
        "tpf_comparison": "regressed",
        "tpf_comparison_reference": "main@0123abc",
        "tpf_joules_per_token_change_fraction": "0.124",
        "tpf_joules_per_token_change_fraction_ci95_low": "0.101",
        "tpf_joules_per_token_change_fraction_ci95_high": "0.148",
        "tpf_joules_per_token_comparison": "regressed",
        "tpf_quality_change": "-0.05",
        "tpf_quality_change_ci95_low": "-0.1",
        "tpf_quality_change_ci95_high": "-0.02",
        "tpf_quality_comparison": "regressed",
    }
    assert not [name for name, _ in junit_properties(measured_test(regression=None)) if "comparison" in name]


# --- whatever a report holds ------------------------------------------------------------------------------------------


@given(any_compared())
def test_whatever_a_valid_report_holds_every_line_is_one_printable_line(test):
    assert validate(report_dict(test)) == []
    lines = [*regression_lines(test), *full_lines(test), *summary_lines([test]), COLUMNS["change"].cell(test), *render_test(test)]
    lines += render_summary(report(test), ["name", "change"], sort="change")
    for line in lines:
        assert not set(line) & set("\r\n\x1b\x07\u202e\u2028")
    assert all(isinstance(value, str) for _, value in junit_properties(test))


@given(st.lists(any_compared(), max_size=12), st.integers(1, 20))
def test_however_many_tests_the_summary_is_bounded(tests, most):
    lines = summary_lines(tests, most)
    assert len(lines) <= most + 9  # verdict, rest, five reasons and others, new
    assert as_dict(report(*tests))  # nothing was changed on the way


def test_where_nobody_set_a_threshold_nothing_is_called_no_worse():
    slower = dataclasses.replace(regression().changes[1], change=0.4, improved=False)
    test = measured_test(regression=dataclasses.replace(regression(), changes=(slower,)))
    assert (standing(test), regression_lines(test)) == ("told", [])
    assert summary_lines([test]) == ["1 told; compared with main@0123456"]
