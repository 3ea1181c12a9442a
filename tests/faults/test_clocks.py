"""Clocks that step and machines that sleep: local meters are read by CLOCK_MONOTONIC, which does neither."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.faults.windows import energies, window
from tests.standin import Board

SHIM = Path(__file__).with_name("clock_shim.c")
BOARD = Board(base_w=300.0, counter_period_s=0.02)
YEAR_S = 365 * 24 * 3600


@pytest.fixture
def stepping(tmp_path, monkeypatch):
    """From now on processes see clocks that step when they are told to."""
    compiler = shutil.which(os.environ.get("CC", "gcc"))
    if compiler is None:
        pytest.skip("no C compiler")
    library = tmp_path / "clock_shim.so"
    done = subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", library, SHIM], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"the clocks can't be shimmed here: {done.stderr.strip()}")
    monkeypatch.setenv("LD_PRELOAD", str(library))

    def step(at_s: float, wall_s: float = 0.0, boot_s: float = 0.0) -> None:
        monkeypatch.setenv("STEP_AT_S", str(at_s))
        monkeypatch.setenv("WALL_STEP_S", str(wall_s))
        monkeypatch.setenv("BOOT_STEP_S", str(boot_s))

    return step


STEPPED = """
    import time

    @pytest.mark.tpf(boundary="device", max_joules_per_token=1000)
    def test_it(model, tpf):
        with tpf.measure():
            before, began = time.time(), time.perf_counter()
            model.generate(seconds=0.2)
            while abs(time.time() - before) < 1000 and time.perf_counter() < began + 20:  # until the time of day has stepped
                model.generate(seconds=0.05)
            tpf.extra["stepped"] = abs(time.time() - before) > 1000
            model.generate(seconds=0.2)
"""


@pytest.mark.parametrize("wall_s", [-YEAR_S, pytest.param(+YEAR_S, marks=pytest.mark.stress)])
def test_a_step_of_the_time_of_day_in_a_window_changes_no_energy(suite, plugged, stepping, wall_s):
    plugged(BOARD)
    stepping(time.perf_counter() + 3.0, wall_s=wall_s)
    suite.run(STEPPED, subprocess=True).assert_outcomes(passed=1)
    report, test = suite.report(), suite.test()
    assert test["extra"]["stepped"]
    assert test["energy"]["valid"]
    assert 0.2 < test["service"]["duration_s"] < 60
    assert test["energy"]["device_j"] == pytest.approx(300.0 * test["service"]["duration_s"], rel=0.02)
    # Only the report's date is a time of day, and it is the machine's.
    stepped = datetime.now(UTC) + timedelta(seconds=wall_s)
    assert abs(datetime.fromisoformat(report["created_at"]) - stepped) < timedelta(hours=1)


def test_a_suspended_machine_makes_the_window_invalid_and_the_next_is_well(plugged, stepping, sampler):
    at_s = time.perf_counter() + 1.5
    plugged(BOARD)
    stepping(at_s, boot_s=3600.0)
    mine = sampler("nvml")
    mine.arm()
    assert time.perf_counter() < at_s, "the machine is too slow for this test's clock"
    recording, span = window(mine, at_s - time.perf_counter() + 0.3)
    energy = energies(recording, span)["gpu:0"]
    assert (energy.joules, energy.reasons) == (None, ("suspended",))
    assert recording.traces[0].faults[0].text == "the machine was suspended for 3600.0 s"
    recording, span = window(mine, 0.3)
    assert energies(recording, span)["gpu:0"].joules == pytest.approx(300.0 * (span[1] - span[0]), rel=0.02)


SLEEPER = """
import os, sys, time
from pytest_tpf.measure.sampler import Sampler
from pytest_tpf.meters.protocol import MeterOptions
from tests.faults.windows import energies
sampler = Sampler(["nvml"], MeterOptions(watched_pid=os.getpid()))
sampler.start()
sampler.arm()
t0 = time.perf_counter()
print(sampler.pid, flush=True)
sys.stdin.readline()
time.sleep(0.2)
t1 = time.perf_counter()
energy = energies(sampler.collect(t0, t1), (t0, t1))["gpu:0"]
print(t1 - t0, energy.joules, energy.half_width_j, *energy.reasons)
sampler.close()
"""


def test_test_and_helper_stopped_for_seconds_and_continued(plugged):
    """As a frozen container or a laptop's lid leaves them, with the clock going on: all energy is there, or the gap is told."""
    plugged(BOARD)
    with subprocess.Popen([sys.executable, "-c", SLEEPER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        helper = int(process.stdout.readline())
        time.sleep(0.3)
        for pid in (process.pid, helper):
            os.kill(pid, signal.SIGSTOP)
        time.sleep(2.0)
        for pid in (helper, process.pid):
            os.kill(pid, signal.SIGCONT)
        time.sleep(0.3)
        length_s, joules, half_width_j, *reasons = process.communicate("\n", timeout=60)[0].split()
    assert float(length_s) > 2.0
    if joules == "None":
        assert reasons
    else:
        assert abs(float(joules) - 300.0 * float(length_s)) <= 2 * float(half_width_j)


def test_in_a_time_namespace_the_clocks_of_test_and_helper_are_one(plugged, tmp_path):
    """Containers may shift CLOCK_MONOTONIC (unshare -T); both ends are shifted alike."""
    shift = ["unshare", "--time", "--monotonic", "100000", "--boottime", "200000"]
    if shutil.which("unshare") is None or subprocess.run([*shift, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no time namespaces for this user")
    plugged(BOARD)
    done = subprocess.run([*shift, sys.executable, "-c", SLEEPER], input="\n", capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    length_s, joules, *_ = done.stdout.splitlines()[1].split()
    assert joules == "None" or float(joules) == pytest.approx(300.0 * float(length_s), rel=0.3)
