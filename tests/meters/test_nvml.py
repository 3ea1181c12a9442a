"""The NVML meter through NVIDIA's own binding on the compiled stand-in."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time

import pytest

from tests.standin import (
    DRIVER_NOT_LOADED,
    GPU_IDLE,
    HW_POWER_BRAKE,
    HW_THERMAL_SLOWDOWN,
    SW_POWER_CAP,
    SW_THERMAL_SLOWDOWN,
    Board,
    Standin,
    StandinUnavailable,
    build_library,
    many_boards,
)

ONE = Board(uuid="GPU-11111111-0000-4000-8000-000000000000", name="NVIDIA H100 80GB HBM3")


def run_probe(env, count=1, pause_s=0.0):
    command = [sys.executable, "-m", "tests.meters.nvml_probe", str(count), str(pause_s)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def probe(tmp_path):
    """Probe these boards in a process of its own; keyword arguments beyond the stand-in's go to the environment."""
    try:
        build_library()
    except StandinUnavailable as reason:
        pytest.skip(str(reason))

    def probe(*boards, count=1, pause_s=0.0, env=None, **standin):
        clean = {key: value for key, value in os.environ.items() if not key.startswith("CUDA_")}
        return run_probe({**clean, **Standin(boards=boards, **standin).environment(tmp_path), **(env or {})}, count, pause_s)

    return probe


def test_a_board_gives_its_counter_and_its_gauges(probe):
    found = probe(ONE)
    counter, gauge, average = found["channels"]
    assert (average["method"], average["energy"], average["averaging_s"]) == ("nvml_power_average", False, 1.0)
    assert (counter["domain"], counter["quantity"], counter["method"]) == ("gpu:0", "energy_j", "nvml_energy_counter")
    assert (gauge["domain"], gauge["quantity"], gauge["method"]) == ("gpu:0", "power_w", "nvml_power_instant")
    assert [counter["energy"], gauge["energy"]] == [True, False]
    assert [counter["stepped"], gauge["stepped"]] == [True, False]
    assert counter["device"] == ONE.uuid
    assert counter["trust"] == "measured"
    assert counter["resolution_j"] == 0.001
    assert counter["gain"] == pytest.approx(0.05 / 1.96)
    assert found["notes"] == []
    assert found["unmetered"] == []


def test_the_counter_is_read_in_joules_and_follows_the_true_energy(probe):
    board = dataclasses.replace(ONE, shape="square", base_w=100.0, swing_w=400.0, period_s=0.05, counter_period_s=0.02, energy_offset_j=7.0)
    (rows, _, _) = probe(board, count=60, pause_s=0.005)["readings"]
    for before, joules, after in rows:
        assert board.counter_j(before) - 0.0011 <= joules <= board.counter_j(after) + 0.0011
    (first, j0, _), (last, j1, _) = rows[0], rows[-1]
    # Each end was latched within one refresh before the read.
    assert j1 - j0 == pytest.approx(board.true_energy_j(first, last), abs=500 * 2 * 0.02)
    assert j1 > j0


def test_the_gauge_reads_watts(probe):
    board = dataclasses.replace(ONE, base_w=123.456, gain=0.95)
    (_, ((_, watts, _),), _) = probe(board)["readings"]
    assert watts == pytest.approx(0.95 * 123.456, abs=0.001)


@pytest.mark.parametrize(
    ("missing", "method", "averaging_s"),
    [
        ({}, "nvml_power_instant", 0.025),
        ({"instant_supported": False}, "nvml_power_average", 1.0),
        ({"instant_supported": False, "average_supported": False}, "nvml_power_usage", 1.0),
    ],
)
def test_without_a_counter_the_best_gauge_is_the_energy(probe, missing, method, averaging_s):
    board = dataclasses.replace(ONE, counter_supported=False, **missing)
    found = probe(board)
    gauge, *others = found["channels"]
    assert not any(other["energy"] for other in others)
    assert (gauge["method"], gauge["energy"], gauge["averaging_s"]) == (method, True, averaging_s)
    assert found["unmetered"] == []
    assert method in found["notes"][0]


