"""Boards whose state and whose other users are known: what a suite's report says of them."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import time
from contextlib import ExitStack

import pytest

from pytest_tpf.measure.exclusive import exclusive
from tests.plugin.test_progress import on_a_terminal
from tests.standin import Board, Process, Standin, StandinUnavailable

UUID = "GPU-22222222-3333-4444-5555-666666666666"
PLAIN = Board(uuid=UUID, base_w=300.0, counter_period_s=0.02, utilization_percent=0)

ONE = """
    @pytest.mark.tpf(boundary="device", max_joules_per_token=0.001)
    def test_it(model): model.generate(seconds=0.8)
"""


@pytest.fixture
def plugged(monkeypatch, tmp_path):
    def plug(**settings) -> None:
        try:
            environment = Standin(boards=(Board(**{**PLAIN_FIELDS, **settings}),)).environment(tmp_path)
        except StandinUnavailable as why:
            pytest.skip(str(why))
        for name, value in environment.items():
            monkeypatch.setenv(name, value)

    return plug


PLAIN_FIELDS = {name: getattr(PLAIN, name) for name in ("uuid", "base_w", "counter_period_s", "utilization_percent")}


@pytest.fixture
def stranger():
    """A process outside this one's tree: its parent has ended."""
    sleeper = "[sys.executable, '-c', 'import time; time.sleep(120)']"
    source = f"import subprocess, sys; print(subprocess.Popen({sleeper}, stdout=-3, stderr=-3).pid)"  # -3: DEVNULL
    pid = int(subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True).stdout)
    yield pid
    os.kill(pid, 9)


def test_the_state_of_a_quiet_board_is_in_the_record(suite, plugged):
    plugged(temperature_c=47, sm_clock_mhz=1755, cap_share=0.25)
    suite.run(ONE)
    test, accelerator = suite.test(), suite.report()["environment"]["accelerators"][0]
    (device,) = test["conditions"]["devices"]
    assert device["power_cap_fraction"] == pytest.approx(0.25, abs=0.001)
    assert device | {"power_cap_fraction": 0} == {
        "domain": "gpu:0",
        "temperature_start_c": 47.0,
        "temperature_end_c": 47.0,
        "sm_clock_start_mhz": 1755.0,
        "sm_clock_end_mhz": 1755.0,
        "sm_clock_mean_mhz": 1755.0,
        "memory_clock_mean_mhz": 3201.0,
        "thermal_fraction": 0.0,
        "power_brake_fraction": 0.0,
        "power_cap_fraction": 0,
        "source": "counter",
    }
    assert test["conditions"]["flags"] == []
    assert (accelerator["persistence_mode"], accelerator["ecc_mode"]) == (True, True)


def test_heat_and_a_brake_are_told(suite, plugged):
    plugged(thermal_share=0.04, brake_share=0.5, temperature_c=60, temperature_slope_c_per_s=20, heats_from_s=time.perf_counter())
    suite.run(ONE)
    test = suite.test()
    assert test["conditions"]["flags"] == ["throttled", "temperature_drift"]
    assert any("held back by heat in 4% of the window and by a power brake in 50% of the window" in each for each in test["warnings"])


def test_a_foreign_process_that_computes_is_listed_and_makes_a_fail_marginal(suite, plugged, stranger):
    ours, other = Process(pid=os.getpid(), used_bytes=1 << 30), Process(pid=stranger, used_bytes=1 << 20, sm_percent=30)
    plugged(processes=(ours, other))
    result = suite.run(ONE)
    test = suite.test()
    (process,) = test["conditions"]["foreign_processes"]
    assert (process["device"], process["pid"], process["used_memory_bytes"], process["sm_utilization"]) == (UUID, stranger, 1 << 20, 0.3)
    assert test["conditions"]["flags"] == ["shared_board"]
    assert test["energy"]["device_j"] is not None
    assert (test["budgets"][0]["verdict"], test["budgets"][0]["marginal"]) == ("fail", True)
    assert "its energy is an upper bound" in result.stdout.str()
    assert any(f"(pid {stranger}) computed on gpu:0 while idle power was taken" in each for each in test["warnings"])


