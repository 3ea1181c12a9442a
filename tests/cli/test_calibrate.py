from __future__ import annotations

import argparse
import importlib.util
import json

import pytest

from pytest_tpf.cli import calibrate as module
from pytest_tpf.cli.calibrate import add_arguments, calibrate, measure
from pytest_tpf.production.calibration import IdleReading, calibration_path, cpu_key, load_calibration

QUICK = ["--device", "cpu", "--seconds", "0.02"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    pytest.importorskip("torch")
    monkeypatch.setenv("TPF_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def run(capsys):
    """Run ``tpf calibrate`` with arguments: (exit code, stdout, stderr)."""

    def call(*arguments):
        parser = argparse.ArgumentParser()
        add_arguments(parser)
        code = calibrate(parser.parse_args([*QUICK, *arguments]))
        return code, *capsys.readouterr()

    return call


def test_measures_prints_and_keeps(run, folder):
    code, out, err = run("--idle-seconds", "0")
    assert (code, err) == (0, "")
    kept = load_calibration(cpu_key())
    assert set(kept.gemm_flops_per_s) | set(kept.gemm_reasons) == {"float32", "bfloat16", "float16"}
    assert kept.gemm_flops_per_s["float32"] > 0
    assert kept.copy_bytes_per_s > 0
    assert kept.software["torch"]
    kept_in = f"kept in {calibration_path(cpu_key())}"
    for part in ("float32 products", "TFLOP/s", "memory copy", "GB/s", "left out by --idle-seconds 0", kept_in):
        assert part in out


def test_only_the_dtypes_asked_for(run):
    assert run("--dtype", "float32", "--idle-seconds", "0")[0] == 0
    assert set(load_calibration(cpu_key()).gemm_flops_per_s) == {"float32"}


def test_idle_power_comes_from_the_sampler_with_its_trust(run):
    code, out, _ = run("--dtype", "float32", "--idle-seconds", "0.5", "--meter", "estimate")
    assert code == 0
    idle = load_calibration(cpu_key()).idle
    assert idle.trust == "estimated"
    assert idle.power_w > 0
    assert "estimated" in out


def test_no_meter_is_a_reason_and_no_failure(run, monkeypatch):
    code, out, _ = run("--dtype", "float32", "--idle-seconds", "0.5", "--meter", "nvml")
    idle = load_calibration(cpu_key()).idle
    if idle.power_w is not None:
        pytest.skip("this machine has an NVIDIA board")
    assert code == 0
    assert idle.reason
    assert f"idle power: {idle.reason}" in out


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--dtype", "float7"], "unknown --dtype 'float7'"),
        (["--dtype", ","], "names no number format"),
        (["--seconds", "0"], "--seconds is 0"),
        (["--seconds", "nan"], "--seconds is nan"),
        (["--idle-seconds", "-1"], "--idle-seconds is -1"),
        (["--device", "tpu"], "--device 'tpu' is unknown"),
        (["--device", "cuda:x"], "--device 'cuda:x' is unknown"),
        (["--device", "cuda:99"], "torch sees"),
    ],
)
def test_unusable_arguments_are_one_line_and_exit_2(run, folder, arguments, text):
    code, out, err = run("--idle-seconds", "0", *arguments)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert err.startswith("tpf calibrate: ")
    assert text in err
    assert not folder.exists()


def test_without_torch_one_line_says_what_to_install(run, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name, *rest: None if name == "torch" else find(name, *rest))
    code, out, err = run()
    assert (code, out) == (2, "")
    assert err == "tpf calibrate: torch isn't installed: pip install pytest-tpf[transformers]\n"


def test_a_cache_that_cannot_be_written_exits_1_after_the_table(run, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TPF_CACHE_DIR", str(tmp_path / "file"))
    code, out, err = run("--dtype", "float32", "--idle-seconds", "0")
    assert code == 1
    assert "float32 products" in out
    assert "TPF_CACHE_DIR" in err
    assert err.count("\n") == 1


def test_the_injected_idle_reading_is_recorded():
    reading = IdleReading(power_w=12.5, trust="measured", meter="wall")
    assert measure("cpu", ("float32",), 0.01, lambda: reading).idle == reading


def test_a_dtype_the_device_does_not_do_is_left_out_with_its_reason():
    calibration = measure("cpu", ("float32", "float7"), 0.01, lambda: IdleReading(power_w=None, reason="no meter"))
    assert "float7" not in calibration.gemm_flops_per_s
    assert "float7" in calibration.gemm_reasons["float7"]
    assert json.dumps(calibration.gemm_reasons)