@pytest.mark.parametrize(
    ("name", "architecture", "instant_s", "usage_s"),
    [
        ("NVIDIA H100", 9, 0.025, 1.0),
        ("NVIDIA RTX 4090", 8, 0.1, 1.0),
        ("NVIDIA RTX A6000", 7, 0.1, 1.0),
        ("NVIDIA A100-SXM4-80GB", 7, 0.025, 0.025),
        ("NVIDIA A30", 7, 0.025, 0.025),
        ("NVIDIA RTX A1000 Laptop GPU", 7, 0.1, 1.0),
        ("NVIDIA RTX A3000", 7, 0.1, 1.0),
        ("Tesla V100", 5, 0.01, 0.01),
        ("NVIDIA B200", 10, None, 1.0),
        ("?", 2**32 - 1, None, None),
    ],
)
def test_gauges_average_over_what_was_measured_on_the_boards_generation(probe, name, architecture, instant_s, usage_s):
    board = dataclasses.replace(ONE, name=name, architecture=architecture, counter_supported=False)
    instant, _ = probe(board)["channels"]
    (usage,) = probe(dataclasses.replace(board, instant_supported=False, average_supported=False))["channels"]
    assert (instant["averaging_s"], usage["averaging_s"]) == (instant_s, usage_s)


def test_a_board_that_gives_neither_is_unmetered_and_others_are_not_harmed(probe):
    bare, good = many_boards(2)
    found = probe(dataclasses.replace(bare, counter_supported=False, power_supported=False), good)
    assert {channel["domain"] for channel in found["channels"]} == {"gpu:1"}
    assert found["unmetered"] == ["gpu:0"]
    assert "energy is unknown" in found["notes"][0]


def test_a_lost_board_is_a_fault_with_its_code(probe):
    board = dataclasses.replace(ONE, lost_at_s=time.perf_counter() + 2.0)
    found = probe(board, count=25, pause_s=0.1)
    values = [value for _, value, _ in found["readings"][0]]
    assert isinstance(values[0], float)
    code, text = values[-1]
    assert code == "device_lost"
    assert "gpu:0" in text
    assert "\n" not in text
    (status,) = found["statuses"]
    assert status["temperature_c"] is None
    assert status["utilization"] is None


def test_a_board_lost_from_the_start_is_left_out(probe):
    lost, good = many_boards(2)
    found = probe(dataclasses.replace(lost, lost_at_s=0.0), good)
    assert {channel["domain"] for channel in found["channels"]} == {"gpu:1"}
    assert "gpu:0" in found["notes"][0]


def test_an_index_is_not_trusted_where_a_board_does_not_answer(probe):
    lost, good, other = many_boards(3)
    found = probe(dataclasses.replace(lost, lost_at_s=0.0), good, other, env={"CUDA_VISIBLE_DEVICES": "0"})
    assert "doesn't answer" in found["unavailable"]


def test_an_accelerator_is_described(probe):
    (accelerator,) = probe(dataclasses.replace(ONE, power_limit_w=450.5, memory_bytes=12345678), driver="570.1")["accelerators"]
    assert accelerator == {
        "domain": "gpu:0",
        "name": ONE.name,
        "uuid": ONE.uuid,
        "index": 0,
        "memory_bytes": 12345678,
        "driver_version": "570.1",
        "power_limit_w": 450.5,
        "persistence_mode": True,
        "ecc_mode": True,
    }


def test_the_status_is_evidence_in_plain_names(probe):
    bits = SW_POWER_CAP | HW_THERMAL_SLOWDOWN | SW_THERMAL_SLOWDOWN | HW_POWER_BRAKE
    busy, idle = many_boards(2)
    busy = dataclasses.replace(busy, utilization_percent=87, temperature_c=71, power_limit_w=300.0, clock_reasons=bits)
    first, second = probe(busy, dataclasses.replace(idle, clock_reasons=GPU_IDLE))["statuses"]
    assert (first["domain"], first["utilization"], first["temperature_c"], first["power_limit_w"]) == ("gpu:0", 0.87, 71.0, 300.0)
    assert first["clock_reasons"] == ["sw_power_cap", "sw_thermal_slowdown", "hw_thermal_slowdown", "hw_power_brake_slowdown"]
    assert second["clock_reasons"] == ["gpu_idle"]


