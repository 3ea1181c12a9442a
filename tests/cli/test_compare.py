"""``tpf compare``: which tests got worse from one report to another, with exit codes that a CI job can act on."""

from __future__ import annotations

import dataclasses
import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from pytest_tpf.cli._comparison import compared
from pytest_tpf.cli._comparison_formats import json_text, markdown_text, table_text
from pytest_tpf.judge.thresholds import DEFAULT
from pytest_tpf.records import Report, Round, TestRecord
from pytest_tpf.report.regressions import standing
from pytest_tpf.report.write import write_report
from tests.cli.test_hostile import SMALL, answers
from tests.cli.test_main import one_line, tpf
from tests.report.compared import NASTY
from tests.report.factory import estimated_test, measured_test, report

NAMES = ("test_x", "test_y", "test_z")


def rounds(factor: float, count: int, seed: object) -> tuple[Round, ...]:
    """Of half a percent of noise."""
    chance = random.Random(str(seed))
    one = measured_test().rounds[0]
    return tuple(dataclasses.replace(one, it_j=819.2 * factor * chance.gauss(1, 0.005)) for _ in range(count))


def measured(name: str, factor: float = 1.0, count: int = 6, seed: object = 0, **changes: Any) -> TestRecord:
    plain = {"nodeid": f"tests/test_a.py::{name}", "rounds": rounds(factor, count, (name, seed)), "regression": None}
    return measured_test(**plain | changes)


def saved(path: Path, *tests: TestRecord, **environment: Any) -> Path:
    whole: Report = report(*tests)
    write_report(path, dataclasses.replace(whole, environment=dataclasses.replace(whole.environment, **environment)))
    return path


@pytest.fixture
def old(tmp_path) -> Path:
    return saved(tmp_path / "old.json", *(measured(name, seed="old") for name in NAMES))


def run_of(tmp_path: Path, factor: float = 1.0, name: str = "new.json", **changes: Any) -> Path:
    """A later run, in which ``test_x`` takes ``factor`` times the energy."""
    return saved(tmp_path / name, *(measured(each, factor if each == "test_x" else 1.0, seed=name, **changes) for each in NAMES))


def test_a_regression_is_named_with_change_and_interval_and_is_code_1(old, tmp_path):
    done = tpf("compare", old, run_of(tmp_path, 1.12))
    lines = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (1, "")
    assert lines[0] == f"reference: {old}: 2026-01-02T03:04:05Z, commit 0123456789ab (main), 3 tests, hardware 0011223344556677"
    assert lines[3].startswith("1 regressed, 2 no worse; compared with ")
    assert lines[3].endswith("old.json@0123456")
    assert lines[4].startswith("tests/test_a.py::test_x regressed: joules_per_token +1")
    assert ", threshold 5%: 0.4" in lines[4]
    heading = next(line for line in lines if line.startswith("test "))
    assert heading.split() == ["test", "figure", "was", "is", "change", "95", "%", "interval", "verdict"]
    assert next(line for line in lines if line.startswith("test_x")).endswith("regressed")


def test_no_regression_is_code_0_and_a_looser_threshold_lets_more_pass(old, tmp_path):
    assert tpf("compare", old, run_of(tmp_path)).returncode == 0
    assert tpf("compare", old, run_of(tmp_path, 1.12), "--fail", "joules_per_token:30%", "--gate", "strict").returncode == 0
    assert tpf("compare", old, run_of(tmp_path, 1.12), "--fail", "ttft_s:10%").returncode == 0


def test_an_improvement_is_told_and_is_code_0(old, tmp_path):
    done = tpf("compare", old, run_of(tmp_path, 0.8), "--gate", "strict")
    assert done.returncode == 0
    assert "test_x improved: joules_per_token -" in done.stdout


