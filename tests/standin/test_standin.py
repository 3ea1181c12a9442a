"""The stand-in is the ruler of every energy test, so it is checked first: C against Python, integrals against sums."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.standin import DRIVER_NOT_LOADED, GPU_IS_LOST, Board, Drive, Process, Standin, StandinUnavailable, build_library, many_boards

SHAPES: tuple[Board, ...] = (
    Board(base_w=300.0),
    Board(shape="square", base_w=100.0, swing_w=500.0, period_s=0.073, duty=0.3, phase_s=0.011),
    Board(shape="sine", base_w=400.0, swing_w=300.0, period_s=0.31, phase_s=0.2),
    Board(shape="step", base_w=90.0, swing_w=610.0, step_at_s=3.0, step_until_s=7.5),
)


@pytest.fixture(scope="module", autouse=True)
def _compiled() -> None:
    try:
        build_library()
    except StandinUnavailable as reason:
        pytest.skip(str(reason))


def run(standin: Standin, folder: Path, script: str) -> object:
    env = {**os.environ, **standin.environment(folder)}
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


READ_COUNTERS = """
import json, time
from pynvml import *
nvmlInit()
out = []
for i in range(nvmlDeviceGetCount()):
    h, rows = nvmlDeviceGetHandleByIndex(i), []
    for _ in range(40):
        t0 = time.perf_counter()
        value = nvmlDeviceGetTotalEnergyConsumption(h)
        rows.append((t0, value / 1000, time.perf_counter()))
        time.sleep(0.003)
    out.append(rows)
print(json.dumps(out))
"""


def test_the_library_latches_the_counter_that_python_predicts(tmp_path):
    boards = tuple(
        Board(
            shape=b.shape,
            base_w=b.base_w,
            swing_w=b.swing_w,
            period_s=b.period_s,
            phase_s=b.phase_s,
            duty=b.duty,
            counter_period_s=0.02,
            counter_jitter_s=0.004,
            energy_offset_j=12.5,
            gain=0.95,
            seed=i,
        )
        for i, b in enumerate(SHAPES)
    )
    for board, rows in zip(boards, run(Standin(boards=boards), tmp_path, READ_COUNTERS), strict=True):
        assert len({value for _, value, _ in rows}) > 3, "the counter must move"
        for before, value, after in rows:
            # The read is somewhere between the two clocks: its value is that of one of the refreshes seen there.
            assert board.counter_j(before) - 0.0011 <= value <= board.counter_j(after) + 0.0011


@given(
    board=st.sampled_from(SHAPES),
    t0=st.floats(0, 10),
    span=st.floats(0.001, 3),
)
def test_true_energy_is_the_integral_of_power(board, t0, span):
    steps = 20_000
    width = span / steps
    total = math.fsum(board.power_w(t0 + (i + 0.5) * width) for i in range(steps)) * width
    # The midpoint rule errs by at most one cell for every jump of the power.
    jumps = 2 + 2 * span / board.period_s
    assert board.true_energy_j(t0, t0 + span) == pytest.approx(total, abs=jumps * abs(board.swing_w) * width + 1e-6 * total)


@given(
    period=st.floats(0.01, 0.5),
    jitter=st.floats(0, 0.49),
    phase=st.floats(-1, 1),
    t=st.floats(0, 1e6),
)
def test_a_refresh_is_never_in_the_future_nor_older_than_a_period_and_its_jitter(period, jitter, phase, t):
    board = Board(counter_period_s=period, counter_jitter_s=jitter * period, counter_phase_s=phase)
    age = t - board.last_refresh_s(t)
    assert -1e-9 <= age <= period * (1 + 2 * jitter) + 1e-6


def test_power_gauges_average_over_their_own_windows(tmp_path):
    now = time.perf_counter()
    step = Board(shape="step", base_w=100.0, swing_w=500.0, step_at_s=now - 0.4, step_until_s=now + 1000, power_period_s=0.0)
    script = """
import json, time
from pynvml import *
nvmlInit()
h = nvmlDeviceGetHandleByIndex(0)
t = time.perf_counter()
a, i, e = nvmlDeviceGetFieldValues(h, [NVML_FI_DEV_POWER_AVERAGE, NVML_FI_DEV_POWER_INSTANT, NVML_FI_DEV_TOTAL_ENERGY_CONSUMPTION])
m = nvmlDeviceGetFieldValues(h, [(NVML_FI_DEV_POWER_INSTANT, NVML_POWER_SCOPE_MODULE)])[0].nvmlReturn
print(json.dumps([t, a.value.uiVal / 1000, i.value.uiVal / 1000, nvmlDeviceGetPowerUsage(h) / 1000, m, e.value.ullVal / 1000]))
"""
    t, average, instant, usage, module_scope, energy = run(Standin(boards=(step,)), tmp_path, script)
    assert instant == pytest.approx(600.0)
    assert average == pytest.approx(step.true_energy_j(t - 1, t), abs=5.0)  # the call comes up to 10 ms after t
    assert usage == pytest.approx(average, abs=5.0)
    assert module_scope == 3
    assert energy > 0


FAULTS = """
import json, time
from pynvml import *
def code(call, *args):
    try:
        call(*args)
        return 0
    except NVMLError as error:
        return error.value
