"""The table: at most 80 columns, worst first, estimates called estimates, nothing in a name that a terminal would obey."""

from __future__ import annotations

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_tpf.records import Conditions, Fit, FitPoint
from pytest_tpf.report.columns import COLUMNS, check_table_options, sorted_tests
from pytest_tpf.report.detail import render_test
from pytest_tpf.report.errors import ReportError
from pytest_tpf.report.terminal import render_summary
from pytest_tpf.report.text import display_width, energy, percent, plain, short_names, shortened, si
from tests.report.factory import estimated_test, invalid_test, measured_test, report

TABLE = """\
test                        J/token  tok/s  binding     qual.  change  verdict
--------------------  -------------  -----  ----------  -----  ------  ---------
test_adder_on_cpu     ~12.0 mJ est.  2.08k  unclear         -       -  FAIL
test_chat                         -   90.0  operations    0.5       -  not meas.
test_adder[batch-32]   400 mJ ±2.0%  1.06k  memory      0.958   +2.6%  pass
boundary: it (2 tests), device (1 test)
meters: nvml:gpu:0 (measured, every 100 ms); estimate:cpu:0 (estimated)
facility: PUE 1.25 declared (annual, PUE2)
against main@0123456: 2 new, 1 no worse
new: nothing to compare with: tests/test_adder.py::test_adder_on_cpu,
  tests/test_chat.py::test_chat
not metered: cpu:0, dram:0; energies leave these out
estimated: the energy of 1 of 3 tests (est.): a model of the hardware, not a
  measurement
marginal: 1 test with a limit inside the interval; more rounds would decide
energy unknown: counter_reset (1 test)
compare with care: temperature_drift (1 test), shared_board (1 test)
note: cpu:0 and dram:0 are not metered: RAPL is readable by root only
note: gpu:0: the energy counter restarted inside the window
"""


def test_the_default_table_is_80_columns_wide_and_worst_first():
    lines = render_summary(report())
    assert "\n".join(lines) + "\n" == TABLE
    assert max(map(display_width, lines)) == 80


def test_a_wider_terminal_shows_whole_names():
    assert any(line.startswith("test_adder.py::test_adder[batch-32] ") for line in render_summary(report(), width=120))


def test_one_table_for_each_group_with_chosen_columns():
    lines = render_summary(report(), ["name", "joules", "ttft_s"], group_by="label:precision")
    tables = "\n".join(lines).split("\n\n")
    assert [table.lstrip("\n").splitlines()[0] for table in tables] == [
        "label:precision: (none) (1 test)",
        "label:precision: fp8 (1 test)",
        "label:precision: bf16 (1 test)",
    ]
    assert "~7.49 J est." in tables[0]
    assert "2.46 kJ" in tables[2]


@pytest.mark.parametrize(
    ("group_by", "titles"),
    [
        ("file", ["file: tests/test_adder.py (2 tests)", "file: tests/test_chat.py (1 test)"]),
        ("group", ["group: (none) (1 test)", "group: chat (1 test)", "group: adder (1 test)"]),
        ("model", ["model: LlamaForCausalLM (2 tests)", "model: (none) (1 test)"]),
        ("param:batch", ["param:batch: (none) (2 tests)", "param:batch: 32 (1 test)"]),
    ],
)
def test_groups(group_by, titles):
    assert [line for line in render_summary(report(), group_by=group_by) if line.startswith(f"{group_by}: ")] == titles


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": ["jules_per_token"]}, "unknown column 'jules_per_token': did you mean 'joules_per_token'?"),
        ({"sort": "-verdicts"}, "unknown column to sort by 'verdicts': did you mean 'verdict'?"),
        ({"group_by": "modell"}, "unknown group 'modell': did you mean 'model'?"),
        ({"group_by": "parm:x"}, "unknown group 'parm:x': known are group, file, model, param:NAME, label:NAME"),
        ({"group_by": "label:"}, "unknown group 'label:'"),
        ({"columns": ["\x1b[31m"]}, "unknown column '\\\\x1b[31m'"),
    ],
)
def test_what_nobody_knows_is_refused_with_the_nearest(options, message):
    for refuse in (check_table_options, lambda **options: render_summary(report(), **options)):
        with pytest.raises(ReportError) as caught:
            refuse(**options)
        assert str(caught.value).startswith(message)


