"""Accepting: what ran and agreed with itself replaces its entry; how rounds are kept."""

from __future__ import annotations

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_tpf.history.accepting import Acceptance
from pytest_tpf.history.entries import MAX_ROUNDS, Accepted, BaselineFile, Hardware, bounded, entry_of, samples_of
from pytest_tpf.history.identity import key_of
from pytest_tpf.judge.sample import sample_of
from pytest_tpf.judge.thresholds import parse_thresholds
from pytest_tpf.records import Regression, Round
from pytest_tpf.scope import Scope
from tests.history.saved import HARDWARE, OTHER_HARDWARE, a_test
from tests.report import factory

WHY = Accepted(at="2026-02-01T00:00:00Z", commit=None, reason="faster kernels")
EARLIER = dataclasses.replace(WHY, at="2026-01-01T00:00:00Z", reason="first baseline")


def rounds_of(*joules: float | None, **changes) -> tuple[Round, ...]:
    plain = {"duration_s": 2.0, "output_tokens": 100, "prompt_tokens": 30, "requests": 4}
    return tuple(Round(**{**plain, **changes}, it_j=each, device_j=each) for each in joules)


def measured(name: str = "test_a.py::test_a", joules=(50.0,) * 10, remeasured: int = 5, **changes):
    regression = Regression(reference=None, changes=(), verdict="inconclusive", remeasured_rounds=remeasured, reason="new")
    return a_test(name, **{"rounds": rounds_of(*joules), "regression": regression, "outcome": "passed", **changes})


def entry(test, accepted=EARLIER):
    return entry_of(sample_of(test, key_of(test.nodeid, test.labels), HARDWARE), test.regression.remeasured_rounds, accepted)


def accept(*tests, old: BaselineFile = BaselineFile(), fail: str = "joules_per_token:5%") -> Acceptance:  # noqa: B008 (it is frozen)
    acceptance = Acceptance(old, factory.environment(), WHY, parse_thresholds(fail))
    for test in tests:
        acceptance.take(test, sample_of(test, key_of(test.nodeid, test.labels), HARDWARE))
    return acceptance


def baseline(**entries) -> BaselineFile:
    tests = {f"test_a.py::{name}": each for name, each in entries.items()}
    return BaselineFile(hardware={HARDWARE: Hardware(description="here", tests=tests)})


def test_two_measurements_become_two_runs():
    kept = accept(measured(joules=(50.0, 50.1, 50.2, 50.3, 50.4, 51.0, 51.1, 51.2, 51.3, 51.4))).renewed["test_a.py::test_a"]
    assert [[each.it_j for each in run.rounds] for run in kept.runs] == [[50.0, 50.1, 50.2, 50.3, 50.4], [51.0, 51.1, 51.2, 51.3, 51.4]]
    newest, first = samples_of(kept, "test_a.py::test_a", HARDWARE)
    assert (newest.rounds[0].it_j, first.rounds[0].it_j, newest.note) == (51.0, 50.0, "faster kernels")


def test_each_measurements_interval_is_that_of_half_the_rounds():
    test = measured()
    both = sample_of(test, "a", HARDWARE).uncertainty
    assert [run.uncertainty for run in entry(test).runs] == pytest.approx([both * math.sqrt(2)] * 2, rel=1e-4)


@pytest.mark.parametrize(
    ("joules", "fail", "said"),
    [
        ((50.0,) * 5 + (53.0,) * 5, "joules_per_token:5%", "measured twice, joules_per_token differs by 6.0%: 0.5 and 0.53; try again"),
        ((50.0,) * 5 + (47.0,) * 5, "joules_per_token:5%", "measured twice, joules_per_token differs by 6.0%: 0.5 and 0.47; try again"),
        ((50.0,) * 5 + (53.0,) * 5, "joules_per_token:0.01", "joules_per_token differs by 6.0%"),
        ((50.0,) * 5 + (53.0,) * 5, "quality:0.01", "joules_per_token differs by 6.0%"),
        ((50.0,) * 5 + (None,) * 5, "joules_per_token:5%", "measured twice, but joules_per_token is known only once; try again"),
        ((None,) * 10, "joules_per_token:5%", "its energy is unknown"),
    ],
)
def test_what_does_not_agree_with_itself_is_refused(joules, fail, said):
    energy = dataclasses.replace(factory.measured_test().energy, it_j=None, uncertainty_j=None, reasons=("contended",))
    unknown = {"energy": energy} if joules[0] is None else {}
    acceptance = accept(measured(joules=joules, **unknown), old=baseline(test_a=entry(measured())), fail=fail)
    assert acceptance.renewed == {}
    (line,) = acceptance.refused
    assert line.startswith("not accepted: test_a.py::test_a: ")
    assert said in line
    assert acceptance.lines("base.json") == ["base.json: no test accepted, it is as it was"]


