"""``tpf calibrate``: measure what this machine can do, and keep it for the ceilings of later reports."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from pytest_tpf.production.calibration import (
    Calibration,
    CalibrationError,
    IdleReading,
    cpu_key,
    cpu_model,
    gpu_key,
    save_calibration,
)
from pytest_tpf.production.gemm import DTYPES, SECONDS, copy_bytes_per_s, gemm_flops_per_s


class _Unusable(Exception):
    """The arguments can't be used here; the text is one line."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``tpf calibrate``."""
    parser.add_argument("--device", default="auto", help="auto (cuda where there is one), cpu, cuda or cuda:N (default: auto)")
    parser.add_argument("--dtype", default=",".join(DTYPES), help=f"number formats to multiply (default: {','.join(DTYPES)})")
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"time for each measurement (default: {SECONDS})")
    parser.add_argument("--idle-seconds", type=float, default=2.0, help="time for idle power, 0 leaves it out (default: 2)")
    parser.add_argument("--meter", default="auto", help="meters for idle power, as for --tpf-meter (default: auto)")


def calibrate(args: argparse.Namespace) -> int:
    """Measure, print a table, keep the calibration. Exit code: 0 done, 1 nothing could be measured or kept, 2 unusable arguments."""
    try:
        dtypes = _checked(args)
        device = _device(args.device)
        calibration = measure(device, dtypes, args.seconds, lambda: _idle(args.idle_seconds, args.meter))
        print(_table(calibration))
        if not calibration.gemm_flops_per_s and calibration.copy_bytes_per_s is None:
            raise CalibrationError(f"nothing could be measured on {calibration.device}")
        print(f"kept in {save_calibration(calibration)}")
    except (_Unusable, CalibrationError) as error:
        print(f"tpf calibrate: {error}", file=sys.stderr)
        return 2 if isinstance(error, _Unusable) else 1
    return 0


def measure(device: str, dtypes: tuple[str, ...], seconds: float, measure_idle: Callable[[], IdleReading]) -> Calibration:
    """The calibration of ``device`` (torch's name); what can't be measured is left out with its reason.

    Raises:
        CalibrationError: the device can't be told from others of its kind.
    """
    idle = measure_idle()  # first: what follows heats the machine up
    rates: dict[str, float] = {}
    reasons: dict[str, str] = {}
    for dtype in dtypes:
        try:
            rates[dtype] = gemm_flops_per_s(device, dtype, seconds)
        except CalibrationError as error:
            reasons[dtype] = str(error)
    try:
        copied = copy_bytes_per_s(device, seconds)
    except CalibrationError as error:
        copied, reasons["copy"] = None, str(error)
    key, name = _identity(device)
    return Calibration(
        key=key,
        device=name,
        gemm_flops_per_s=rates,
        gemm_reasons=reasons,
        copy_bytes_per_s=copied,
        idle=idle,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        software={"torch": _torch().__version__},
    )


# --- arguments --------------------------------------------------------------------------------------------------------


def _checked(args: argparse.Namespace) -> tuple[str, ...]:
    """The dtypes asked for. Raises _Unusable with every problem."""
    dtypes = tuple(dict.fromkeys(name.strip() for name in args.dtype.split(",") if name.strip()))
    problems = [f"unknown --dtype {name!r} (known: {', '.join(DTYPES)})" for name in dtypes if name not in DTYPES]
    if not dtypes:
        problems.append("--dtype names no number format")
    if not 0 < args.seconds <= 60:
        problems.append(f"--seconds is {args.seconds:g}, must be above 0 and at most 60")
    if not 0 <= args.idle_seconds <= 600:
        problems.append(f"--idle-seconds is {args.idle_seconds:g}, must be 0 to 600")
    if importlib.util.find_spec("torch") is None:
        problems.append("torch isn't installed: pip install pytest-tpf[transformers]")
    if problems:
        raise _Unusable("; ".join(problems))
    return dtypes


