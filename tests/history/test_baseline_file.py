"""The baseline file: whatever it holds comes back, a reviewer can read it, and whatever else stands there is one line."""

from __future__ import annotations

import copy
import dataclasses
import json
import typing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_tpf.codec import as_dict
from pytest_tpf.history import baseline as baseline_module
from pytest_tpf.history.baseline import baseline_text, read_baseline, write_baseline
from pytest_tpf.history.entries import Accepted, BaselineFile, Entry, Hardware, Run
from pytest_tpf.records import Accuracy, Model, Round, Workload
from pytest_tpf.report.errors import ReportError

TEXTS = st.text(max_size=30) | st.sampled_from(['{\n "device_j": 1\n}', "undecodable \udc80", "\x00", "}, {", "\\", '"'])
NAMES = TEXTS.filter(bool)
AMOUNTS = st.floats(0, allow_nan=False, allow_infinity=False)
COUNTS = st.integers(0, 2**63 - 1)


def maybe(strategy):
    return st.none() | strategy


ROUNDS = st.builds(
    Round,
    duration_s=AMOUNTS,
    output_tokens=COUNTS,
    prompt_tokens=maybe(COUNTS),
    requests=COUNTS,
    it_j=maybe(AMOUNTS),
    device_j=maybe(AMOUNTS),
    ttft_s=maybe(AMOUNTS),
    tpot_s=maybe(AMOUNTS),
    e2e_s=maybe(AMOUNTS),
)
MODELS = st.builds(Model, name=maybe(TEXTS), parameters=maybe(COUNTS), dtype=maybe(TEXTS), digest=maybe(TEXTS))
WORKLOADS = st.builds(
    Workload,
    engine=maybe(TEXTS),
    model=MODELS,
    requests=COUNTS,
    rounds=COUNTS,
    calls_per_round=st.integers(1, 100),
    warmup_rounds=COUNTS,
    prompt_tokens=maybe(COUNTS),
    output_tokens=COUNTS,
    accepted_tokens=maybe(COUNTS),
    token_source=st.sampled_from(["engine", "declared"]),
)
ENTRIES = st.builds(
    Entry,
    nodeid=NAMES,
    accepted=st.builds(Accepted, at=st.just("2026-01-01T00:00:00Z"), commit=st.none() | st.just("0123456"), reason=NAMES),
    boundary=st.sampled_from(["device", "it", "facility"]),
    trust=st.sampled_from([None, "measured", "estimated"]),
    domains=st.lists(TEXTS, max_size=2).map(tuple),
    workload=WORKLOADS,
    accuracy=st.builds(Accuracy, value=maybe(AMOUNTS), metric=maybe(TEXTS), samples=COUNTS),
    runs=st.lists(
        st.builds(Run, uncertainty=maybe(AMOUNTS), rounds=st.lists(ROUNDS, min_size=1, max_size=2).map(tuple)), min_size=1, max_size=2
    ).map(tuple),
)
HARDWARE = st.builds(Hardware, description=TEXTS, tests=st.dictionaries(TEXTS, ENTRIES, max_size=3))
BASELINES = st.builds(BaselineFile, hardware=st.dictionaries(TEXTS, HARDWARE, max_size=2))

A_ROUND = Round(duration_s=0.5, output_tokens=10, prompt_tokens=3, requests=1, it_j=20.0)
WORK = Workload(
    engine=None,
    model=Model(),
    requests=5,
    rounds=5,
    calls_per_round=1,
    warmup_rounds=0,
    prompt_tokens=None,
    output_tokens=50,
    accepted_tokens=None,
    token_source="declared",
)
ENTRY = Entry(
    nodeid="test_a.py::test_a",
    accepted=Accepted(at="2026-01-01T00:00:00Z", commit=None, reason="first baseline"),
    boundary="it",
    trust="measured",
    domains=("gpu:0",),
    workload=WORK,
    accuracy=Accuracy(),
    runs=(Run(uncertainty=0.01, rounds=(A_ROUND,) * 5),) * 2,
)
SMALL = BaselineFile(hardware={"00": Hardware(description="a machine", tests={"test_a.py::test_a": ENTRY})})


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("baseline") / "tpf-baseline.json"


def rounds_of(baseline: BaselineFile) -> int:
    entries = [entry for hardware in baseline.hardware.values() for entry in hardware.tests.values()]
    return sum(len(run.rounds) for entry in entries for run in entry.runs)


@given(baseline=BASELINES)
def test_any_baseline_comes_back(path, baseline):
    write_baseline(path, baseline)
    assert read_baseline(path) == baseline


@given(baseline=BASELINES)
def test_equal_baselines_are_equal_texts_sorted_and_a_round_a_line(baseline):
    text = baseline_text(baseline)
    backwards = {key: dataclasses.replace(each, tests=dict(reversed(each.tests.items()))) for key, each in baseline.hardware.items()}
    assert baseline_text(BaselineFile(hardware=dict(reversed(backwards.items())))) == text
    read = json.loads(text.encode("utf-8", "backslashreplace"), object_pairs_hook=_sorted_keys)
    assert read["baseline_version"] == baseline.baseline_version
    lines = text.splitlines() if text.isprintable() else text.split("\n")
    assert sum(line.strip().startswith('{"device_j": ') for line in lines) == rounds_of(baseline)
    assert text.endswith("}\n")


def _sorted_keys(pairs: list[tuple[str, typing.Any]]) -> dict[str, typing.Any]:
    assert pairs == sorted(pairs, key=lambda pair: pair[0])
    return dict(pairs)


