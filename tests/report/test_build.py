"""The summary says what the rows say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from pytest_tpf.codec import as_dict
from pytest_tpf.report.build import MAX_EXTRA, build_report, summarize
from pytest_tpf.report.junit import junit_properties
from pytest_tpf.report.read import read_report
from pytest_tpf.report.tally import Tally
from pytest_tpf.report.validate import validate
from pytest_tpf.report.write import write_report
from tests.report.factory import environment, estimated_test, facility, invalid_test, measured_test, meters

ROWS = [measured_test(), estimated_test(), invalid_test()]


@given(st.lists(st.sampled_from(ROWS), max_size=6))
def test_any_rows_make_a_valid_report(tests):
    report = build_report(tests, environment(), facility(), meters())
    assert validate(as_dict(report)) == []
    assert report.tests == tuple(tests)


def test_each_report_has_its_own_id_and_the_time_of_its_making():
    one, other = (build_report(ROWS, environment(), facility(), meters()) for _ in range(2))
    assert one.report_id != other.report_id
    made = datetime.strptime(one.created_at, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert abs(datetime.now(UTC) - made) < timedelta(minutes=5)


def test_an_estimate_is_in_the_total_but_not_among_the_measured():
    summary = summarize(ROWS)
    assert (summary.tests, summary.measured, summary.failed_budgets, summary.regressions) == (3, 1, 1, 0)
    assert summary.total_it_j == 2457.6 + 7.488
    assert summary.total_output_tokens == 6144 + 624 + 90


def test_without_any_known_energy_the_total_is_unknown_not_zero():
    assert summarize([invalid_test()]).total_it_j is None
    assert summarize([]).total_it_j is None


def test_texts_longer_than_the_schema_allows_are_cut_and_stay_apart():
    prompts = ["x" * 20_000 + end for end in ("a" + "z" * 9_000, "b" + "z" * 9_000)]
    tests = [
        measured_test(nodeid=f"t.py::t[{prompt}]", params={"p" * 2_000: prompt}, labels={"l": prompt}, group=prompt, warnings=(prompt,))
        for prompt in prompts
    ]
    report = build_report(tests, environment(), facility(), meters())
    assert validate(as_dict(report)) == []
    first, second = report.tests
    assert first.nodeid != second.nodeid
    assert first.nodeid.startswith("t.py::t[xxx")
    assert first.nodeid.endswith("zzz]")


def test_a_huge_extra_is_left_out_and_said_so(tmp_path):
    texts = {"kept": "x" * (MAX_EXTRA - 100), "dropped": "x" * MAX_EXTRA}
    tests = [measured_test(nodeid=f"t.py::{name}", extra={"text": text}) for name, text in texts.items()]
    write_report(tmp_path / "report.json", build_report(tests, environment(), facility(), meters()))
    kept, dropped = read_report(tmp_path / "report.json")["tests"]
    assert kept["extra"] == {"text": texts["kept"]}
    assert dropped["extra"] == {}
    assert dropped["warnings"][-1] == "tpf.extra is left out: 4194316 characters of JSON, more than 4194304"


def test_a_tally_of_builtins_is_the_summary_of_records():
    tally = Tally()
    for test in ROWS:
        tally.add(as_dict(test))
    assert tally.summary() == as_dict(summarize(ROWS))


def test_junit_properties_carry_units_boundary_and_trust():
    properties = dict(junit_properties(measured_test()))
    assert properties["tpf_joules_per_token"] == "0.4"
    assert properties["tpf_energy_boundary"] == "it"
    assert properties["tpf_energy_trust"] == "measured"
    assert properties["tpf_binding_constraint"] == "memory_bandwidth"
    assert properties["tpf_pue_adjusted_power_w"] == "532.5"
    assert properties["tpf_utilization_adjusted_tokens_per_second"] == "639.0"
    assert properties["tpf_accuracy"] == "0.9583"
    assert properties["tpf_ttft_p95_s"] == "0.1"


def test_junit_properties_leave_out_what_is_unknown():
    names = [name for name, _ in junit_properties(invalid_test())]
    assert names == ["tpf_binding_constraint", "tpf_pue", "tpf_accuracy", "tpf_accuracy_metric"]