def names(tests) -> list[str]:
    return [test.nodeid.rpartition("::")[2] for test in tests]


def test_every_column_sorts_both_ways_and_unknown_values_come_last():
    tests = report().tests
    assert names(sorted_tests(tests, "joules_per_token")) == ["test_adder[batch-32]", "test_adder_on_cpu", "test_chat"]
    assert names(sorted_tests(tests, "-joules_per_token")) == ["test_adder_on_cpu", "test_adder[batch-32]", "test_chat"]
    assert names(sorted_tests(tests, "tokens_per_second")) == ["test_chat", "test_adder[batch-32]", "test_adder_on_cpu"]
    for key in COLUMNS:
        for sort in (key, f"-{key}"):
            ordered = sorted_tests(tests, sort)
            assert sorted(names(ordered)) == sorted(names(tests))
            unknown = [COLUMNS[key].value(test) is None for test in ordered]
            assert unknown == sorted(unknown)


@given(st.lists(st.sampled_from(sorted(COLUMNS)), min_size=1, max_size=6), st.sampled_from([60, 80, 132]))
def test_every_column_has_a_cell_for_every_test(columns, width):
    lines = render_summary(report(), columns, width=width)
    assert lines[0].split() == " ".join(COLUMNS[key].heading for key in columns).split()


@pytest.mark.parametrize("column", [key for key, column in COLUMNS.items() if column.cell(estimated_test()).startswith("~")])
def test_an_estimate_is_never_without_that_word(column):
    test = estimated_test()
    assert COLUMNS[column].cell(test).endswith(" est.")
    assert "estimated" in "\n".join(render_summary(report(test), [column]))


def test_the_columns_that_follow_from_energy_are_marked():
    marked = {key for key, column in COLUMNS.items() if column.cell(estimated_test()).startswith("~")}
    assert marked >= {"joules_per_token", "joules", "net_joules", "joules_per_request", "power_w", "facility_power_w"}


def test_an_undeclared_pue_is_called_that():
    undeclared = dataclasses.replace(report(), facility=type(report().facility)())
    assert "facility: PUE not declared, facility figures are unknown" in render_summary(undeclared)


def test_a_warning_of_many_tests_is_said_once():
    tests = [measured_test(nodeid=f"t.py::t[{i}]", warnings=("slow meter",)) for i in range(3)]
    lines = render_summary(report(*tests))
    assert [line for line in lines if line.startswith("note")] == ["note: slow meter (3 tests)"]


def test_a_long_table_shows_its_first_rows_and_counts_the_rest():
    tests = [estimated_test(nodeid="t.py::worst"), *(measured_test(nodeid=f"t.py::t[{i}]", warnings=(f"w{i}",)) for i in range(500))]
    lines = render_summary(report(*tests), rows=3)
    assert [line.split()[0] for line in lines[2:5]] == ["worst", "t[0]", "t[1]"]
    assert lines[5] == "... and 498 more tests; --tpf-rows=0 (tpf show: --rows=0) shows all of them"
    assert "boundary: it (501 tests)" in lines
    assert "note: 488 further notes in the report" in lines
    assert len(render_summary(report(*tests))) > 500


@given(
    st.lists(st.tuples(st.sampled_from([estimated_test(), measured_test(), invalid_test()]), st.text(max_size=3)), max_size=12),
    st.sampled_from([None, *COLUMNS, *(f"-{key}" for key in COLUMNS)]),
    st.integers(1, 13),
)
def test_the_first_rows_are_those_of_the_whole_table(chosen, sort, rows):
    tests = [dataclasses.replace(test, nodeid=f"t.py::{name}") for test, name in chosen]
    assert sorted_tests(tests, sort, rows) == sorted_tests(tests, sort)[:rows]