def test_a_process_that_comes_while_the_test_runs_is_told(suite, plugged, stranger):
    coming = Process(pid=stranger, used_bytes=1 << 20, from_s=time.perf_counter() + 4.0)
    plugged(processes=(Process(pid=os.getpid(), used_bytes=1 << 30), coming))
    suite.run("""
        import time

        @pytest.mark.tpf(boundary="device")
        def test_it(model):
            model.generate(seconds=6)
    """).assert_outcomes(passed=1)
    assert suite.test()["conditions"]["flags"] == ["shared_board"]


def test_a_resident_neighbour_that_sleeps_disturbs_nothing(suite, plugged, stranger):
    plugged(processes=(Process(pid=os.getpid(), used_bytes=1 << 30), Process(pid=stranger, used_bytes=1 << 20)))
    suite.run(ONE)
    test = suite.test()
    assert [process["pid"] for process in test["conditions"]["foreign_processes"]] == [stranger]
    assert test["conditions"]["flags"] == []
    assert test["energy"]["idle_power_w"] == pytest.approx(300.0, rel=0.01)
    assert test["energy"]["idle_uncertainty_w"] < 15.0
    assert test["energy"]["net_uncertainty_j"] >= test["energy"]["uncertainty_j"]


def test_whoever_measures_the_board_for_too_long_is_named(suite, plugged, monkeypatch):
    plugged()
    monkeypatch.setattr(importlib.import_module("pytest_tpf.session"), "LOCK_LIMIT_S", 0.1)
    with exclusive([UUID], 1.0):
        suite.run(ONE)
    test = suite.test()
    assert test["energy"]["reasons"] == ["contended"]
    assert any(warning.startswith(f"pid {os.getpid()} (") and "measured gpu:0 for more than" in warning for warning in test["warnings"])


def test_a_run_is_patient_once_with_whoever_keeps_the_board(suite, plugged, monkeypatch):
    plugged()
    session = importlib.import_module("pytest_tpf.session")
    monkeypatch.setattr(session, "LOCK_LIMIT_S", 2.0)
    monkeypatch.setattr(session, "IMPATIENT_S", 1.0)
    with exclusive([UUID], 1.0):
        suite.run("""
            @pytest.mark.tpf(boundary="device")
            @pytest.mark.parametrize("n", range(3))
            def test_it(model, n): model.generate(seconds=0.2)
        """)
    kept = [next(warning for warning in test["warnings"] if "measured gpu:0" in warning) for test in suite.report()["tests"]]
    assert [warning.rpartition("for ")[2] for warning in kept] == ["more than 2 s", "more than 1 s", "more than 1 s"]


def test_a_folder_without_locks_leaves_the_energy_and_a_code(suite, plugged, monkeypatch, tmp_path):
    plugged()
    monkeypatch.setattr(importlib.import_module("pytest_tpf.measure.exclusive"), "_common_folder", lambda: tmp_path / "missing")
    suite.run(ONE)
    test = suite.test()
    assert test["energy"]["device_j"] is not None
    assert test["conditions"]["flags"] == ["not_exclusive"]
    assert any("gpu:0 could be measured by others meanwhile: the lock file" in warning for warning in test["warnings"])


@pytest.mark.filterwarnings("ignore:.*use of forkpty.*:DeprecationWarning")
def test_a_wait_is_shown_on_the_terminal_and_cleared(suite, plugged):
    plugged()
    suite.write("""
        @pytest.mark.tpf(boundary="device")
        def test_it(model): model.generate(seconds=0.3)
    """)
    with ExitStack() as stack:
        stack.enter_context(exclusive([UUID], 1.0))
        text = on_a_terminal(suite, watch=lambda text: stack.close() if "waiting for" in text else None)
    assert f"waiting for pid {os.getpid()} (" in text
    assert text.rindex("\x1b7\x1b[K\x1b8") > text.rindex("waiting for")
    assert "1 passed" in text
