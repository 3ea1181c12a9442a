"""Merging keeps every test, counts none twice, and refuses what contradicts."""

from __future__ import annotations

import copy
import functools
import itertools
import json
import math
import resource
import signal
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_tpf.report.errors import ReportError
from pytest_tpf.report.merge import merge_reports
from pytest_tpf.report.read import read_report
from pytest_tpf.report.tally import Tally
from pytest_tpf.report.united import SEVERAL, joined
from pytest_tpf.report.validate import validate
from pytest_tpf.report.write import write_report
from tests.report.factory import estimated_test, invalid_test, measured_test, report_dict

MAKERS = (measured_test, estimated_test, invalid_test)


def row(number: int, value: int = 0, attempt: int = 0) -> dict[str, Any]:
    """A test as builtins; ``value`` and ``attempt`` make it another one of the same id."""
    test = report_dict(MAKERS[number % 3](nodeid=f"t.py::test[{number}]", extra={"attempt": attempt}))["tests"][0]
    if test["energy"]["it_j"] is not None:
        test["energy"]["it_j"] += value + number / 7
    return test


def report_of(rows: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    tally = Tally()
    for test in rows:
        tally.add(test)
    whole = copy.deepcopy(report_dict()) | {"tests": rows, "summary": tally.summary()}
    for path, value in changes.items():
        *parents, last = path.split("__")
        functools.reduce(lambda holder, key: holder[key], parents, whole)[last] = value
    return whole


def merged(folder: Path, *reports: dict[str, Any]) -> dict[str, Any]:
    paths = [folder / f"{number}.json" for number in range(len(reports))]
    for path, report in zip(paths, reports, strict=True):
        path.write_text(json.dumps(report))
    merge_reports([str(path) for path in paths], str(folder / "merged.json"))
    return read_report(folder / "merged.json")


def refusal(folder: Path, *reports: dict[str, Any]) -> str:
    with pytest.raises(ReportError) as caught:
        merged(folder, *reports)
    text = str(caught.value)
    assert text.isprintable()
    assert text.isascii()
    assert not (folder / "merged.json").exists()
    return text.replace(f"{folder}/", "")


def test_every_test_is_kept_and_the_summary_is_counted_anew(tmp_path):
    whole = merged(tmp_path, report_of([row(0), row(1)]), report_of([row(2)]), report_of([]))
    assert whole["tests"] == [row(0), row(1), row(2)]
    assert whole["summary"] == report_of([row(0), row(1), row(2)])["summary"]
    assert validate(whole) == []
    assert whole["report_id"] != report_of([])["report_id"]
    assert list(whole) == list(report_of([]))
    assert [path.name for path in tmp_path.iterdir() if not path.name[0].isdigit()] == ["merged.json"]


def test_the_same_test_is_counted_once_and_its_attempts_stay_together(tmp_path):
    attempts = [row(0, attempt=1), row(0, attempt=2)]
    assert merged(tmp_path, report_of(attempts), report_of([row(1), *attempts]))["tests"] == [*attempts, row(1)]


def test_one_number_written_in_two_ways_is_the_same(tmp_path):
    one, other = row(0), row(0)
    one["production"]["theta"], other["production"]["theta"] = 1, 1.0
    assert len(merged(tmp_path, report_of([one]), report_of([other]))["tests"]) == 1


@pytest.mark.parametrize(
    "other",
    [
        [row(0, value=1)],
        [row(0), row(0)],
        [row(0, attempt=1)],
    ],
    ids=["another result", "one attempt more", "another input"],
)
def test_other_results_of_the_same_test_contradict(tmp_path, other):
    text = refusal(tmp_path, report_of([row(1)]), report_of([row(0)]), report_of(other))
    assert text.startswith("2.json: not merged: 't.py::test[0]' has other results or inputs than in 1.json")


def test_an_attempt_that_one_report_lacks_contradicts(tmp_path):
    both = [row(0, attempt=1), row(0, attempt=2)]
    assert "'t.py::test[0]' has other results" in refusal(tmp_path, report_of(both), report_of(both[:1]))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"environment__hardware_fingerprint": "f" * 16},
            "environment.hardware_fingerprint is 'ffffffffffffffff', but '0011223344556677' in",
        ),
        ({"environment__source__commit": "a" * 40}, "environment.source.commit is 'aaaa"),
        ({"environment__source__commit": None}, "environment.source.commit is null, but '0123"),
        ({"facility__pue__value": 1.5}, "facility.pue.value is 1.5, but 1.25 in 0.json"),
        ({"facility__currency": None}, "facility.currency is null, but 'EUR' in 0.json"),
    ],
)
def test_what_is_compared_rather_than_merged(tmp_path, changes, reason):
    text = refusal(tmp_path, report_of([row(0)]), report_of([row(1)], **changes))
    assert text.startswith("1.json: not merged: ")
    assert reason in text