def test_too_few_rounds_are_code_0_and_1_if_strict(tmp_path):
    files = [saved(tmp_path / f"{factor}.json", measured("test_x", factor, count=3)) for factor in (1.0, 1.5)]
    done = tpf("compare", *files)
    assert done.returncode == 0
    assert "too few rounds (n=3, need 5)" in done.stdout
    assert tpf("compare", *files, "--gate", "strict").returncode == 1


def test_new_and_vanished_tests_are_listed_and_only_a_vanished_one_is_red_if_strict(old, tmp_path):
    grown = saved(tmp_path / "grown.json", *(measured(name, seed=1) for name in (*NAMES, "test_new")))
    shrunk = saved(tmp_path / "shrunk.json", *(measured(name, seed=1) for name in NAMES[1:]))
    done = tpf("compare", old, grown, "--gate", "strict")
    assert (done.returncode, "new: nothing to compare with: tests/test_a.py::test_new" in done.stdout) == (0, True)
    done = tpf("compare", old, shrunk, "--gate", "strict")
    assert (done.returncode, "vanished: only the reference has tests/test_a.py::test_x" in done.stdout) == (1, True)
    assert tpf("compare", old, shrunk).returncode == 0


def test_nothing_in_common_is_not_a_pass(old, tmp_path):
    other = saved(tmp_path / "other.json", measured("test_other"))
    done = tpf("compare", old, other, "--gate", "strict")
    assert (done.returncode, "nothing was compared: no test is in both" in done.stdout) == (1, True)


def test_a_renamed_test_is_found_by_its_label(tmp_path):
    old = saved(tmp_path / "old.json", measured("test_x", labels={"id": "adder"}))
    new = saved(tmp_path / "new.json", measured("test_renamed", 1.2, labels={"id": "adder"}))
    done = tpf("compare", old, new)
    assert (done.returncode, "tests/test_a.py::test_renamed regressed" in done.stdout) == (1, True)