nvmlInit()
h = [nvmlDeviceGetHandleByIndex(i) for i in range(nvmlDeviceGetCount())]
first = code(nvmlDeviceGetTotalEnergyConsumption, h[0])
before = nvmlDeviceGetTotalEnergyConsumption(h[1])
while time.perf_counter() < END:
    time.sleep(0.05)
print(json.dumps({
    "before_lost": first, "lost": code(nvmlDeviceGetTotalEnergyConsumption, h[0]), "lost_name": code(nvmlDeviceGetName, h[0]),
    "before_reset": before, "after_reset": nvmlDeviceGetTotalEnergyConsumption(h[1]),
    "no_counter": code(nvmlDeviceGetTotalEnergyConsumption, h[2]), "no_power": code(nvmlDeviceGetPowerUsage, h[2]),
    "missing": code(nvmlDeviceGetTemperatureV, h[2], NVML_TEMPERATURE_GPU),
    "processes": [(p.pid, p.usedGpuMemory) for p in nvmlDeviceGetComputeRunningProcesses(h[2])],
    "by_uuid": nvmlDeviceGetIndex(nvmlDeviceGetHandleByUUID(nvmlDeviceGetUUID(h[2]))),
    "mig": nvmlDeviceGetMigMode(h[2]), "memory": nvmlDeviceGetMemoryInfo(h[2]).total, "bus": nvmlDeviceGetPciInfo(h[2]).busId,
}))
"""


def test_faults_happen_when_they_are_set_to(tmp_path):
    end = time.perf_counter() + 1.5
    lost, reset, bare = many_boards(3)
    boards = (
        Board(uuid=lost.uuid, lost_at_s=end),
        Board(uuid=reset.uuid, pci_bus_id=reset.pci_bus_id, reset_at_s=end - 0.01, counter_period_s=0.0, energy_offset_j=1e6),
        Board(
            uuid=bare.uuid,
            pci_bus_id=bare.pci_bus_id,
            counter_supported=False,
            power_supported=False,
            mig=1,
            processes=(Process(pid=123, used_bytes=456),),
        ),
    )
    fail = (("nvmlDeviceGetTemperatureV", 13),)
    seen = run(Standin(boards=boards, fail=fail), tmp_path, FAULTS.replace("END", repr(end)))
    assert (seen["before_lost"], seen["lost"], seen["lost_name"]) == (0, GPU_IS_LOST, GPU_IS_LOST)
    assert seen["after_reset"] < 1_000_000_000 <= seen["before_reset"]
    assert (seen["no_counter"], seen["no_power"], seen["missing"]) == (3, 3, 13)
    assert seen["processes"] == [[123, 456]]
    assert (seen["by_uuid"], seen["mig"], seen["memory"], seen["bus"]) == (2, [1, 1], 80 * 1024**3, bare.pci_bus_id)


def test_initialising_can_fail(tmp_path):
    script = """
import json
from pynvml import *
try:
    nvmlInit()
except NVMLError as error:
    print(json.dumps([error.value, str(error)]))
"""
    code, text = run(Standin(init_error=DRIVER_NOT_LOADED), tmp_path, script)
    assert code == DRIVER_NOT_LOADED
    assert "Driver Not Loaded" in text


def test_an_impossible_jitter_is_refused():
    with pytest.raises(ValueError, match="half"):
        Board(counter_period_s=0.1, counter_jitter_s=0.06)


def test_a_call_takes_as_long_as_it_is_told_to(tmp_path):
    script = READ_COUNTERS.replace("range(40)", "range(5)")
    (rows,) = run(Standin(boards=(Board(latency_s=0.002),)), tmp_path, script)
    assert all(after - before >= 0.002 for before, _, after in rows)


def test_a_board_follows_a_waveform_that_grows_while_it_is_read(tmp_path):
    drive = Drive(tmp_path / "drive", capacity=200)
    board = Board(base_w=50.0, drive=str(drive.path), counter_period_s=0.004)
    start = time.perf_counter() + 1.0
    for turn in range(150):
        drive.set(100.0 + 37.0 * (turn % 7), at_s=start + 0.01 * turn)
    command = [sys.executable, "-c", READ_COUNTERS.replace("range(40)", "range(300)")]
    with subprocess.Popen(command, env={**os.environ, **Standin(boards=(board,)).environment(tmp_path)}, stdout=subprocess.PIPE) as reader:
        time.sleep(max(0.0, start + 0.5 - time.perf_counter()))
        drive.set(999.0, at_s=start + 1.6)
        (rows,) = json.loads(reader.stdout.read())
    assert len(rows) == 300
    for before, joules, after in rows:
        assert board.counter_j(before) - 0.0011 <= joules <= board.counter_j(after) + 0.0011
    assert board.true_energy_j(start - 1.0, start) == pytest.approx(50.0)
    assert board.true_energy_j(start, start + 0.03) == pytest.approx(0.01 * (100.0 + 137.0 + 174.0))
    assert board.true_energy_j(start + 2.0, start + 3.0) == pytest.approx(999.0)