def test_invalid_and_unknown_reports_are_refused(tmp_path):
    broken = report_of([row(0)])
    broken["tests"][0]["energy"]["method"] = None
    assert refusal(tmp_path, report_of([]), broken).startswith("1.json: not merged: the report is invalid: $.tests[0].energy: an energy")
    newer = report_of([row(0)], schema_version="1.7.0")
    assert "schema_version 1.7.0 is newer than 1.0.0" in refusal(tmp_path, report_of([]), newer)
    older = report_of([row(0)], schema_version="2.0.0")
    assert "schema_version 2.0.0 is not supported" in refusal(tmp_path, older)
    with pytest.raises(ReportError, match=r"missing\.json: can't be read: No such file or directory"):
        merge_reports([str(tmp_path / "missing.json")], str(tmp_path / "merged.json"))


def test_sums_that_no_report_can_hold_are_refused(tmp_path):
    huge = row(0)
    huge["energy"]["it_j"] = 1.7e308
    again = copy.deepcopy(huge) | {"nodeid": "t.py::other"}
    assert "add up to more than a number can hold" in refusal(tmp_path, report_of([huge]), report_of([again], summary__total_it_j=1.7e308))
    for number, test in enumerate((huge, again)):
        test["energy"]["it_j"] = float(number)
        test["workload"]["output_tokens"] = 2**63 - 1
    assert "add up to more than 64 bits" in refusal(tmp_path, report_of([huge]), report_of([again]))


def test_environments_unite(tmp_path):
    board = report_of([])["environment"]["accelerators"][0]
    second = board | {"uuid": "GPU-2"}
    meter = report_of([])["meters"][0]
    whole = merged(
        tmp_path,
        report_of([row(0)]),
        report_of(
            [row(1)],
            environment__accelerators=[second],
            environment__host__python="CPython 3.12.1",
            environment__host__memory_bytes=1,
            environment__software={"torch": "2.14.0", "vllm": "1.0"},
            environment__source__branch=None,
            environment__source__dirty=True,
            meters=[meter | {"device": "GPU-2", "update_period_s": 0.2}],
        ),
    )
    environment = whole["environment"]
    assert environment["accelerators"] == [board, second]
    assert environment["host"]["python"] == "CPython 3.11.9 | CPython 3.12.1"
    assert environment["host"]["memory_bytes"] is None
    assert environment["software"] == report_of([])["environment"]["software"] | {"torch": "2.13.0 | 2.14.0", "vllm": "1.0"}
    assert (environment["source"]["branch"], environment["source"]["dirty"]) == (None, True)
    assert [(m["id"], m["device"], m["update_period_s"]) for m in whole["meters"]] == [
        ("nvml:gpu:0", None, 0.2),
        ("estimate:cpu:0", None, None),
    ]


def test_the_ci_service_is_the_one_that_merges(tmp_path, monkeypatch):
    for name in ("GITHUB_ACTIONS", "GITLAB_CI", "CI"):
        monkeypatch.delenv(name, raising=False)
    assert merged(tmp_path, report_of([]))["environment"]["ci"] is None
    monkeypatch.setenv("GITLAB_CI", "true")
    assert merged(tmp_path, report_of([]))["environment"]["ci"]["provider"] == "GitLab CI"


