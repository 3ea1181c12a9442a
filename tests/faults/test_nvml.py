"""NVIDIA boards and drivers that misbehave, through NVIDIA's own binding on the compiled stand-in."""

from __future__ import annotations

import dataclasses
import time

import pytest

from pytest_tpf.measure import sampler as sampler_module
from pytest_tpf.measure.sampler import SamplerUnavailable
from tests.faults.windows import energies, texts, window
from tests.standin import Board, many_boards

FULL_J = 2**32 / 1000
BOARD = Board(base_w=300.0, counter_period_s=0.02)


def is_true(energy, true_j: float) -> bool:
    return energy.joules is not None and abs(energy.joules - true_j) <= 4 * energy.uncertainty_j


# --- slow


@pytest.mark.parametrize("call_s", [0.03, pytest.param(0.2, marks=pytest.mark.stress)])
def test_a_driver_whose_every_call_is_slow_measures_within_its_interval_or_not_at_all(plugged, sampler, call_s):
    board = dataclasses.replace(BOARD, base_w=210.0)
    plugged(board, call_delay_s=call_s)
    mine = sampler("nvml")
    mine.arm()
    recording, span = window(mine, 1.0)
    energy = energies(recording, span)["gpu:0"]
    assert mine.lost is None
    assert is_true(energy, board.true_energy_j(*span)) if energy.valid else energy.reasons


@pytest.mark.stress
def test_eight_slow_boards_are_not_taken_for_a_sampler_that_hangs(plugged, sampler):
    boards = many_boards(8, base_w=210.0, latency_s=0.2)
    plugged(*boards)
    mine = sampler("nvml")
    mine.arm()
    recording, span = window(mine, 0.5)
    assert mine.lost is None
    for i, energy in enumerate(energies(recording, span).values()):
        assert is_true(energy, boards[i].true_energy_j(*span)) if energy.valid else energy.reasons


def test_a_driver_that_takes_seconds_to_start_is_waited_for(plugged, sampler):
    plugged(BOARD, init_delay_s=1.0)
    assert [meter.id for meter in sampler("nvml").start().meters] == ["nvml:gpu:0"]


def test_a_driver_that_never_starts_is_given_up_in_one_line(plugged, sampler, monkeypatch):
    monkeypatch.setattr(sampler_module, "START_LIMIT_S", 0.5)
    plugged(BOARD, init_delay_s=3600.0)
    with pytest.raises(SamplerUnavailable) as caught:
        sampler("nvml")
    assert str(caught.value) == "the sampler's process does not answer (waited 0.5 s) (exit status -15), while its meters were opened"


# --- counters


