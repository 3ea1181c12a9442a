from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_tpf.production import calibration as module
from pytest_tpf.production.calibration import (
    Calibration,
    CalibrationError,
    IdleReading,
    cache_folder,
    calibration_path,
    cpu_key,
    gpu_key,
    load_calibration,
    save_calibration,
)

SOME = Calibration(
    key="cpu:Some CPU:8 cores:4 threads",
    device="Some CPU",
    gemm_flops_per_s={"float32": 1.5e11, "bfloat16": 3e11},
    gemm_reasons={"float16": "cpu doesn't multiply float16"},
    copy_bytes_per_s=2e10,
    idle=IdleReading(power_w=31.5, trust="measured", meter="rapl"),
    created_at="2026-01-01T00:00:00+00:00",
    software={"torch": "2.13.0"},
)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("TPF_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_what_is_kept_is_found_again(folder):
    path = save_calibration(SOME)
    assert path.parent == folder
    assert load_calibration(SOME.key) == SOME
    assert [file.name for file in folder.iterdir()] == [path.name]


def test_another_machine_finds_nothing():
    save_calibration(SOME)
    assert load_calibration(SOME.key.replace("4 threads", "8 threads")) is None


def test_a_newer_calibration_replaces_the_older_one():
    save_calibration(SOME)
    newer = dataclasses.replace(SOME, copy_bytes_per_s=None)
    save_calibration(newer)
    assert load_calibration(SOME.key) == newer


def test_the_cache_folder(monkeypatch, tmp_path):
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("TPF_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "pytest-tpf"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "pytest-tpf"


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"key": "another"},
        {"gemm_flops_per_s": [1]},
        {"gemm_flops_per_s": {"float32": -1}},
        {"gemm_flops_per_s": {"float32": "fast"}},
        {"copy_bytes_per_s": 0},
        {"copy_bytes_per_s": True},
        {"idle": None},
        {"idle": {"power_w": float("inf")}},
    ],
)
def test_a_damaged_file_is_no_calibration(change):
    path = save_calibration(SOME)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    assert load_calibration(SOME.key) is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\x00", b"[" * 100_000, b" " * 2_000_000])
def test_a_file_that_is_no_calibration_at_all(content):
    path = save_calibration(SOME)
    path.write_bytes(content)
    assert load_calibration(SOME.key) is None


fields = st.sampled_from([field.name for field in dataclasses.fields(Calibration)])
edits = st.dictionaries(fields, st.none() | st.integers() | st.lists(st.text()) | st.text())


@given(edits)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_edit_gives_a_sound_calibration_or_none(folder, edit):
    path = save_calibration(SOME)
    path.write_text(json.dumps({**json.loads(path.read_text()), **edit}))
    found = load_calibration(SOME.key)
    assert found is None or all(rate > 0 for rate in found.gemm_flops_per_s.values())


def test_a_folder_that_cannot_be_made_is_one_clear_line(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TPF_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(CalibrationError, match="TPF_CACHE_DIR") as caught:
        save_calibration(SOME)
    assert "\n" not in str(caught.value)


def test_a_failing_disk_leaves_the_older_file_whole(monkeypatch, folder):
    save_calibration(SOME)

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "fsync", full)
    with pytest.raises(CalibrationError, match="No space left"):
        save_calibration(dataclasses.replace(SOME, copy_bytes_per_s=1.0))
    assert load_calibration(SOME.key) == SOME
    assert len(list(folder.iterdir())) == 1


def test_readers_never_see_half_a_file():
    save_calibration(SOME)
    other = dataclasses.replace(SOME, copy_bytes_per_s=7.0)
    stop = threading.Event()

    def write():
        for turn in range(40):
            save_calibration(other if turn % 2 else SOME)
        stop.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = set()
    while not stop.is_set():
        found = load_calibration(SOME.key)
        assert found is not None
        seen.add(found.copy_bytes_per_s)
    writer.join()
    assert seen <= {2e10, 7.0}


def test_keys_name_the_hardware():
    assert cpu_key(3).endswith(f"{os.cpu_count()} cores:3 threads")
    assert cpu_key(3) != cpu_key(4)
    assert gpu_key("GPU-1234", "580.1") == gpu_key("1234", "580.1") != gpu_key("1234", "581.0")
    assert "driver unknown" in gpu_key("1234", None)
    assert calibration_path("a") != calibration_path("b")


def test_the_default_key_is_of_the_threads_torch_has():
    torch = pytest.importorskip("torch")
    assert cpu_key() == cpu_key(torch.get_num_threads())


def test_reading_a_calibration_loads_no_torch():
    save_calibration(SOME)
    code = (
        "import sys; from pytest_tpf.production.calibration import cpu_key, load_calibration;"
        f"assert load_calibration({SOME.key!r}) and cpu_key(); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