def test_what_a_board_does_not_give_is_none(probe):
    board = dataclasses.replace(ONE, utilization_percent=-1, temperature_c=-1, power_limit_w=0.0, clock_reasons=-1)
    found = probe(board)
    (status,) = found["statuses"]
    assert (status["utilization"], status["temperature_c"], status["power_limit_w"], status["clock_reasons"]) == (None, None, None, [])
    assert found["accelerators"][0]["power_limit_w"] is None


def test_an_older_driver_without_the_newer_calls_still_gives_its_evidence(probe):
    newer = ("nvmlDeviceGetTemperatureV", "nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetEnforcedPowerLimit")
    (status,) = probe(dataclasses.replace(ONE, clock_reasons=SW_POWER_CAP), fail=tuple((name, 13) for name in newer))["statuses"]
    assert (status["temperature_c"], status["power_limit_w"], status["clock_reasons"]) == (40.0, 700.0, ["sw_power_cap"])


def test_a_board_that_does_not_know_mig_is_metered(probe):
    assert probe(dataclasses.replace(ONE, mig=-1))["channels"]


def test_a_board_in_mig_mode_is_refused_with_the_reason(probe):
    sliced, whole = many_boards(2)
    found = probe(dataclasses.replace(sliced, mig=1), whole)
    assert {channel["domain"] for channel in found["channels"]} == {"gpu:1"}
    assert found["unmetered"] == ["gpu:0"]
    assert "MIG" in found["notes"][0]
    assert "MIG" in probe(dataclasses.replace(sliced, mig=1))["unavailable"]


def test_only_visible_boards_are_metered_under_the_index_of_the_driver(probe):
    boards = many_boards(3)
    found = probe(*boards, env={"CUDA_VISIBLE_DEVICES": f"2,{boards[0].uuid}"})
    assert [channel["domain"] for channel in found["channels"] if channel["energy"]] == ["gpu:2"]
    found = probe(*boards, env={"CUDA_VISIBLE_DEVICES": f"{boards[2].uuid},{boards[0].uuid[:12]}"})
    assert [channel["domain"] for channel in found["channels"] if channel["energy"]] == ["gpu:2", "gpu:0"]
    assert [accelerator["uuid"] for accelerator in found["accelerators"]] == [boards[2].uuid, boards[0].uuid]


@pytest.mark.parametrize(
    ("standin", "env", "reason"),
    [
        ({"init_error": DRIVER_NOT_LOADED}, {}, "not loaded"),
        ({"init_error": 4}, {}, "/dev/nvidia"),
        ({"init_error": 18}, {}, "restart"),
        ({"init_error": 999}, {}, "nvidia-smi"),
        ({}, {}, "no NVIDIA board"),
        ({"fail": (("nvmlDeviceGetCount_v2", 999),)}, {}, "list"),
        ({"boards": (ONE,)}, {"CUDA_VISIBLE_DEVICES": ""}, "empty"),
        ({"boards": (ONE,)}, {"CUDA_VISIBLE_DEVICES": "MIG-1"}, "MIG"),
        ({"boards": (ONE,)}, {"CUDA_VISIBLE_DEVICES": "3"}, "'3'"),
    ],
)
def test_unavailable_says_why_in_one_line(probe, standin, env, reason):
    text = probe(*standin.pop("boards", ()), env=env, **standin)["unavailable"]
    assert reason in text
    assert "\n" not in text


def test_without_the_library_the_remedy_is_named(tmp_path):
    (tmp_path / "libnvidia-ml.so.1").write_text("not a library")  # hides a real driver, should this machine have one
    text = run_probe({**os.environ, "LD_LIBRARY_PATH": str(tmp_path)})["unavailable"]
    assert "libnvidia-ml.so.1" in text
    assert "driver" in text
