"""The conditions in a record: every doubt has its code and a warning with the figures, and none changes a figure."""

from __future__ import annotations

import dataclasses

import pytest

from pytest_tpf.codec import as_dict, from_dict
from pytest_tpf.evaluate import evaluate
from pytest_tpf.evaluate.context import IdlePower
from pytest_tpf.judge.budgets import failure_message
from pytest_tpf.markers import Marker
from pytest_tpf.measure.trace import Edge
from pytest_tpf.meters.protocol import BoardProcess, Status
from pytest_tpf.observation import Observation, Surroundings
from pytest_tpf.records import TestRecord
from tests.evaluate.runs import IDENTITY, WATTS, context, generation, observation, one_round, trace


def repeated(lengths_s, outputs=None, device="cpu", warmup=(), **more) -> Observation:
    """Rounds of the same work, one after the other, each one generation."""
    made, start_s = [], 0.0
    for i, length_s in enumerate(lengths_s):
        tokens = outputs[i] if outputs else 10
        made.append(one_round(start_s, start_s + length_s, generation(start_s, start_s + length_s, (tokens,), device=device, **more)))
        start_s += length_s
    return dataclasses.replace(observation(*made), same_work=True, warmup=warmup)


def record(seen, ctx=None, marker=Marker()) -> TestRecord:  # noqa: B008
    found = evaluate(seen, IDENTITY, marker, ctx or context(), {})
    assert from_dict(TestRecord, as_dict(found)) == found
    return found


def told(found: TestRecord, words: str) -> bool:
    return any(words in warning for warning in found.warnings)


STEADY = [1.0, 1.003, 0.998, 1.001, 0.999, 1.002]


def test_steady_rounds_raise_no_doubt():
    found = record(repeated(STEADY)).conditions
    assert found.flags == ()
    assert abs(found.duration_drift) < 0.01
    assert found.duration_drift_ci95[0] < 0 < found.duration_drift_ci95[1]
    assert found.joules_per_token_drift == pytest.approx(found.duration_drift, abs=1e-6)  # at constant power


def test_a_slow_start_is_told_by_time_and_by_energy():
    found = record(repeated([1.5, *STEADY]))
    assert "warming_up" in found.conditions.flags
    assert told(found, "J/token of the first round +49.9%")
    assert told(found, "seconds per token of the first round +49.9%")


def test_a_change_from_first_to_last_is_told_with_its_interval():
    found = record(repeated([1.0 + 0.02 * i for i in range(8)]))
    assert found.conditions.flags == ("drifting",)
    assert found.conditions.duration_drift == pytest.approx(0.14 / 1.07)
    assert told(found, "seconds per token by +13.1%")


def test_power_may_drift_while_time_does_not():
    rising = trace()
    edges = tuple(dataclasses.replace(edge, joules=WATTS * (edge.t + 1) * (1 + 0.02 * (edge.t + 1))) for edge in rising.edges)
    found = record(repeated([1.0, 1.001] * 4), context(dataclasses.replace(rising, edges=edges)))
    assert found.conditions.joules_per_token_drift > 0.1
    assert abs(found.conditions.duration_drift) < 0.01
    assert "drifting" in found.conditions.flags
    assert all(isinstance(edge, Edge) for edge in edges)


def test_windows_drawn_by_hand_need_not_be_alike():
    found = record(dataclasses.replace(repeated([1.0, 2.0, 3.0, 4.0, 5.0], [1, 8, 2, 30, 5]), same_work=False))
    assert found.conditions.flags == ()
    assert (found.conditions.joules_per_token_drift, found.conditions.duration_drift) == (None, None)


def test_rounds_dropped_as_warm_up_are_told():
    found = record(dataclasses.replace(repeated(STEADY), dropped_rounds=2, warmup_rounds=3))
    assert (found.conditions.dropped_rounds, found.workload.warmup_rounds) == (2, 3)
    assert told(found, "the first 2 rounds still changed and were taken as warm-up")


def test_a_shorter_generation_does_not_win_silently():
    found = record(repeated(STEADY, [10, 10, 10, 8, 8, 8]))
    assert "length_changed" in found.conditions.flags
    assert told(found, "8 to 10 output tokens per request")
    assert (found.workload.output_tokens_min, found.workload.output_tokens_max) == (8, 10)


def calls_of_a_server(first_ttfts, prompts=512, device=None):
    made = [
        one_round(2.0 * i, 2.0 * i + 1.0, generation(2.0 * i, 2.0 * i + 1.0, (10,), prompts, first_s=2.0 * i + ttft, device=device))
        for i, ttft in enumerate(first_ttfts)
    ]
    warmup, rounds = made[0], made[1:]
    return dataclasses.replace(observation(*rounds), same_work=True, warmup=(warmup.generations,))


def test_a_servers_prefix_cache_is_suspected_from_the_warm_up_call_on():
    found = record(calls_of_a_server([0.5, 0.05, 0.06, 0.05]))
    assert found.conditions.flags == ("prefix_cache_suspected",)
    assert told(found, "after 0.5 s at first and 0.05 s later")


@pytest.mark.parametrize(
    ("ttfts", "prompts", "device"),
    [([0.5, 0.05, 0.06], 512, "cuda:0"), ([0.5, 0.05, 0.06], 32, None), ([0.5, 0.4, 0.45], 512, None)],
    ids=["an engine in this process loads with its first call", "short prompts", "no fall"],
)
def test_other_reasons_for_a_slow_first_call_are_not_called_a_cache(ttfts, prompts, device):
    assert "prefix_cache_suspected" not in record(calls_of_a_server(ttfts, prompts, device)).conditions.flags