def test_what_agrees_within_the_threshold_is_kept():
    assert accept(measured(joules=(50.0,) * 5 + (53.0,) * 5), fail="joules_per_token:10%").refused == []
    assert accept(measured(joules=(50.0,) * 5 + (52.0,) * 5), fail="off").refused == []


@pytest.mark.parametrize(
    ("outcome", "said"),
    [("failed", "the test failed"), ("rerun", "the test was run again"), ("interrupted", "the test was interrupted"), ("passed", None)],
)
def test_only_tests_that_passed_are_accepted(outcome, said):
    acceptance = accept(measured(outcome=outcome))
    assert acceptance.refused == ([f"not accepted: test_a.py::test_a: {said}"] if said else [])
    assert bool(acceptance.renewed) == (said is None)


def test_of_a_tests_attempts_the_first_that_was_measured_counts():
    first, second = measured(outcome="rerun"), measured(attempt=2)
    assert accept(first, second).renewed == {}
    assert list(accept(second).renewed) == ["test_a.py::test_a"]


def test_everything_else_stays_as_it_was():
    old = baseline(test_a=entry(measured()), test_b=entry(measured("test_a.py::test_b")))
    old = dataclasses.replace(old, hardware={**old.hardware, OTHER_HARDWARE: old.hardware[HARDWARE]})
    new = accept(measured(joules=(40.0,) * 10), old=old).file()
    assert new.hardware[OTHER_HARDWARE] == old.hardware[OTHER_HARDWARE]
    tests = new.hardware[HARDWARE].tests
    assert tests["test_a.py::test_b"] == old.hardware[HARDWARE].tests["test_a.py::test_b"]
    assert (tests["test_a.py::test_a"].accepted, tests["test_a.py::test_a"].runs[0].rounds[0].it_j) == (WHY, 40.0)


def test_entries_whose_tests_are_gone_are_listed_and_stay():
    old = baseline(test_a=entry(measured()), test_gone=entry(measured("test_a.py::test_gone")))
    acceptance = accept(measured(), old=old)
    (line,) = acceptance.unused(Scope(collected=frozenset({"test_a.py::test_a"})))
    assert line.endswith(": test_a.py::test_gone")
    assert acceptance.unused(Scope(collected=frozenset({"test_a.py::test_a"}), roots=("test_a.py::test_a",))) == []
    assert "test_a.py::test_gone" in acceptance.file().hardware[HARDWARE].tests


def test_a_renamed_test_renews_the_entry_of_its_old_name():
    new = accept(measured("test_a.py::test_new", labels={"id": "test_a.py::test_a"}), old=baseline(test_a=entry(measured()))).file()
    assert {key: each.nodeid for key, each in new.hardware[HARDWARE].tests.items()} == {"test_a.py::test_a": "test_a.py::test_new"}


def test_too_few_rounds_are_kept_and_said():
    acceptance = accept(measured(joules=(50.0,), remeasured=0))
    (head, thin) = acceptance.lines("base.json")
    assert head == "base.json: 1 test accepted: faster kernels"
    assert thin.startswith("accepted with fewer than 5 rounds, so that nothing can be told: test_a.py::test_a")


# --- how rounds are kept ----------------------------------------------------------------------------------------------

AMOUNTS = st.floats(0, 1e9)
ROUNDS = st.lists(
    st.builds(
        Round,
        duration_s=AMOUNTS,
        output_tokens=st.integers(0, 10**9),
        prompt_tokens=st.none() | st.integers(0, 10**9),
        requests=st.integers(0, 10**6),
        it_j=st.none() | AMOUNTS,
        device_j=AMOUNTS,
        ttft_s=AMOUNTS,
        tpot_s=st.none() | AMOUNTS,
        e2e_s=AMOUNTS,
    ),
    min_size=1,
    max_size=90,
)


@given(rounds=ROUNDS, most=st.integers(1, 2 * MAX_ROUNDS))
def test_many_rounds_are_added_up_and_their_sums_stay(rounds, most):
    kept = bounded(rounds, most)
    assert len(kept) <= most
    assert kept == rounds if len(rounds) <= most else len(kept) >= most / 2 - 1
    for name in ("output_tokens", "requests"):
        assert sum(getattr(each, name) for each in kept) == sum(getattr(each, name) for each in rounds)
    for name in ("duration_s", "device_j"):
        assert math.fsum(getattr(each, name) for each in kept) == pytest.approx(math.fsum(getattr(each, name) for each in rounds))
    if any(each.it_j is None for each in rounds):
        assert any(each.it_j is None for each in kept)  # a part of a sum that isn't known is not a sum
    low, high = min(each.ttft_s for each in rounds), max(each.ttft_s for each in rounds)
    assert all(low * (1 - 1e-9) <= each.ttft_s <= high * (1 + 1e-9) for each in kept)