@given(st.lists(st.text()))
def test_texts_sort_both_ways(texts):
    tests = [measured_test(nodeid=text) for text in texts]
    assert [test.nodeid for test in sorted_tests(tests, "name")] == sorted(texts)
    assert [test.nodeid for test in sorted_tests(tests, "-name")] == sorted(texts, reverse=True)


def test_a_report_without_tests_has_a_table_too():
    empty = dataclasses.replace(report(), tests=(), meters=())
    lines = render_summary(empty)
    assert "tests: none was measured" in lines
    assert "meters: none" in lines


@given(st.text(max_size=300), st.integers(min_value=60, max_value=200))
def test_no_name_breaks_the_table(name, width):
    lines = render_summary(report(measured_test(nodeid=f"t.py::t[{name}]", warnings=(name,)), invalid_test()), width=width)
    assert all(display_width(line) <= max(width, 80) for line in lines[:4])
    assert all("\n" not in line and "\x1b" not in line and "\u202e" not in line for line in lines)


@pytest.mark.parametrize("make", [measured_test, estimated_test, invalid_test])
def test_the_detail_names_every_figure_within_80_columns(make):
    test = make()
    lines = render_test(test)
    text = "\n".join(lines)
    assert max(map(display_width, lines)) <= 80
    for section in ("mandated", "workload", "service", "energy", "power", "production", "derived"):
        assert section in lines
        for field in dataclasses.fields(getattr(test, section)):
            assert field.name in text
    for budget in test.budgets:
        assert budget.metric in text
    assert text.count(" output tokens, ") == len(test.rounds)


def test_the_detail_tells_the_conditions():
    text = "\n".join(render_test(measured_test(), width=120))
    for said in (
        "temperature_drift, shared_board",
        "1.8% [1.8%, 1.8%]",
        "41 to 52 degrees C",
        "heat 0.0%, brake 0.0%, limit 2.0% (counter)",
        "foreign process python3 (pid 4242) on",
        "2.15 GB, 11% of its time",
    ):
        assert said in text
    assert "flags" in "\n".join(render_test(invalid_test()))


def test_the_detail_tells_a_fit_or_why_there_is_none():
    lines = [" ".join(line.split()) for line in render_test(measured_test(), width=120)]
    for said in (
        "joules_per_output_token 399 mJ [391 mJ, 407 mJ]",
        "joules_per_prompt_token 6.64 mJ",
        "F(128) 1.09 J",
        "r2 0.99999",
        "worst_relative_error 0.4%",
        "128 prompt, 16 output tokens 7.10 J, fitted 7.08 J, n=24",
    ):
        assert said in lines
    lost = FitPoint(prompt_tokens=128.0, output_tokens=16.0, requests=4, joules=None)
    unfitted = Fit(boundary="it", points=(lost,), reason="no point of the grid has a known energy")
    lines = [" ".join(line.split()) for line in render_test(estimated_test(fit=unfitted), width=120)]
    assert "no fit no point of the grid has a known energy" in lines
    assert "128 prompt, 16 output tokens energy unknown, n=4" in lines
    assert "fit" in lines
    assert "fit" not in render_test(measured_test(fit=None))


def test_doubts_are_counted_below_the_table():
    flagged = measured_test(conditions=Conditions(flags=("drifting",)), nodeid="t.py::a")
    lines = render_summary(report(flagged, measured_test()), width=200)
    assert "compare with care: drifting (1 test), temperature_drift (1 test), shared_board (1 test)" in lines


def test_the_detail_of_an_estimate_says_so():
    lines = render_test(estimated_test())
    for name in ("it_j", "facility_j", "mean_w", "joules_per_request", "idle_power_w"):
        (line,) = [line for line in lines if line.split()[:1] == [name]]
        assert line.endswith(" est.")