def _torch() -> Any:
    import torch

    return torch


def _device(asked: str) -> str:
    """torch's name of the device. Raises _Unusable."""
    cuda = _torch().cuda
    boards = cuda.device_count() if cuda.is_available() else 0
    if asked == "auto":
        return "cuda:0" if boards else "cpu"
    if asked == "cpu":
        return asked
    kind, _, number = asked.partition(":")
    if kind != "cuda" or not (number or "0").isdecimal():
        raise _Unusable(f"--device {asked!r} is unknown: auto, cpu, cuda or cuda:N")
    if int(number or 0) >= boards:
        raise _Unusable(f"--device {asked}: torch sees {boards} CUDA devices here")
    return f"cuda:{int(number or 0)}"


def _identity(device: str) -> tuple[str, str]:
    """The key under which the calibration is kept, and the device's name."""
    if device == "cpu":
        return cpu_key(_torch().get_num_threads()), cpu_model()
    properties = _torch().cuda.get_device_properties(device)
    uuid = getattr(properties, "uuid", None)
    if uuid is None:
        raise CalibrationError("this torch doesn't tell the board's UUID, which a calibration is kept under: update torch")
    return gpu_key(str(uuid), _driver_version()), str(properties.name)


def _driver_version() -> str | None:
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    try:
        return str(pynvml.nvmlSystemGetDriverVersion())
    except pynvml.NVMLError:
        return None
    finally:
        pynvml.nvmlShutdown()


# --- idle power -------------------------------------------------------------------------------------------------------


def _idle(seconds: float, meters: str) -> IdleReading:
    """Mean power of all meters over ``seconds`` in which this process sleeps (W)."""
    from pytest_tpf.measure.sampler import Sampler, SamplerUnavailable
    from pytest_tpf.meters.protocol import MeterOptions

    if seconds == 0:
        return IdleReading(power_w=None, reason="left out by --idle-seconds 0")
    sampler = Sampler(tuple(name.strip() for name in meters.split(",")), MeterOptions(watched_pid=os.getpid()))
    try:
        sampler.start()
        return _idle_over(sampler, seconds)
    except SamplerUnavailable as error:
        return IdleReading(power_w=None, reason=str(error))
    finally:
        sampler.close()


def _idle_over(sampler: Any, seconds: float) -> IdleReading:
    from pytest_tpf.measure.window import window_energy

    sampler.arm()
    start = time.perf_counter()
    time.sleep(seconds)
    end = time.perf_counter()
    energy = window_energy(sampler.collect(start, end), [(start, end)])
    if not energy.joules:
        return IdleReading(power_w=None, reason=f"idle energy is invalid: {', '.join(energy.reasons) or 'nothing was metered'}")
    return IdleReading(power_w=energy.joules / (end - start), trust=energy.trust, meter=energy.method)


# --- output -----------------------------------------------------------------------------------------------------------


def _table(calibration: Calibration) -> str:
    from tabulate import tabulate

    rows = [(f"{dtype} products", f"{rate / 1e12:.4g}", "TFLOP/s") for dtype, rate in calibration.gemm_flops_per_s.items()]
    if calibration.copy_bytes_per_s is not None:
        rows.append(("memory copy (read + write)", f"{calibration.copy_bytes_per_s / 1e9:.4g}", "GB/s"))
    idle = calibration.idle
    if idle.power_w is not None:
        rows.append(("idle power", f"{idle.power_w:.4g}", f"W ({idle.trust}: {idle.meter})"))
    table = tabulate(rows, headers=(calibration.device, "measured", "unit"), disable_numparse=True, colalign=("left", "right", "left"))
    notes = [f"{name}: {reason}" for name, reason in calibration.gemm_reasons.items()]
    if idle.reason is not None:
        notes.append(f"idle power: {idle.reason}")
    return "\n".join([table, *notes])
