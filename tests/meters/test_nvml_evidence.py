"""What an NVIDIA board says beside its energy: clocks, time held back, and who is on it."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import time

import pytest

from tests.meters.test_nvml import run_probe
from tests.standin import NOT_SUPPORTED, Board, Process, Standin, StandinUnavailable, build_library, many_boards

ONE = Board(uuid="GPU-11111111-0000-4000-8000-000000000000")
NOT_THERE = 13


@pytest.fixture
def probe(tmp_path):
    try:
        build_library()
    except StandinUnavailable as reason:
        pytest.skip(str(reason))

    def probe(*boards, **standin):
        clean = {key: value for key, value in os.environ.items() if not key.startswith("CUDA_")}
        return run_probe({**clean, **Standin(boards=boards, **standin).environment(tmp_path)})

    return probe


@pytest.fixture
def stranger():
    """A process that isn't part of the watched tree: its parent has ended."""
    sleeper = "[sys.executable, '-c', 'import time; time.sleep(60)']"
    source = f"import subprocess, sys; print(subprocess.Popen({sleeper}, stdout=-3, stderr=-3).pid)"  # -3: DEVNULL
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    pid = int(done.stdout)
    yield pid
    os.kill(pid, 9)


def test_clocks_are_in_the_status(probe):
    (status,) = probe(dataclasses.replace(ONE, sm_clock_mhz=1755, memory_clock_mhz=2619))["statuses"]
    assert (status["sm_clock_mhz"], status["memory_clock_mhz"]) == (1755.0, 2619.0)


@pytest.mark.parametrize(
    ("board", "shares"),
    [
        (
            {"held_back_fields": True},
            {"sw_power_cap": 0.5, "sw_thermal_slowdown": 0.25, "hw_thermal_slowdown": 0, "hw_power_brake_slowdown": 0.125},
        ),
        ({"held_back_fields": False}, {"sw_power_cap": 0.5, "thermal": 0.25}),
        ({"held_back_fields": True, "brake_share": -1}, {"sw_power_cap": 0.5, "sw_thermal_slowdown": 0.25, "hw_thermal_slowdown": 0}),
        ({"held_back_fields": False, "cap_share": -1, "thermal_share": -1}, {}),
    ],
    ids=["fields", "violation-times", "no-brake", "none"],
)
def test_time_held_back_is_counted_in_seconds(probe, board, shares):
    before = time.perf_counter()
    (status,) = probe(dataclasses.replace(ONE, **{"cap_share": 0.5, "thermal_share": 0.25, "brake_share": 0.125, **board}))["statuses"]
    assert set(status["held_back_s"]) == set(shares)
    for name, share in shares.items():
        assert share * before <= status["held_back_s"][name] + 1e-6
        assert status["held_back_s"][name] <= share * time.perf_counter() + 1e-6


def test_processes_of_the_tree_are_own_and_others_foreign(probe, stranger):
    mine, other = Process(pid=os.getpid(), used_bytes=1 << 30, sm_percent=80), Process(pid=stranger, used_bytes=1 << 20, sm_percent=12)
    ours, theirs = probe(dataclasses.replace(ONE, processes=(mine, other)))["processes"]
    assert ours["own"] is True
    assert ours["sm_utilization"] == 0.8
    assert theirs == {
        "domain": "gpu:0",
        "device": ONE.uuid,
        "pid": stranger,
        "name": theirs["name"],
        "used_memory_bytes": 1 << 20,
        "sm_utilization": 0.12,
        "own": False,
    }
    assert theirs["name"].startswith("python")


def test_a_server_that_is_named_is_own(probe, stranger, monkeypatch):
    monkeypatch.setenv("PROBE_WATCH", str(stranger))
    mine, other = Process(pid=os.getpid(), used_bytes=5), Process(pid=stranger, used_bytes=5)
    assert [process["own"] for process in probe(dataclasses.replace(ONE, processes=(mine, other)))["processes"]] == [True, True]


def test_a_process_that_computed_nothing_has_no_share(probe):
    (found,) = probe(dataclasses.replace(ONE, processes=(Process(pid=os.getpid(), used_bytes=5),)))["processes"]
    assert (found["used_memory_bytes"], found["sm_utilization"]) == (5, None)


def test_a_driver_without_process_lists_knows_nobody(probe):
    kinds = ("nvmlDeviceGetComputeRunningProcesses_v3", "nvmlDeviceGetGraphicsRunningProcesses_v3")
    board = dataclasses.replace(ONE, processes=(Process(pid=os.getpid(), used_bytes=5),))
    assert probe(board, fail=tuple((kind, NOT_SUPPORTED) for kind in kinds))["processes"] == []


def test_a_driver_without_shares_still_lists_who_is_there(probe):
    board = dataclasses.replace(ONE, processes=(Process(pid=os.getpid(), used_bytes=5, sm_percent=50),))
    (found,) = probe(board, fail=(("nvmlDeviceGetProcessUtilization", NOT_THERE),))["processes"]
    assert (found["own"], found["sm_utilization"]) == (True, None)


def test_each_board_has_its_own_processes(probe):
    boards = [dataclasses.replace(board, processes=(Process(pid=os.getpid(), used_bytes=i),)) for i, board in enumerate(many_boards(3))]
    found = probe(*boards)["processes"]
    assert [(each["domain"], each["used_memory_bytes"]) for each in found] == [("gpu:0", 0), ("gpu:1", 1), ("gpu:2", 2)]
