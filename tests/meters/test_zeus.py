"""The zeus meter: the real Zeus on the compiled NVML stand-in, whose true energy is known.

For AMD and Apple silicon it runs on stand-ins for the Python bindings below it, which shows that the two understand each other and nothing
about the hardware. A Jetson is known by files that only it has.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks.peers import zeus_package
from tests.meters.powercap_tree import zone
from tests.meters.zeusd import CPU_W, DRAM_W, zeusd
from tests.standin import Board, Standin, StandinUnavailable, build_library, many_boards

ROOT = Path(__file__).parents[2]
BINDINGS = Path(__file__).with_name("bindings")
ONE = Board(uuid="GPU-11111111-0000-4000-8000-000000000000", name="NVIDIA H100 80GB HBM3")
NVIDIA_AND_AMD = ("CUDA_", "HIP_", "ROCR_", "ZEUSD_")


@pytest.fixture(scope="module")
def zeus_folder():
    folder = zeus_package()
    if folder is None:
        pytest.skip("Zeus can't be installed here (no network?)")
    return folder


@pytest.fixture
def run(tmp_path, zeus_folder):
    """Probe in a process of its own, without boards unless its environment brings the stand-in."""

    def run(count=1, pause_s=0.0, rapl="", path=zeus_folder, **env):
        clean = {key: value for key, value in os.environ.items() if not key.startswith(NVIDIA_AND_AMD)}
        command = [sys.executable, "-m", "tests.meters.zeus_probe", str(count), str(pause_s), rapl]
        paths = {"PYTHONPATH": f"{ROOT}:{path}"}
        done = subprocess.run(command, env={**clean, **paths, **env}, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


@pytest.fixture
def probe(run, tmp_path):
    """Probe these boards."""
    try:
        build_library()
    except StandinUnavailable as reason:
        pytest.skip(str(reason))

    def probe(*boards, count=1, pause_s=0.0, env=None, **standin):
        return run(count, pause_s, **Standin(boards=boards, **standin).environment(tmp_path), **(env or {}))

    return probe


def mean_w(rows):
    """Mean power between the first and the last reading of a counter."""
    (first, j0, _), (last, j1, _) = rows[0], rows[-1]
    return (j1 - j0) / (last - first)


def test_a_board_gives_zeus_counter_and_gauge_in_joules_and_watts(probe):
    board = dataclasses.replace(ONE, base_w=321.0, counter_period_s=0.0, energy_offset_j=7.0)
    found = probe(board, count=3, pause_s=0.2)
    counter, gauge = found["channels"]
    assert (counter["meter"], counter["domain"], counter["method"]) == ("zeus", "gpu:0", "zeus_nvidia_energy_counter")
    assert (gauge["domain"], gauge["method"], gauge["averaging_s"]) == ("gpu:0", "zeus_nvidia_power_instant", None)
    assert [counter["energy"], gauge["energy"]] == [True, False]
    assert [counter["stepped"], gauge["stepped"]] == [True, False]
    assert counter["device"] == ONE.uuid
    for before, joules, after in found["readings"][0]:
        assert board.counter_j(before) - 0.0011 <= joules <= board.counter_j(after) + 0.0011
    assert found["readings"][1][0][1] == pytest.approx(321.0, abs=0.001)


def test_the_board_is_described_as_the_driver_does(probe):
    found = probe(dataclasses.replace(ONE, power_limit_w=650.0, utilization_percent=40))
    (board,) = found["accelerators"]
    assert (board["uuid"], board["name"], board["power_limit_w"]) == (ONE.uuid, ONE.name, 650.0)
    (status,) = found["statuses"]
    assert (status["utilization"], status["power_limit_w"]) == (0.4, 650.0)


def test_neither_torch_nor_scikit_learn_is_imported(probe):
    assert probe(ONE)["heavy"] == []


@pytest.mark.parametrize(
    ("visible", "indices"),
    [("GPU-00000002", [2]), ("GPU-00000003,GPU-00000001", [3, 1]), ("1,3", [1, 3]), ("2,9", [2])],
)
def test_the_visible_boards_are_read_and_no_others(probe, visible, indices):
    boards = [dataclasses.replace(b, base_w=100.0 * (i + 1), counter_period_s=0.0) for i, b in enumerate(many_boards(4))]
    found = probe(*boards, count=2, pause_s=0.2, env={"CUDA_VISIBLE_DEVICES": visible})
    counters = [(c, rows) for c, rows in zip(found["channels"], found["readings"], strict=True) if c["energy"]]
    assert [counter["domain"] for counter, _ in counters] == [f"gpu:{index}" for index in indices]
    assert [counter["device"] for counter, _ in counters] == [boards[index].uuid for index in indices]
    assert [mean_w(rows) for _, rows in counters] == pytest.approx([100.0 * (index + 1) for index in indices], rel=0.05)


@pytest.mark.parametrize("visible", ["MIG-3a1b", "", "0,0", "9"])
def test_no_visible_board_is_no_meter_and_never_zero_joules(probe, visible):
    text = probe(*many_boards(2), env={"CUDA_VISIBLE_DEVICES": visible})["unavailable"]
    assert text.startswith("Zeus finds nothing to read: GPU: none of 2 NVIDIA boards can be metered; CUDA_VISIBLE_DEVICES")
    assert "\n" not in text


def test_nothing_to_read_is_said_with_what_helps(probe):
    text = probe(init_error=9)["unavailable"]
    assert text.startswith("Zeus finds nothing to read: GPU: the NVIDIA driver is not loaded: sudo modprobe nvidia")
    assert "SoC: No observable SoC" in text


def test_a_board_without_a_counter_gives_its_gauge(probe):
    found = probe(dataclasses.replace(ONE, counter_supported=False, base_w=222.0))
    (gauge,) = found["channels"]
    assert (gauge["quantity"], gauge["energy"]) == ("power_w", True)
    assert found["readings"][0][0][1] == pytest.approx(222.0, abs=0.001)
    assert "has no energy counter" in found["notes"][0]


@pytest.mark.stress
def test_a_lost_board_is_a_fault_with_its_code(probe):
    found = probe(dataclasses.replace(ONE, lost_at_s=time.perf_counter() + 2.5), count=2, pause_s=3.0)
    before, after = found["readings"][0]
    assert isinstance(before[1], float)
    assert after[1][0] == "device_lost"
    assert "gpu:0 (NVIDIA H100 80GB HBM3)" in after[1][1]


def test_processors_are_read_from_zeus_daemon(run, tmp_path):
    zone(tmp_path, "intel-rapl:0", "package-0")
    with zeusd(tmp_path) as socket:
        found = run(2, 0.3, str(tmp_path), ZEUSD_SOCK_PATH=str(socket))
    cpu, dram = found["channels"]
    assert [cpu["domain"], dram["domain"]] == ["cpu:0", "dram:0"]
    assert cpu["method"] == "zeusd_rapl_cpu_counter"
    assert [mean_w(rows) for rows in found["readings"]] == pytest.approx([CPU_W, DRAM_W], rel=0.05)
    assert any(note.startswith("zeus reads no GPU: ") for note in found["notes"])


def test_a_daemon_that_is_not_there_is_said(run, tmp_path):
    zone(tmp_path, "intel-rapl:0", "package-0")
    text = run(1, 0.0, str(tmp_path), ZEUSD_SOCK_PATH=str(tmp_path / "nobody.sock"))["unavailable"]
    assert f"processor: Cannot reach Zeusd at {tmp_path / 'nobody.sock'}" in text


def test_without_zeus_the_remedy_is_named(run, tmp_path):
    (tmp_path / "zeus.py").write_text("'''Another package of that name.'''\n")
    text = run(path=tmp_path)["unavailable"]
    assert text == "Zeus 0.13 or later is not installed: pip install 'pytest-tpf[zeus]'"


def amd_gpus(*watts, **more):
    """Boards whose HIP order is not that of the bus, as on some nodes."""
    return json.dumps([{"hip_id": len(watts) - 1 - n, "watts": w, **more} for n, w in enumerate(watts)])


def counters(found):
    return {channel["domain"]: rows for channel, rows in zip(found["channels"], found["readings"], strict=True) if channel["energy"]}


def test_amd_boards_are_known_by_their_hip_index(run, zeus_folder):
    found = run(2, 0.3, path=f"{zeus_folder}:{BINDINGS}", AMDSMI_STANDIN=amd_gpus(300.0, 500.0))
    assert {domain: mean_w(rows) for domain, rows in counters(found).items()} == pytest.approx({"gpu:0": 500.0, "gpu:1": 300.0}, rel=0.02)
    assert [channel["method"] for channel in found["channels"]] == ["zeus_amd_energy_counter", "zeus_amd_power_instant"] * 2
    assert found["readings"][1][0][1] == 500.0
    board = found["accelerators"][1]
    assert (board["domain"], board["name"], board["power_limit_w"]) == ("gpu:1", "AMD Instinct MI300X", 750.0)
    assert board["uuid"] == found["channels"][2]["device"] == "000174a1-0000-1000-80ff-000000000000"


def test_an_amd_counter_that_does_not_count_leaves_the_gauge(run, zeus_folder):
    gpus = amd_gpus(300.0, counter=False, instant=False)
    found = run(path=f"{zeus_folder}:{BINDINGS}", AMDSMI_STANDIN=gpus)
    (gauge,) = found["channels"]
    assert (gauge["method"], gauge["energy"], gauge["averaging_s"]) == ("zeus_amd_power_average", True, None)


def test_visible_amd_boards_are_read_and_no_others(run, zeus_folder):
    amd = {"path": f"{zeus_folder}:{BINDINGS}", "AMDSMI_STANDIN": amd_gpus(300.0, 500.0, 700.0)}
    found = run(2, 0.3, HIP_VISIBLE_DEVICES="2, 0", **amd)
    assert {domain: mean_w(rows) for domain, rows in counters(found).items()} == pytest.approx({"gpu:2": 300.0, "gpu:0": 700.0}, rel=0.02)
    uuids = run(HIP_VISIBLE_DEVICES="GPU-00011bc4", **amd)["unavailable"]
    assert "HIP_VISIBLE_DEVICES='GPU-00011bc4' is not a list of indices, and Zeus understands nothing else" in uuids
    hidden = run(ROCR_VISIBLE_DEVICES="0", **amd)["unavailable"]
    assert "ROCR_VISIBLE_DEVICES hides GPUs from the program but not from Zeus" in hidden
    missing = run(HIP_VISIBLE_DEVICES="7", **amd)["unavailable"]
    assert "GPU with HIP index 7 not found" in missing


def test_the_parts_of_an_apple_chip_are_domains(run, zeus_folder):
    found = run(2, 0.3, path=f"{zeus_folder}:{BINDINGS}", ZEUS_PROBE_CHIP="apple", AMDSMI_STANDIN="[]")
    expected = {"cpu:0": 12.0, "gpu:0": 20.5, "dram:0": 2.0, "ane:0": 3.0}
    assert {domain: mean_w(rows) for domain, rows in counters(found).items()} == pytest.approx(expected, rel=0.02)
    assert {channel["method"] for channel in found["channels"]} == {"zeus_apple_energy_counter"}
    assert found["notes"] == []