def test_other_hardware_is_not_compared_unless_asked_for(old, tmp_path):
    new = saved(tmp_path / "new.json", *(measured(name, 1.2) for name in NAMES), hardware_fingerprint="f" * 16)
    done = tpf("compare", old, new)
    assert done.returncode == 0
    assert f"not compared: hardware is {'f' * 16}, was 0011223344556677: tests/test_a.py::test_x" in done.stdout
    done = tpf("compare", old, new, "--across", "--format", "json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["tests"][0]["regression"]["remarks"] == [f"hardware is {'f' * 16}, was 0011223344556677"]


def test_what_differs_in_the_environment_is_listed(old, tmp_path):
    boards = tuple(dataclasses.replace(board, driver_version="580.1") for board in report().environment.accelerators)
    new = saved(tmp_path / "new.json", *(measured(name) for name in NAMES), software={"torch": "2.14.0"}, accelerators=boards)
    out = tpf("compare", old, new).stdout
    assert "differs: accelerators.0.driver_version is 580.1, was 570.86.15\n" in out
    assert "differs: software.torch is 2.14.0, was 2.13.0\n" in out
    assert "differs: software.pytest is unknown, was 9.2.0\n" in out


def test_several_reports_are_runs_of_one_reference(old, tmp_path):
    second = run_of(tmp_path, name="second.json")
    done = tpf("compare", old, second, run_of(tmp_path, 1.12), "--format", "json")
    found = json.loads(done.stdout)
    assert (done.returncode, len(found["references"])) == (1, 2)
    reference = found["tests"][0]["regression"]["reference"]
    assert (reference["ref"], reference["runs"], reference["rounds"]) == ("2 reports", 2, 12)


def test_the_first_attempt_counts(old, tmp_path):
    """A rerun that does better doesn't launder the first one."""
    tests = [measured("test_x", 1.2, outcome="failed"), measured("test_x", attempt=2), *(measured(name) for name in NAMES[1:])]
    done = tpf("compare", old, saved(tmp_path / "new.json", *tests))
    assert (done.returncode, "1 regressed, 2 no worse" in done.stdout) == (1, True)


def test_an_estimate_is_called_one(tmp_path):
    files = [saved(tmp_path / f"{seed}.json", measured("test_x", seed=seed, energy=estimated_test().energy)) for seed in (1, 2)]
    out = tpf("compare", *files).stdout
    assert "estimated: the energy of 1 of 1 test: a model of the hardware, not a measurement" in out
    assert "J/token (estimated)" in out
    assert " est. " in out


def test_json_is_stable_and_whole(old, tmp_path):
    done = tpf("compare", old, run_of(tmp_path, 1.12), "--format", "json", "-o", tmp_path / "new" / "found.json")
    assert (done.returncode, done.stdout) == (1, "")
    found = json.loads((tmp_path / "new" / "found.json").read_text())
    names = {"compare_version", "generator", "verdict", "counts", "references", "new", "thresholds", "differences", "vanished", "tests"}
    assert set(found) == names
    assert (found["compare_version"], found["verdict"], found["counts"]) == ("1.0.0", "fail", {"regressed": 1, "no worse": 2})
    assert found["thresholds"] == [{"metric": "joules_per_token", "amount": 0.05, "kind": "relative"}]
    assert set(found["tests"][0]) == {"nodeid", "standing", "trust", "regression"}
    assert set(found["new"]) == {"file", "report_id", "created_at", "commit", "hardware_fingerprint"}


def test_markdown_says_the_verdict_first(old, tmp_path):
    out = tpf("compare", old, run_of(tmp_path, 1.12), "--format", "markdown").stdout
    assert out.startswith("### tpf compare: regressed\n\n<p><code>1 regressed, 2 no worse; compared with ")
    assert "<li><code>tests/test_a.py::test_x</code> regressed: <code>joules_per_token</code> +1" in out
    assert "<details><summary>All figures (12)</summary>" in out


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("OLD",), "tpf compare: the following arguments are required: B"),
        (("OLD", "missing.json"), "tpf compare: missing.json: can't be read: No such file or directory"),
        (("missing.json", "OLD"), "tpf compare: missing.json: can't be read: No such file or directory"),
        (("OLD", "OLD", "--fail", "joules"), "tpf compare: --fail: 'joules' has no change; expected METRIC:CHANGE such as "),
        (("OLD", "OLD", "--fail", "jules_per_token:5%"), "tpf compare: --fail: unknown metric 'jules_per_token' (did you mean "),
        (("OLD", "OLD", "--rows", "-1"), "tpf compare: --rows must be at least 0"),
        (("OLD", "OLD", "-o", "/dev/null/x"), "tpf compare: /dev/null/x: can't be written: "),
        (("OLD", "OLD", "--format", "xml"), "tpf compare: argument --format: invalid choice: 'xml'"),
    ],
    ids=range(8),
)
def test_unusable_arguments_are_one_line_and_code_2(old, arguments, text):
    assert one_line(tpf("compare", *(old if each == "OLD" else each for each in arguments)), 2).startswith(text)


def test_an_invalid_report_is_one_line_and_code_2(old, tmp_path):
    data = json.loads(old.read_text())
    data["facility"]["pue"]["value"] = 0.9
    (tmp_path / "broken.json").write_text(json.dumps(data))
    for files in ((old, tmp_path / "broken.json"), (tmp_path / "broken.json", old)):
        assert one_line(tpf("compare", *files), 2).startswith(
            f"tpf compare: {tmp_path}/broken.json: is no valid report: $.facility.pue.value: 0.9"
        )


def test_what_cannot_be_read_is_one_line_and_code_2_on_either_side(old, tmp_path):
    for number, (content, _) in enumerate(SMALL.values()):
        (tmp_path / f"{number}.json").write_bytes(content)
    files = {name: f"{tmp_path}/{number}.json" for number, name in enumerate(SMALL)}
    calls = {f"{name} new": ["compare", str(old), path] for name, path in files.items()}
    calls |= {f"{name} old": ["compare", path, str(old)] for name, path in files.items()}
    for name, (code, out, err) in answers(calls).items():
        assert (name, code, out, err.count("\n")) == (name, 2, "", 1)
        assert err.startswith("tpf compare: ")