def statuses(**figures) -> tuple[Status, ...]:
    return tuple(
        Status(domain="gpu:0", t=0.1 * i, **{name: f(0.1 * i) if callable(f) else f for name, f in figures.items()}) for i in range(-2, 70)
    )


def with_statuses(**figures):
    plain = context()
    return dataclasses.replace(plain, recording=dataclasses.replace(plain.recording, statuses=statuses(**figures)))


def test_a_throttled_board_is_told():
    found = record(repeated(STEADY), with_statuses(held_back_s=lambda t: {"sw_thermal_slowdown": 0.03 * t, "sw_power_cap": 0.9 * t}))
    assert found.conditions.flags == ("throttled",)
    assert told(found, "gpu:0 was held back by heat in 3% of the window")
    assert found.conditions.devices[0].power_cap_fraction == pytest.approx(0.9)


def test_a_power_cap_alone_is_a_setting_and_no_doubt():
    assert record(repeated(STEADY), with_statuses(held_back_s=lambda t: {"sw_power_cap": t})).conditions.flags == ()


@pytest.mark.parametrize(("slope", "flags"), [(1.5, ("temperature_drift",)), (-1.5, ("temperature_drift",)), (0.5, ())])
def test_a_warming_board_is_told(slope, flags):
    found = record(repeated(STEADY), with_statuses(temperature_c=lambda t: 60 + slope * t))
    assert found.conditions.flags == flags
    assert told(found, "gpu:0 went from 60 to") == bool(flags)


def neighbours(share: float):
    ours = BoardProcess(domain="gpu:0", device="GPU-1", pid=1, own=True)
    other = BoardProcess(domain="gpu:0", device="GPU-1", pid=2, name="train", used_memory_bytes=5, sm_utilization=share, own=False)
    return context(surroundings=Surroundings(before=(ours, other), after=(ours, other), notes=("waited 12 s for pid 9 (pytest)",)))


def test_a_neighbour_that_computes_makes_the_energy_an_upper_bound_and_a_fail_marginal():
    seen = repeated(STEADY)
    found = record(seen, neighbours(0.4), Marker(limits={"max_joules": 1.0, "max_output_tokens": 1.0}))
    assert found.conditions.flags == ("shared_board",)
    assert [(p.pid, p.name, p.sm_utilization) for p in found.conditions.foreign_processes] == [(2, "train", 0.4)]
    assert found.energy.it_j == pytest.approx(record(seen).energy.it_j)
    assert found.warnings[-1] == "waited 12 s for pid 9 (pytest)"
    energy, tokens = sorted(found.budgets, key=lambda budget: budget.metric)
    assert (energy.verdict, energy.marginal) == ("fail", True)
    assert energy.reason.startswith("shared_board: gpu:0 also served train (pid 2, 40% of its time)")
    assert (tokens.verdict, tokens.marginal) == ("fail", False)
    message = failure_message(found, strict=False)
    assert "marginal: shared_board: gpu:0 also served train" in message
    assert "more rounds" not in message


def test_a_pass_below_an_upper_bound_is_a_pass():
    found = record(repeated(STEADY), neighbours(0.4), Marker(limits={"max_joules": 1e6}))
    assert (found.budgets[0].verdict, found.budgets[0].marginal, found.budgets[0].reason) == ("pass", False, None)


def test_a_neighbour_that_sleeps_is_listed_only():
    found = record(repeated(STEADY), neighbours(0.0))
    assert found.conditions.flags == ()
    assert len(found.conditions.foreign_processes) == 1


def test_a_process_that_was_not_looked_for_before_is_not_said_to_have_come():
    ours = BoardProcess(domain="gpu:0", device="GPU-1", pid=1, own=True)
    other = BoardProcess(domain="gpu:0", device="GPU-1", pid=2, own=False)
    found = record(repeated(STEADY), context(surroundings=Surroundings(before=None, after=(ours, other))))
    assert found.conditions.flags == ()
    came = record(repeated(STEADY), context(surroundings=Surroundings(before=(), after=(ours, other))))
    assert came.conditions.flags == ("shared_board",)


def test_a_lock_that_could_not_be_taken_is_told():
    found = record(repeated(STEADY), context(surroundings=Surroundings(unlocked=("gpu:0 could be measured by others meanwhile: why",))))
    assert found.conditions.flags == ("not_exclusive",)
    assert told(found, "gpu:0 could be measured by others meanwhile: why")


@pytest.mark.parametrize(("earlier_w", "flags"), [(None, ()), (19.0, ()), (15.0, ("idle_drift",)), (30.0, ("idle_drift",))])
def test_idle_power_that_moved_is_told(earlier_w, flags):
    ctx = dataclasses.replace(context(), idle=IdlePower(total_w=20.0, uncertainty_w=0.5, earlier_w=earlier_w))
    assert record(repeated(STEADY), ctx).conditions.flags == flags


def test_idle_uncertainty_goes_into_the_net_energy_which_is_not_clamped():
    ctx = dataclasses.replace(context(), idle=IdlePower(total_w=WATTS + 1, uncertainty_w=3.0))
    energy = record(repeated(STEADY), ctx).energy
    seconds = sum(STEADY)
    assert energy.net_j == pytest.approx(-seconds)
    assert energy.idle_uncertainty_w == 3.0
    assert energy.net_uncertainty_j == pytest.approx((energy.uncertainty_j**2 + (3.0 * seconds) ** 2) ** 0.5)


def test_without_idle_power_there_is_no_net_uncertainty():
    energy = record(repeated(STEADY), context(idle_w=None)).energy
    assert (energy.net_j, energy.net_uncertainty_j, energy.idle_uncertainty_w) == (None, None, None)
