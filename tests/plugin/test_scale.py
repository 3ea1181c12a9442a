"""Suites with many measured tests: what stays in memory, what is printed, what is written."""

from __future__ import annotations

import pytest

from pytest_tpf.report.read import scan_report
from pytest_tpf.report.validate import checked

MANY = """
    @pytest.mark.tpf
    @pytest.mark.parametrize("number", range({count}))
    def test_it(tpf, number):
        with tpf.measure() as window:
            window.count(output_tokens=5, requests=1)
"""

LOOK = """
def pytest_terminal_summary(terminalreporter):
    kept = [report for reports in terminalreporter.stats.values() for report in reports if hasattr(report, "_tpf")]
    terminalreporter.write_line(f"{len(kept)} reports hold a record")
"""


@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["alone", "xdist"])
def test_a_record_is_kept_once(suite, workers):
    (suite.path / "conftest.py").write_text((suite.path / "conftest.py").read_text() + LOOK)
    result = suite.run(MANY.format(count=3), *workers, subprocess=True)
    result.stdout.fnmatch_lines(["0 reports hold a record"])
    assert len(suite.report()["tests"]) == 3


@pytest.mark.stress
def test_ten_thousand_measured_tests(suite):
    result = suite.run(MANY.format(count=10_000), "-n", "2", "-q", subprocess=True)
    result.stdout.fnmatch_lines(["... and 9900 more tests; *"])
    report = checked(scan_report(suite.path / "report.json"))
    assert report.problems == []
    assert report.head["summary"]["tests"] == 10_000
    assert report.head["summary"]["total_output_tokens"] == 50_000
