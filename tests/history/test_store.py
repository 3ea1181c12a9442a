"""The history keeps reports whole and finds them again, the same in SQLite and in a real PostgreSQL server."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_tpf.codec import as_dict
from pytest_tpf.history.errors import HistoryError
from pytest_tpf.history.identity import key_of
from pytest_tpf.history.runs import RunFilter
from pytest_tpf.history.storage import open_store
from pytest_tpf.history.store import Store
from pytest_tpf.records import Round
from tests.history.saved import HARDWARE, MAIN, OTHER_HARDWARE, a_test, nights, run
from tests.report import factory

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=300)
"""NUL and lone surrogates, too."""


@pytest.fixture
def store(storage):
    with open_store(storage) as opened:
        yield opened


def earlier_days(store: Store, ref: str, key: str, fingerprint: str | None = HARDWARE, **options) -> list[str]:
    found = store.find(ref, fingerprint)
    assert found is not None
    return [row.run.created_at[:10] for row in store.earlier(found, [key], fingerprint, **options).get(key, [])]


# --- lossless ---------------------------------------------------------------------------------------------------------


def test_a_report_comes_back_as_it_was(store):
    report = run()
    saved = store.save(report)
    (info,) = store.runs()
    assert (saved.run_id, saved.is_new, saved.tests) == (info.id, True, 3)
    assert as_dict(store.load(info)) == as_dict(report)
    assert (info.report_id, info.branch, info.commit, info.dirty, info.ci_run_id) == (report.report_id, "main", MAIN, False, "123456")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.tuples(ANY_TEXT.filter(bool), ANY_TEXT, ANY_TEXT, ANY_TEXT),
    figures=st.lists(st.floats(0, allow_nan=False, allow_infinity=False), min_size=1, max_size=3),
    extra=st.dictionaries(ANY_TEXT, st.integers(-(2**63), 2**63 - 1) | ANY_TEXT | st.none() | st.booleans()),
)
def test_any_text_and_any_number_come_back(store, texts, figures, extra):
    nodeid, label, branch, name = texts
    rounds = tuple(Round(duration_s=1.0, output_tokens=90, prompt_tokens=None, requests=2, it_j=value) for value in figures)
    report = run(a_test(nodeid, labels={label: name, "id": name}, rounds=rounds, extra=extra), branch=branch)
    store.save(report, name)
    (info,) = store.runs(RunFilter(report_id=report.report_id))
    assert as_dict(store.load(info)) == as_dict(report)
    found = store.find(report.report_id[:7], HARDWARE) or store.find(branch, HARDWARE) if branch else None
    if found and found.kind == "branch":  # the text of a branch may be that of another example's name
        key = key_of(nodeid, {"id": name})
        newest = store.earlier(found, [key], HARDWARE)[key]
        assert report.report_id in [row.run.report_id for row in newest] or len(newest) == 20


def test_long_texts_that_differ_only_in_the_middle_stay_apart(store):
    one, two = ("tests/" + "a" * 4000 + middle + "b" * 4000 for middle in "12")
    store.save(run(a_test(one), branch=one[:1024]), name=one)
    assert store.find(two, HARDWARE) is None
    found = store.find(one, HARDWARE)
    assert found is not None
    assert list(store.earlier(found, [one, two], HARDWARE)) == [one]


def test_a_report_of_many_tests_keeps_their_order(store):
    report = run(*(a_test(f"tests/test_a.py::test[{number % 7}-{number}]") for number in range(1203)))
    store.save(report)
    (info,) = store.runs()
    assert [row.test.nodeid for row in store.tests_of(info)] == [test.nodeid for test in report.tests]
    found = store.find("latest", HARDWARE)
    keys = [test.nodeid for test in report.tests]
    assert found is not None
    assert sorted(store.earlier(found, keys, HARDWARE)) == sorted(keys)


# --- saving -----------------------------------------------------------------------------------------------------------


def test_the_same_report_again_changes_nothing_but_its_name(store):
    report = run()
    first = store.save(report)
    again = store.save(as_dict(report), name="release")
    assert (again.is_new, again.run_id) == (False, first.run_id)
    (info,) = store.runs()
    assert info.name == "release"
    store.save(report)
    assert [info.name for info in store.runs()] == ["release"]


def test_an_invalid_report_is_refused_and_leaves_nothing(store):
    report = as_dict(run())
    report["tests"][1]["energy"]["it_j"] = -1.0
    with pytest.raises(HistoryError, match=r"not saved, the report is invalid: \$\.tests\[1\]\.energy\.it_j: -1\.0 is less than 0"):
        store.save(report)
    assert store.runs() == []


def test_a_day_that_no_calendar_has_is_refused(store):
    with pytest.raises(HistoryError, match="created_at is no time"):
        store.save(run(at="2026-02-31T00:00:00Z"))


# --- what a reference means -------------------------------------------------------------------------------------------


def test_a_reference_is_latest_or_a_name_or_a_commit_or_a_branch(store):
    feature = "f" * 40
    store.save(run(at="2026-01-01T00:00:00Z"))
    store.save(run(at="2026-01-02T00:00:00Z", branch="feature", commit=feature), name="fast")
    store.save(run(at="2026-01-03T00:00:00Z", branch="feature", commit=feature))
    meanings = {
        ref: store.find(ref, HARDWARE) for ref in ("latest", "fast", "fffffff", feature, "feature", "main", "nothing", "ffffff", "")
    }
    assert {ref: found and (found.kind, len(found.runs), found.runs[0].created_at[:10]) for ref, found in meanings.items()} == {
        "latest": ("latest", 1, "2026-01-03"),
        "fast": ("name", 1, "2026-01-02"),
        "fffffff": ("commit", 2, "2026-01-03"),
        feature: ("commit", 2, "2026-01-03"),
        "feature": ("branch", 2, "2026-01-03"),
        "main": ("branch", 1, "2026-01-01"),
        "nothing": None,
        "ffffff": None,
        "": None,
    }


def test_a_name_wins_over_a_branch_and_latest_is_no_name_while_there_are_runs(store):
    store.save(run(at="2026-01-01T00:00:00Z"), name="main")
    store.save(run(at="2026-01-02T00:00:00Z"))
    store.save(run(at="2026-01-03T00:00:00Z", branch="other"))
    assert earlier_days(store, "main", factory.measured_test().nodeid) == ["2026-01-01"]
    assert earlier_days(store, "latest", factory.measured_test().nodeid) == ["2026-01-03"]


def test_a_beginning_that_fits_two_commits_is_refused(store):
    store.save(run(commit="abcdef01" + "1" * 32))
    store.save(run(commit="abcdef01" + "2" * 32))
    with pytest.raises(HistoryError, match=r"commit abcdef01 is the beginning of 2 commits, abcdef0111.* give more digits"):
        store.find("abcdef01", HARDWARE)
    assert store.find("abcdef012", HARDWARE) is not None


def test_runs_of_changed_code_count_for_their_branch_but_not_for_the_commit(store):
    store.save(run(at="2026-01-01T00:00:00Z", dirty=None))
    store.save(run(at="2026-01-02T00:00:00Z", dirty=True))
    key = factory.measured_test().nodeid
    assert earlier_days(store, "main", key) == ["2026-01-02", "2026-01-01"]
    assert earlier_days(store, MAIN, key) == ["2026-01-01"]


def test_other_hardware_is_found_only_where_asked_for(store):
    store.save(run(at="2026-01-01T00:00:00Z"))
    store.save(run(at="2026-01-02T00:00:00Z", fingerprint=OTHER_HARDWARE))
    key = factory.measured_test().nodeid
    for ref in ("main", MAIN):
        assert earlier_days(store, ref, key) == ["2026-01-01"]
        assert earlier_days(store, ref, key, OTHER_HARDWARE) == ["2026-01-02"]
        assert earlier_days(store, ref, key, None) == ["2026-01-02", "2026-01-01"]
        assert earlier_days(store, ref, key, None, most_runs=1) == ["2026-01-02"]
    assert store.find("main", "0" * 16) is None


def test_the_newest_are_those_of_the_time_of_the_report_whenever_it_was_saved(store):
    report, *others = nights(30, ["tests/test_a.py::test"])
    for other in reversed(others):
        store.save(other)
    store.save(dataclasses.replace(report, created_at="2026-03-01T02:00:00.5Z"))
    assert earlier_days(store, "main", "tests/test_a.py::test", most_runs=3) == ["2026-03-01", "2026-02-02", "2026-02-01"]
    assert len(earlier_days(store, "main", "tests/test_a.py::test")) == 20


def test_a_run_of_one_test_does_not_hide_the_others_of_its_branch(store):
    for report in nights(3, ["tests/test_a.py::test", "tests/test_b.py::test"]):
        store.save(report)
    for day in range(10, 15):
        store.save(run(a_test("tests/test_a.py::test"), at=f"2026-01-{day}T00:00:00Z"))
    assert earlier_days(store, "main", "tests/test_b.py::test", most_runs=2) == ["2026-01-03", "2026-01-02"]
    assert earlier_days(store, "main", "tests/test_a.py::test", most_runs=2) == ["2026-01-14", "2026-01-13"]


def test_only_first_attempts_that_passed_are_compared_with(store):
    nodeid = "tests/test_a.py::test"
    outcomes = ["passed", "failed", "xfailed", "xpassed", "error", "skipped", "interrupted"]
    for day, outcome in enumerate(outcomes, 1):
        store.save(run(a_test(nodeid, outcome=outcome), at=f"2026-01-0{day}T00:00:00Z"))
    store.save(run(a_test(nodeid, outcome="rerun"), a_test(nodeid, attempt=2), at="2026-01-09T00:00:00Z"))
    assert earlier_days(store, "main", nodeid) == ["2026-01-04", "2026-01-03", "2026-01-01"]
    assert earlier_days(store, MAIN, nodeid) == ["2026-01-04", "2026-01-03", "2026-01-01"]


def test_a_renamed_test_keeps_its_history_by_its_label(store):
    old, new = "tests/test_old.py::test[4]", "tests/test_new.py::renamed[4]"
    store.save(run(a_test(old)))
    key = key_of(new, {"id": "tests/test_old.py::test[4]"})
    assert earlier_days(store, "main", key) == ["2026-01-01"]


def test_runs_without_branch_and_commit_are_found_by_name_and_as_latest(store):
    store.save(run(branch=None, commit=None, dirty=None), name="here")
    assert earlier_days(store, "here", factory.measured_test().nodeid) == ["2026-01-01"]
    assert earlier_days(store, "latest", factory.measured_test().nodeid) == ["2026-01-01"]


# --- listing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "days"),
    [
        (RunFilter(), "54321"),
        (RunFilter(branch="main"), "31"),
        (RunFilter(commit="fffffff"), "5"),
        (RunFilter(fingerprint=OTHER_HARDWARE), "4"),
        (RunFilter(name="named"), "2"),
        (RunFilter(since="2026-01-02T00:00:00Z", until="2026-01-04T00:00:00Z"), "32"),
        (RunFilter(label=("precision", "bf16")), "531"),
        (RunFilter(label=("precision", "bf1")), ""),
        (RunFilter(test="*CHAT*"), "4"),
        (RunFilter(test="tests/test_adder.py::test_adder[batch-3?]"), "531"),
        (RunFilter(test="tests/test%"), ""),
        (RunFilter(branch="main", label=("precision", "bf16"), until="2026-01-02T00:00:00Z"), "1"),
        (RunFilter(is_clean=True), "5432"),
    ],
    ids=range(13),
)
def test_runs_are_filtered(store, wanted, days):
    store.save(run(factory.measured_test(), at="2026-01-01T00:00:00Z", dirty=True))
    store.save(run(factory.estimated_test(), at="2026-01-02T00:00:00Z", branch=None), name="named")
    store.save(run(factory.measured_test(), at="2026-01-03T00:00:00Z"))
    store.save(run(factory.invalid_test(), at="2026-01-04T00:00:00Z", branch="x", fingerprint=OTHER_HARDWARE))
    store.save(run(factory.measured_test(), at="2026-01-05T00:00:00Z", branch="y", commit="f" * 40))
    assert "".join(info.created_at[9] for info in store.runs(wanted)) == days
    assert "".join(info.created_at[9] for info in store.runs(wanted, most=1)) == days[:1]


# --- pruning ----------------------------------------------------------------------------------------------------------


def days_left(store: Store) -> list[int]:
    return sorted(int(info.created_at[8:10]) for info in store.runs())


def test_prune_keeps_the_newest_of_each_test_hardware_and_branch(store):
    for report in nights(6, ["tests/test_a.py::test"]):
        store.save(report)
    store.save(run(a_test("tests/test_b.py::test"), at="2026-01-10T00:00:00Z"))
    store.save(run(a_test("tests/test_a.py::test"), at="2026-01-11T00:00:00Z", branch="other"))
    store.save(run(a_test("tests/test_a.py::test"), at="2026-01-12T00:00:00Z", fingerprint=OTHER_HARDWARE))
    would = store.prune(keep=2, dry_run=True)
    assert [info.created_at[8:10] for info in would] == ["04", "03", "02", "01"]
    assert len(store.runs()) == 9
    assert store.prune(keep=2) == would
    assert days_left(store) == [5, 6, 10, 11, 12]
    assert store.prune(keep=2) == []
    assert earlier_days(store, "main", "tests/test_a.py::test") == ["2026-01-06", "2026-01-05"]


def test_prune_lets_no_failures_push_the_last_good_run_out(store):
    nodeid = "tests/test_a.py::test"
    store.save(run(a_test(nodeid), at="2026-01-01T00:00:00Z"))
    for day in range(2, 7):
        store.save(run(a_test(nodeid, outcome="failed"), at=f"2026-01-0{day}T00:00:00Z"))
    store.prune(keep=2)
    assert days_left(store) == [1, 5, 6]


def test_prune_by_age_and_both(store):
    for report in nights(6, ["tests/test_a.py::test"]):
        store.save(report)
    store.prune(keep=1, before="2026-01-03T00:00:00Z")
    assert days_left(store) == [3, 4, 5, 6]
    store.prune(keep=3, before="2026-02-01T00:00:00Z")
    assert days_left(store) == [4, 5, 6]
    store.prune(before="2026-01-05T00:00:00Z")
    assert days_left(store) == [5, 6]


def test_prune_leaves_named_runs_unless_asked_for(store):
    first, *others = nights(3, ["tests/test_a.py::test"])
    store.save(first, name="v1")
    for report in others:
        store.save(report)
    store.prune(before="2027-01-01T00:00:00Z")
    assert days_left(store) == [1]
    store.prune(before="2027-01-01T00:00:00Z", named=True)
    assert days_left(store) == []
    with pytest.raises(ValueError, match="keep or before"):
        store.prune()


def test_prune_gives_room_back(tmp_path):
    url = f"sqlite:///{tmp_path}/history.db"
    with open_store(url) as store:
        for report in nights(20, [f"tests/test_a.py::test[{number}]" for number in range(40)]):
            store.save(report)
    full = (tmp_path / "history.db").stat().st_size
    with open_store(url) as store:
        store.prune(keep=1)
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) < full / 4
