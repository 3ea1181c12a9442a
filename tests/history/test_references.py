"""What ``--tpf-baseline`` and ``--tpf-compare`` mean, and what each kind of reference gives."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_tpf.comparing import ComparingError, Places, open_earlier
from pytest_tpf.history.baseline import write_baseline
from pytest_tpf.history.entries import Accepted, BaselineFile, Hardware, entry_of
from pytest_tpf.history.identity import key_of
from pytest_tpf.history.references import FromBaseline, FromHistory, FromReport
from pytest_tpf.history.storage import DEFAULT_URL, open_store
from pytest_tpf.judge.sample import sample_of
from pytest_tpf.report.write import write_report
from pytest_tpf.settings import Settings
from tests.history.saved import HARDWARE, MAIN, OTHER_HARDWARE, a_test, run

A = "tests/test_a.py::test_a"
B = "tests/test_a.py::test_b"
FEATURE = "f" * 40


@pytest.fixture
def places(tmp_path):
    called = tmp_path / "below"
    called.mkdir()
    return Places(called=called, root=tmp_path)


@pytest.fixture
def history(places):
    """main twice, once by name, then a feature: each run's J/token tells it."""
    with open_store(DEFAULT_URL, places.root) as store:
        for day, (joules, branch, commit, name) in enumerate(
            [(1.0, "main", MAIN, "release"), (2.0, "main", MAIN, None), (3.0, "feature", FEATURE, None), (4.0, "other", FEATURE, "nightly")]
        ):
            store.save(run(measured(joules), at=f"2026-01-0{day + 1}T00:00:00Z", branch=branch, commit=commit), name)
        store.save(run(measured(9.0), at="2026-02-01T00:00:00Z", branch="main", fingerprint=OTHER_HARDWARE))


def measured(joules: float, nodeid: str = A, **changes):
    test = a_test(nodeid, **changes)
    return dataclasses.replace(test, rounds=tuple(dataclasses.replace(each, it_j=joules) for each in test.rounds))


def joules_of(samples) -> list[float]:
    return [each.rounds[0].it_j for each in samples]


def opened(places, **settings):
    return open_earlier(Settings(**settings), places)


# --- the history ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ref", "joules"),
    [
        ("main", [2.0, 1.0]),
        ("release", [1.0]),
        ("latest", [4.0]),
        (MAIN[:7], [2.0, 1.0]),
        (FEATURE, [4.0, 3.0]),
        ("feature", [3.0]),
        ("nightly", [4.0]),
    ],
)
def test_a_reference_of_the_history_gives_its_runs_newest_first(places, history, ref, joules):
    earlier = opened(places, compare=ref)
    assert isinstance(earlier, FromHistory)
    samples = earlier.samples([A, "gone"], HARDWARE)
    assert list(samples) == [A]
    assert joules_of(samples[A]) == joules
    reference = earlier.reference(samples[A])
    assert (reference.source, reference.ref, reference.runs) == ("history", ref, len(joules))
    assert earlier.expected(HARDWARE) == {A: A}
    assert earlier.absent("new", HARDWARE) is None
    earlier.close()


def test_runs_of_other_hardware_count_only_where_they_are_asked_for(places, history):
    assert joules_of(opened(places, compare="main", compare_across=True).samples([A], HARDWARE)[A]) == [9.0, 2.0, 1.0]
    assert joules_of(opened(places, compare="main", compare_runs=1).samples([A], HARDWARE)[A]) == [2.0]
    only_here = opened(places, compare="release").absent(A, OTHER_HARDWARE)
    assert only_here.reason.endswith("has release on other hardware only; save runs with --tpf-save")
    assert opened(places, compare="never").absent(A, HARDWARE).reason.endswith("has no never; save runs with --tpf-save")
    assert opened(places, compare="never").expected(HARDWARE) == {}


# --- a report ---------------------------------------------------------------------------------------------------------


def test_a_report_gives_the_first_attempts_of_tests_that_passed(places):
    tests = [
        measured(1.0, outcome="rerun"),
        measured(1.0, attempt=2),
        measured(2.0, B),
        measured(3.0, "tests/test_a.py::test_f", outcome="failed"),
        measured(4.0, "tests/test_a.py::test_c", labels={"id": "old name"}),
    ]
    write_report(places.called / "old.json", run(*tests))
    earlier = opened(places, compare="old.json")
    assert isinstance(earlier, FromReport)
    samples = earlier.samples([A, B, "tests/test_a.py::test_f", "old name"], OTHER_HARDWARE)
    assert {key: joules_of(found) for key, found in samples.items()} == {B: [2.0], "old name": [4.0]}
    assert {each[0].fingerprint for each in samples.values()} == {HARDWARE}
    assert (earlier.reference(samples[B]).commit, earlier.reference(samples[B]).source) == (MAIN, "report")
    assert earlier.expected(None) == {B: B, "old name": "tests/test_a.py::test_c"}


