"""All figures of a run together: Holm's correction among those that look worse, and scatter that intervals don't explain."""

from __future__ import annotations

import dataclasses
import math
import random
from statistics import NormalDist

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_tpf.judge.together import LOOKS_WORSE, MANY, adjusted, holm, unexplained, weakened
from pytest_tpf.records import Change


def change(log: float, half: float = 0.02, kind: str = "relative") -> Change:
    scale = 1.0 if kind == "relative" else 3.0
    told = [scale * math.expm1(each) for each in (log, log - half, log + half)]
    return Change(
        metric="joules_per_token",
        threshold=0.05,
        kind=kind,
        reference=3.0,
        actual=3.0 * math.exp(log),
        change=told[0],
        ci95=(told[1], told[2]),
        verdict="pass",
    )


# --- Holm -------------------------------------------------------------------------------------------------------------


def test_holms_correction_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.2]) == [0.2]
    assert holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])


chances = st.lists(st.floats(0, 1), max_size=40)


@given(chances)
def test_holm_never_makes_anything_less_likely_and_keeps_the_order(raw):
    found = holm(raw)
    assert all(low <= high <= 1 for low, high in zip(raw, found, strict=True))
    in_order = [found[place] for place in sorted(range(len(raw)), key=raw.__getitem__)]
    assert in_order == sorted(in_order)


@given(chances, st.floats(0, 1), st.integers(0, 40))
def test_holm_is_monotone_in_every_chance(raw, more, at):
    if raw:
        place = at % len(raw)
        raised = [*raw[:place], max(more, raw[place]), *raw[place + 1 :]]
        assert all(a <= b + 1e-12 for a, b in zip(holm(raw), holm(raised), strict=True))


# --- among those that look worse --------------------------------------------------------------------------------------


def test_figures_within_their_thresholds_do_not_count():
    assert adjusted([0.01] + [0.99] * 500) == pytest.approx([0.02] + [1.0] * 500)


def test_those_beyond_count_as_in_holms_correction():
    assert adjusted([0.01, 0.4, 0.3, 0.9]) == pytest.approx([0.06, 1.0, 1.0, 1.0])


@given(chances)
def test_the_correction_never_makes_anything_less_likely(raw):
    found = adjusted(raw)
    assert all(min(1.0, low / LOOKS_WORSE) <= high + 1e-12 and high <= 1 for low, high in zip(raw, found, strict=True))


@given(chances, st.lists(st.floats(0, LOOKS_WORSE), max_size=10))
def test_more_candidates_make_each_the_less_sure(raw, others):
    assert all(few <= many + 1e-12 for few, many in zip(adjusted(raw), adjusted([*raw, *others]), strict=False))


@pytest.mark.parametrize("shift", [0.0, -0.5, -3.0])
def test_at_most_5_of_100_runs_err_wherever_the_figures_lie_up_to_their_thresholds(shift):
    rng, alarms = random.Random(1), 0
    for _ in range(1000):
        raw = [NormalDist().cdf(-rng.gauss(shift, 1.0)) for _ in range(50)]
        alarms += min(adjusted(raw)) <= 0.05
    assert alarms / 1000 <= 0.07


# --- scatter that isn't explained -------------------------------------------------------------------------------------


def drawn(rng: random.Random, tests: int, spread: float, common: float = 0.0) -> list[Change]:
    """Changes whose intervals say 1 %, and which scatter by ``spread``."""
    return [change(rng.gauss(common, spread), half=0.0196) for _ in range(tests)]


def test_what_scatters_as_its_intervals_say_is_explained():
    assert unexplained(drawn(random.Random(1), 400, 0.01)) == pytest.approx(1.0, abs=0.15)
    assert unexplained(drawn(random.Random(1), 400, 0.001)) == 1.0


@pytest.mark.parametrize("common", [0.0, 0.3])
def test_three_times_the_scatter_is_found_and_a_common_change_is_none(common):
    assert unexplained(drawn(random.Random(2), 400, 0.03, common)) == pytest.approx(3.0, rel=0.15)


def test_a_few_regressions_are_no_scatter():
    rng = random.Random(3)
    assert unexplained([*drawn(rng, 380, 0.01), *drawn(rng, 20, 0.01, common=1.0)]) < 1.25


def test_few_figures_tell_nothing():
    assert unexplained(drawn(random.Random(4), MANY - 1, 0.1)) == 1.0
    assert unexplained([]) == 1.0


def test_the_kind_of_threshold_does_not_matter():
    logs = [random.Random(5).gauss(0, 0.05) + each / 500 for each in range(40)]
    relative, absolute = (unexplained([change(log, kind=kind) for log in logs]) for kind in ("relative", "absolute"))
    assert relative == pytest.approx(absolute)


@given(st.lists(st.sampled_from([change(0.0), change(0.1, half=0.0), change(-40.0), change(3.0, kind="absolute")]), max_size=60))
def test_no_changes_break_it(changes):
    assert unexplained(changes) >= 1.0


@given(st.floats(0.05, 1), st.floats(0.001, 0.5), st.floats(0, 1), st.floats(1, 20), st.floats(1, 20))
def test_scatter_makes_a_chance_the_larger(log, half, chance, one, other):
    less, more = sorted((one, other))
    judged = dataclasses.replace(change(log, half), p=chance)
    assert chance <= weakened(judged, less) <= weakened(judged, more)
    assert weakened(judged, 1.0) == chance


def test_twice_the_scatter_halves_the_distance():
    judged = dataclasses.replace(change(math.log(1.05) + 4 * 0.01, half=0.0196), p=NormalDist().cdf(-4.0))
    assert weakened(judged, 2.0) == pytest.approx(NormalDist().cdf(-2.0), rel=1e-3)


def test_a_rate_is_worse_where_it_is_lower():
    slower = dataclasses.replace(change(math.log(0.95) - 4 * 0.01, half=0.0196), metric="tokens_per_second", p=NormalDist().cdf(-4.0))
    assert weakened(slower, 2.0) == pytest.approx(NormalDist().cdf(-2.0), rel=1e-3)