def test_a_change_of_one_test_changes_its_lines_only(tmp_path):
    two = Hardware(description="a machine", tests={f"test_a.py::test_{name}": ENTRY for name in "abc"})
    changed = {**two.tests, "test_a.py::test_b": dataclasses.replace(ENTRY, trust="estimated")}
    before, after = (
        baseline_text(BaselineFile(hardware={"00": dataclasses.replace(two, tests=tests)})).splitlines() for tests in (two.tests, changed)
    )
    assert [(old.strip(), new.strip()) for old, new in zip(before, after, strict=True) if old != new] == [
        ('"trust": "measured",', '"trust": "estimated",')
    ]


# --- what else may stand there ----------------------------------------------------------------------------------------


def broken(change) -> str:
    data = copy.deepcopy(as_dict(SMALL))
    change(data)
    return json.dumps(data)


def entry_in(data):
    return data["hardware"]["00"]["tests"]["test_a.py::test_a"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "not JSON (line 1, "),
        ("{", "not JSON (line 1, "),
        ("null", "has no baseline_version"),
        ("[]", "has no baseline_version"),
        ("{}", "has no baseline_version"),
        ('{"baseline_version": {}}', "has no baseline_version"),
        ('{"baseline_version": "1.1.0", "hardware": {}}', "baseline_version is '1.1.0', expected '1.0.0'"),
        ('{"baseline_version": "1.0.0"}', "$: missing key 'hardware'"),
        ('{"baseline_version": "1.0.0", "hardware": {}, "hardware": {}}', "hardware"),
        ("[" * 50_000, "nested too deeply"),
        ('{"a":' * 100 + "1" + "}" * 100, "nested deeper than 64 levels"),
        ('{"schema_version": "1.0.0", "tests": []}', "is a report, not a baseline; compare with a report by --tpf-compare"),
        ('{\n<<<<<<< HEAD\n"a": 1\n=======\n"a": 2\n>>>>>>> other\n}', "has merge markers in it"),
        (broken(lambda data: entry_in(data)["runs"].clear()), "runs"),
        (broken(lambda data: entry_in(data)["runs"][0]["rounds"][0].update(it_j="much")), "it_j"),
        (broken(lambda data: entry_in(data)["runs"][0]["rounds"][0].update(it_j=-1)), "it_j"),
        (broken(lambda data: entry_in(data)["runs"][0]["rounds"][0].update(duration_s=None)), "duration_s"),
        (broken(lambda data: entry_in(data).update(note="mine")), "note"),
        (broken(lambda data: entry_in(data).pop("workload")), "workload"),
        (broken(lambda data: data["hardware"].update({"00": []})), "hardware"),
        ('{"baseline_version": "1.0.0", "hardware": NaN}', "NaN"),
    ],
)
def test_what_is_no_baseline_is_one_line(tmp_path, content, said):
    path = tmp_path / "base.json"
    path.write_text(content)
    with pytest.raises(ReportError) as found:
        read_baseline(path)
    assert said in str(found.value)
    assert str(found.value).startswith(f"{path}: ")
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    "content", [b"\x1f\x8b\x08", b"\xef\xbb\xbf{}", b"\xff\xfe{\x00", b"\x00" * 100], ids=["gzip", "mark", "utf-16", "nul"]
)
def test_other_formats_are_one_line(tmp_path, content):
    path = tmp_path / "base.json"
    path.write_bytes(content)
    with pytest.raises(ReportError, match=r"base\.json: [^\n]*\Z"):
        read_baseline(path)


def test_a_huge_file_is_not_read_to_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(baseline_module, "MAX_BYTES", 1000)
    path = tmp_path / "base.json"
    with path.open("wb") as file:
        file.truncate(10**12)  # a hole: it takes no room
    with pytest.raises(ReportError, match="larger than 1000 bytes"):
        read_baseline(path)


def test_a_folder_is_one_line_and_nothing_is_none(tmp_path):
    with pytest.raises(ReportError, match="can't be read: Is a directory"):
        read_baseline(tmp_path)
    with pytest.raises(ReportError, match="can't be read: "):
        read_baseline(f"{tmp_path}/a\x00b")
    assert read_baseline(tmp_path / "none.json") is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)


@given(data=st.data(), replacement=JSON)
def test_whatever_is_changed_in_it_it_is_read_or_refused(path, data, replacement):
    whole = {"root": copy.deepcopy(as_dict(SMALL))}
    holder, key = whole, "root"
    while isinstance(holder[key], (dict, list)) and holder[key] and data.draw(st.integers(0, 4)):
        holder = holder[key]
        key = data.draw(st.sampled_from(sorted(holder) if isinstance(holder, dict) else range(len(holder))))
    holder[key] = replacement
    path.write_text(json.dumps(whole["root"]))
    found, refused = read_or_refused(path)
    if refused is not None:
        assert "\n" not in refused
    else:
        write_baseline(path, found)
        assert read_baseline(path) == found


def read_or_refused(path) -> tuple[BaselineFile | None, str | None]:
    try:
        return read_baseline(path), None
    except ReportError as error:
        return None, str(error)


def test_nothing_is_written_that_could_not_be_read_again(tmp_path):
    path = tmp_path / "base.json"
    write_baseline(path, SMALL)
    wordy = dataclasses.replace(ENTRY, accepted=dataclasses.replace(ENTRY.accepted, reason="because " * 2000))
    with pytest.raises(ReportError, match=r"base\.json: not written, the baseline is invalid: .*reason"):
        write_baseline(path, BaselineFile(hardware={"00": Hardware(description="", tests={"a": wordy})}))
    assert read_baseline(path) == SMALL