@pytest.mark.parametrize("content", ["", "{}", "[" * 10_000, '{"baseline_version": "1.0.0", "hardware": {}}'])
def test_what_is_no_report_is_one_line(places, content):
    (places.called / "old.json").write_text(content)
    with pytest.raises(ComparingError, match=r"\A--tpf-compare: [^\n]*old\.json[^\n]*\Z"):
        opened(places, compare="old.json")


# --- the baseline -----------------------------------------------------------------------------------------------------


def baseline(*fingerprints: str) -> BaselineFile:
    accepted = Accepted(at="2026-01-01T00:00:00Z", commit=MAIN, reason="first baseline")
    hardware = {}
    for joules, fingerprint in enumerate(fingerprints, start=1):
        entry = entry_of(sample_of(measured(float(joules)), A, fingerprint), 1, accepted)
        hardware[fingerprint] = Hardware(description=f"machine {joules}", tests={A: entry})
    return BaselineFile(hardware=hardware)


def test_a_baseline_gives_what_was_accepted_on_this_hardware(places):
    write_baseline(places.called / "base.json", baseline(HARDWARE, OTHER_HARDWARE))
    earlier = opened(places, baseline="base.json")
    assert isinstance(earlier, FromBaseline)
    samples = earlier.samples([A, "new"], OTHER_HARDWARE)
    assert {key: joules_of(found) for key, found in samples.items()} == {A: [2.0, 2.0]}
    reference = earlier.reference(samples[A])
    assert (reference.source, reference.ref, reference.runs, reference.commit, reference.note) == (
        "baseline",
        "base.json",
        2,
        MAIN,
        "first baseline",
    )
    assert earlier.absent("new", HARDWARE).reason == "not in the baseline base.json yet: accept it"
    assert earlier.expected(HARDWARE) == earlier.expected(None) == {A: A}
    assert earlier.expected("ffff") == {}


def test_a_baseline_of_other_hardware_serves_only_where_it_is_asked_for(places):
    write_baseline(places.called / "base.json", baseline(OTHER_HARDWARE))
    earlier = opened(places, baseline="base.json")
    assert earlier.samples([A], HARDWARE) == {}
    assert "has it on other hardware only (machine 1): accept it on this one too" in earlier.absent(A, HARDWARE).reason
    (samples,) = opened(places, baseline="base.json", compare_across=True).samples([A], HARDWARE).values()
    assert {each.fingerprint for each in samples} == {OTHER_HARDWARE}


def test_a_baseline_is_made_only_by_who_accepts(places):
    with pytest.raises(ComparingError, match=r'there is no base\.json; make it with --tpf-accept "first baseline"'):
        opened(places, baseline="base.json")
    assert opened(places, baseline="base.json", accept="first baseline").expected(None) == {}


def test_a_file_is_found_where_pytest_was_called_and_else_at_its_root(places):
    assert places.file("base.json") == places.called / "base.json"
    write_baseline(places.root / "base.json", baseline())
    assert places.file("base.json") == places.root / "base.json"
    write_baseline(places.called / "base.json", baseline())
    assert places.file("base.json") == places.called / "base.json"


# --- identity ---------------------------------------------------------------------------------------------------------


@given(st.text(min_size=1), st.text(), st.dictionaries(st.text(), st.text()))
def test_a_renamed_test_is_found_by_its_old_id_as_label(old, new, labels):
    labels.pop("id", None)
    assert key_of(old, labels) == old
    assert key_of(f"test_a.py::{new.replace('[', '')}", {**labels, "id": old}) == old


def test_a_label_counts_for_all_parameters_and_keeps_them_apart():
    assert key_of("test_a.py::test_b[x-1]", {"id": "adder"}) == "adder[x-1]"
    assert key_of("test_a.py::test_b[x-1]", {"id": "test_a.py::test_a[x-1]"}) == "test_a.py::test_a[x-1]"
    assert key_of("a[b]/test_a.py::test_b", {"id": "adder"}) == "adder"