def test_a_counter_of_32_bits_that_is_full_in_a_window_is_unwrapped(plugged, sampler):
    full_s = time.perf_counter() + 1.5
    counted_j = BOARD.base_w * full_s
    board = dataclasses.replace(BOARD, counter_wrap_j=FULL_J, energy_offset_j=FULL_J * (counted_j // FULL_J + 1) - counted_j)
    assert board.counter_j(full_s - 0.1) > FULL_J - 100.0
    assert board.counter_j(full_s + 0.1) < 100.0
    plugged(board)
    mine = sampler("nvml")
    mine.arm()
    assert time.perf_counter() < full_s, "the machine is too slow for this test's clock"
    recording, span = window(mine, full_s - time.perf_counter() + 0.3)
    assert is_true(energies(recording, span)["gpu:0"], board.base_w * (span[1] - span[0]))
    assert texts(recording) == []


def test_a_counter_that_restarts_costs_its_window_and_not_the_next(plugged, sampler):
    reset_s = time.perf_counter() + 1.5
    plugged(dataclasses.replace(BOARD, reset_at_s=reset_s, energy_offset_j=1e6))
    mine = sampler("nvml")
    mine.arm()
    recording, span = window(mine, reset_s - time.perf_counter() + 0.2)
    assert energies(recording, span)["gpu:0"].reasons == ("counter_reset",)
    assert "without having been full: it was set back" in texts(recording)[0]
    recording, span = window(mine, 0.3)
    assert is_true(energies(recording, span)["gpu:0"], BOARD.base_w * (span[1] - span[0]))
    assert texts(recording) == []


@pytest.mark.parametrize("from_the_start", [pytest.param(True, marks=pytest.mark.stress), False])
def test_a_counter_that_stands_still_under_load_is_stuck_not_zero(plugged, sampler, from_the_start):
    stuck_s = time.perf_counter() + (0.0 if from_the_start else 1.5)
    plugged(dataclasses.replace(BOARD, stuck_at_s=stuck_s))
    mine = sampler("nvml")
    mine.arm()
    recording, span = window(mine, max(stuck_s - time.perf_counter(), 0.0) + 1.2)
    energy = energies(recording, span)["gpu:0"]
    assert energy.joules is None
    assert "counter_stuck" in energy.reasons
    (text,) = texts(recording)
    assert text.startswith("the counter of gpu:0 has stood still for ")
    assert text.endswith(" s while its power gauge says 300 W")


# --- gauges


def test_a_gauge_that_fails_beside_a_counter_costs_no_energy(plugged, sampler):
    fails_s = time.perf_counter() + 1.2
    plugged(dataclasses.replace(BOARD, power_fails_at_s=fails_s))
    mine = sampler("nvml")
    mine.arm()
    recording, span = window(mine, fails_s - time.perf_counter() + 0.4)
    assert is_true(energies(recording, span)["gpu:0"], BOARD.base_w * (span[1] - span[0]))
    assert texts(recording) == ["gpu:0 (NVIDIA Stand-in 100): Not Supported"]


def test_a_gauge_that_is_the_energy_and_fails_makes_it_unknown_until_it_works_again(plugged, sampler):
    fails_s = time.perf_counter() + 1.2
    plugged(dataclasses.replace(BOARD, counter_supported=False, power_fails_at_s=fails_s, power_fails_until_s=fails_s + 0.3))
    mine = sampler("nvml")
    mine.arm()
    recording, span = window(mine, fails_s - time.perf_counter() + 0.4)
    assert energies(recording, span)["gpu:0"].joules is None
    assert "counter_unreadable" in energies(recording, span)["gpu:0"].reasons
    mine.arm()
    time.sleep(0.2)
    recording, span = window(mine, 0.5)
    assert energies(recording, span)["gpu:0"].joules == pytest.approx(BOARD.base_w * (span[1] - span[0]), rel=0.02)


# --- many boards


def test_64_boards_are_sampled_by_one_process(plugged, sampler):
    boards = [dataclasses.replace(board, base_w=100.0 + i) for i, board in enumerate(many_boards(64))]
    plugged(*boards)
    mine = sampler("nvml")
    assert mine.arm() == ()
    recording, span = window(mine, 0.8)
    found = energies(recording, span)
    wrong = [i for i, board in enumerate(boards) if not is_true(found[f"gpu:{i}"], board.true_energy_j(*span))]
    assert wrong == []


# --- as a user sees it

ONE = """
    @pytest.mark.tpf(boundary="device", max_joules_per_token=1000)
    def test_it(model): model.generate(seconds={seconds})
"""


def test_a_driver_that_does_not_fit_its_library_is_said_and_energy_is_estimated(suite, plugged):
    plugged(BOARD, init_error=18)
    result = suite.run("""
        @pytest.mark.tpf
        def test_it(model): model.generate(seconds=0.4)
    """)
    result.assert_outcomes(passed=1)
    line = "tpf: nvml: the NVIDIA driver was updated while loaded: restart the machine (or reload the module)"
    assert line in result.stdout.lines
    assert suite.test()["energy"]["trust"] == "estimated"
    assert "Traceback" not in result.stdout.str()


def test_one_of_two_boards_lost_keeps_the_others_energy(suite, plugged):
    well, lost = many_boards(2, base_w=250.0, counter_period_s=0.02)
    plugged(well, dataclasses.replace(lost, lost_at_s=time.perf_counter() + 2.5))
    result = suite.run(ONE.format(seconds=3))
    result.assert_outcomes(passed=1)
    test = suite.test()
    assert test["energy"]["it_j"] is None
    assert "device_lost" in test["energy"]["reasons"]
    assert test["energy"]["domains"]["gpu:1"] is None
    assert test["energy"]["domains"]["gpu:0"] == pytest.approx(250.0 * test["service"]["duration_s"], rel=0.02)
    assert test["workload"]["output_tokens"] == 8
    assert "gpu:1 (NVIDIA Stand-in 100): GPU is lost" in test["warnings"]