def test_text_from_a_report_does_nothing_in_any_format(tmp_path):
    old = saved(tmp_path / "old.json", measured("x", nodeid=NASTY), software={NASTY[:100]: "1"})
    new = saved(tmp_path / "new.json", measured("x", 1.2, nodeid=NASTY), software={NASTY[:100]: NASTY[:256]})
    for how in ("table", "markdown", "json"):
        done = tpf("compare", old, new, "--format", how)
        assert done.returncode == 1
        assert not set(done.stdout + done.stderr) & set("\x1b\x07\r\u202e\u2028")
    html = MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(tpf("compare", old, new, "--format", "markdown").stdout)
    assert "<script" not in html
    assert "<img" not in html
    assert "<a" not in html


def test_figures_beyond_reckoning_are_not_compared_and_no_traceback(tmp_path):
    huge = tuple(dataclasses.replace(each, it_j=1e308, duration_s=1e-300, ttft_s=5e-324) for each in rounds(1, 6, 0))
    tiny = tuple(dataclasses.replace(each, it_j=5e-324, duration_s=1e300, ttft_s=1e308) for each in rounds(1, 6, 0))
    files = [saved(tmp_path / f"{name}.json", measured("x", rounds=each)) for name, each in (("huge", huge), ("tiny", tiny))]
    for pair in (files, files[::-1]):
        done = tpf("compare", *pair, "--format", "json", "--fail", "joules_per_token:5%,ttft_s:5%,tokens_per_second:5%")
        assert done.returncode in (0, 1)
        json.loads(done.stdout, parse_constant=lambda text: pytest.fail(text))


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(factor=st.floats(0.3, 3.0), seed=st.integers(0, 99))
def test_the_other_way_round_the_change_has_the_other_sign(tmp_path, factor, seed):
    one = str(saved(tmp_path / "one.json", measured("test_x", seed=seed)))
    other = str(saved(tmp_path / "other.json", measured("test_x", factor, seed=seed + 1)))
    there, back = compared([one], other, DEFAULT, across=False), compared([other], one, DEFAULT, across=False)
    (out,), (home,) = ([test.regression.changes[0] for test in found.tests if test.regression] for found in (there, back))
    assert (1 + out.change) * (1 + home.change) == pytest.approx(1)
    assert not (out.verdict == "fail" and home.verdict == "fail")
    assert not (standing(there.tests[0]) == "improved" and standing(back.tests[0]) == "improved")
    for found in (there, back):
        assert json.loads("".join(json_text(found)))["verdict"] == found.verdict
        assert markdown_text(found).startswith("### tpf compare: ")
        assert next(table_text(found)).startswith("reference: ")


def test_only_what_a_comparison_needs_is_kept_of_a_test(tmp_path, old):
    found = compared([str(old)], str(run_of(tmp_path, extra={"much": "x" * 10_000})), DEFAULT, across=False)
    assert [(test.extra, test.rounds, test.warnings) for test in found.tests] == [({}, (), ())] * 3
    assert [test.nodeid for test in found.tests] == [f"tests/test_a.py::{name}" for name in NAMES]


def test_a_large_comparison_is_cut_in_markdown_and_counts_the_rest(tmp_path):
    old = saved(tmp_path / "old.json", *(measured(f"test_{place}") for place in range(300)))
    new = saved(tmp_path / "new.json", *(measured(f"test_{place}", 1.2) for place in range(300)))
    found = compared([str(old)], str(new), DEFAULT, across=False)
    text = markdown_text(found)
    assert len(text) < 65_536
    assert "and 280 more tests" in text
    assert "for which there is no room here" in text
    assert sum(1 for _ in table_text(found)) < 140
    assert sum(1 for _ in table_text(found, rows=0)) > 1200