@given(st.text(max_size=200), st.text(max_size=200))
def test_the_detail_obeys_no_text(name, value):
    test = measured_test(nodeid=name, labels={name: value}, params={value: name}, extra={name: value}, warnings=(value,))
    assert all(line == plain(line) for line in render_test(test))


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0123456, "J", "12.3 mJ"),
        (999.4, "J", "999 J"),
        (999.6, "J", "1.00 kJ"),
        (0.0009996, "s", "1.00 ms"),
        (1, "W", "1.00 W"),
        (-0.2, "J", "-200 mJ"),
        (0, "J", "0 J"),
        (1065.0, "", "1.06k"),
        (90, "", "90.0"),
        (1e30, "J", "1.00e+30 J"),
        (math.inf, "J", "inf"),
        (None, "J", "-"),
    ],
)
def test_si(value, unit, text):
    assert si(value, unit) == text


@given(st.floats(min_value=1e-11, max_value=1e17))
def test_si_keeps_three_digits(value):
    prefixes = {"p": 1e-12, "n": 1e-9, "µ": 1e-6, "m": 1e-3, "": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15}
    digits, unit = si(value, "J").split()
    assert len(digits.replace(".", "")) == 3
    assert float(digits) * prefixes[unit.removesuffix("J")] == pytest.approx(value, rel=0.0051)


def _late(test):
    load = dataclasses.replace(test.service.load, is_late=True)
    return dataclasses.replace(test, service=dataclasses.replace(test.service, load=load, goodput=None, e2e_s=None))


def test_a_load_is_told_in_three_lines():
    lines = [" ".join(line.split()) for line in render_test(measured_test(), width=200)]
    assert "load open, poisson arrivals, seed 1, 96 requests, 1 failed, at most 41 at a time, 64 allowed" in lines
    assert "rate 16.9 req/s offered, 16.6 req/s achieved" in lines
    assert any(line.startswith("the client's lateness p50 392 µs") and line.endswith("n=96") for line in lines)
    assert "too late: times and goodput are not the server's" in "\n".join(render_test(_late(measured_test()), width=200))
    assert not any("load" in line.split() for line in render_test(estimated_test()))


def test_goodput_is_a_column():
    assert COLUMNS["goodput"].cell(measured_test()) == "15.9 (96%)"
    assert COLUMNS["goodput"].cell(_late(measured_test())) == "-"
    late_last = sorted_tests([_late(measured_test()), measured_test()], "goodput")
    assert [test.service.goodput is None for test in late_last] == [False, True]


def test_energies_carry_their_trust():
    assert energy(0.4, "measured", "J", (0.38, 0.42)) == "400 mJ ±5.0%"
    assert energy(0.4, "replayed", "J") == "400 mJ replayed"
    assert energy(0.4, "estimated", "J", (0.38, 0.42)) == "~400 mJ est."
    assert energy(None, "measured", "J") == "-"
    assert percent(0.125) == "12%"


@given(st.text(max_size=60), st.integers(min_value=0, max_value=40))
def test_shortening_fits_and_keeps_both_ends(text, width):
    short = shortened(text, width)
    assert display_width(short) <= width
    if display_width(text) <= width:
        assert short == text


def test_shortening_takes_the_middle():
    assert shortened("test_adder[batch-32]", 11) == "test_…h-32]"
    assert shortened("日本語日本語", 7) == "日…語"


def test_names_lose_the_folders_they_share():
    assert short_names(["a/b/t.py::x", "a/c/u.py::y"]) == ["b/t.py::x", "c/u.py::y"]
    assert short_names(["a/b/t.py::x", "a/b/t.py::C::y"]) == ["x", "C::y"]
    assert short_names(["a/t.py::x", "u.py::y"]) == ["a/t.py::x", "u.py::y"]
    assert short_names(["t"]) == ["t"]
    assert short_names([]) == []