# --- laws -------------------------------------------------------------------------------------------------------------

SHARD = st.lists(st.integers(0, 8), max_size=4, unique=True).map(lambda numbers: report_of([row(number) for number in numbers]))
PYTHONS = st.sampled_from(["CPython 3.11.9", "CPython 3.12.1", "PyPy 3.11", "x" * 250])


@st.composite
def shards(draw: st.DrawFn) -> list[dict[str, Any]]:
    found = draw(st.lists(SHARD, min_size=3, max_size=3))
    for shard in found:
        shard["environment"]["host"]["python"] = draw(PYTHONS)
        shard["environment"]["source"]["dirty"] = draw(st.sampled_from([True, False, None]))
        shard["environment"]["source"]["branch"] = draw(st.sampled_from(["main", "other", None]))
        shard["meters"] = [
            meter | {"update_period_s": draw(st.sampled_from([None, 0.1, 1.0])), "device": draw(st.sampled_from([None, "a", "b"]))}
            for meter in shard["meters"]
        ]
    return found


def essence(report: dict[str, Any]) -> Any:
    """The report but for its id, its time and the order of its lists."""
    tests = sorted(json.dumps(test, sort_keys=True) for test in report["tests"])
    meters = sorted(json.dumps(meter, sort_keys=True) for meter in report["meters"])
    return tests, meters, report["environment"], report["facility"], report["summary"]


@settings(max_examples=30, deadline=None)
@given(shards())
def test_order_and_grouping_make_no_difference(three):
    with tempfile.TemporaryDirectory() as folder:
        wanted = essence(merged(Path(folder), *three))
        for order in itertools.permutations(three):
            assert essence(merged(Path(folder), *order)) == wanted
        one, two, last = three
        assert essence(merged(Path(folder), merged(Path(folder), one, two), last)) == wanted
        assert essence(merged(Path(folder), one, merged(Path(folder), two, last))) == wanted
        assert essence(merged(Path(folder), *three, *three)) == wanted


@settings(max_examples=30, deadline=None)
@given(st.lists(SHARD, min_size=1, max_size=4))
def test_tokens_and_joules_are_conserved(reports):
    with tempfile.TemporaryDirectory() as folder:
        whole = merged(Path(folder), *reports)
    tests = {test["nodeid"]: test for report in reports for test in report["tests"]}
    known = [test["energy"]["it_j"] for test in tests.values() if test["energy"]["it_j"] is not None]
    assert {test["nodeid"]: test for test in whole["tests"]} == tests
    assert whole["summary"]["tests"] == len(whole["tests"]) == len(tests)
    assert whole["summary"]["total_output_tokens"] == sum(test["workload"]["output_tokens"] for test in tests.values())
    assert whole["summary"]["total_it_j"] == (math.fsum(known) if known else None)
    assert validate(whole) == []


@given(st.lists(st.sampled_from(["", "a", "b", "b | a", SEVERAL, "x" * 200, "y" * 100]), min_size=1, max_size=5), st.randoms())
def test_joining_is_bounded_and_forgets_order(texts, random):
    whole = functools.reduce(joined, texts)
    shuffled = list(texts)
    random.shuffle(shuffled)
    assert len(whole) <= 256
    if len(set(texts)) > 1:
        assert functools.reduce(joined, shuffled) == whole
    assert joined(whole, whole) == whole


FILL = """
    import resource, signal, sys
    from pytest_tpf.report.errors import ReportError
    from pytest_tpf.report.merge import merge_reports
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    try:
        merge_reports([sys.argv[1]], sys.argv[1])
    except ReportError as error:
        print(error)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGXFSZ") or not hasattr(resource, "RLIMIT_FSIZE"), reason="no file size limit here")
def test_a_full_disk_leaves_the_older_report_and_no_rubbish(tmp_path):
    target = tmp_path / "report.json"
    write_report(target, report_dict())
    older = target.read_bytes()
    assert len(older) > 8192
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(FILL), target], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == (f"{target}: can't be written: File too large\n", "")
    assert target.read_bytes() == older
    assert list(tmp_path.iterdir()) == [target]
