"""Peak rates of accelerators as their makers print them: dense (no 2:4 sparsity), one row a device.

A row is matched by the whole name NVML (or the vendor's own tool) gives the board, so that a variant nobody entered (a laptop part, a
MIG slice, an export version) gets no ceiling rather than a neighbour's. The user's own figure and a calibration win over this table.
"""

from __future__ import annotations

import functools
import re

from pytest_tpf.records import record

_RETRIEVED = "2026-08"  # when the rows below were read from the documents they name


@record
class Peak:
    """One device: ``names`` is a pattern of the whole board name. Rates in FLOP/s and bytes/s, power in W."""

    device: str
    names: str
    bf16_flops_per_s: float
    fp8_flops_per_s: float | None
    memory_bytes_per_s: float
    tdp_w: float
    source: str
    date: str = _RETRIEVED
    has_bf16: bool = True


@record
class PeakAnswer:
    """What the table says of a device: the row and its FLOP/s at the dtype asked for; ``reason`` says why one is None."""

    peak: Peak | None
    flops_per_s: float | None
    reason: str | None = None


def _row(
    device: str,
    names: str,
    bf16_tflops: float,
    fp8_tflops: float | None,
    memory_gb_s: float,
    tdp_w: float,
    source: str,
    *,
    has_bf16: bool = True,
) -> Peak:
    return Peak(
        device=device,
        names=names,
        bf16_flops_per_s=bf16_tflops * 1e12,
        fp8_flops_per_s=None if fp8_tflops is None else fp8_tflops * 1e12,
        memory_bytes_per_s=memory_gb_s * 1e9,
        tdp_w=tdp_w,
        source=source,
        has_bf16=has_bf16,
    )


_A100 = "NVIDIA A100 data sheet r4"
_H100 = "nvidia.com/data-center/h100 (prints sparse rates: halved)"
_H200 = "nvidia.com/data-center/h200 (prints sparse rates: halved)"
_V100 = "NVIDIA V100 data sheet update us-1165301-r5 (fp16)"

# Names as NVML prints them; boards made before driver 455 lack the word NVIDIA, Volta's say Tesla.
PEAKS: tuple[Peak, ...] = (
    _row("V100 SXM2", r"(NVIDIA )?Tesla V100-SXM2-(16|32)GB", 125, None, 900, 300, _V100, has_bf16=False),
    _row("V100 PCIe", r"(NVIDIA )?Tesla V100-PCIE-(16|32)GB", 112, None, 900, 250, _V100, has_bf16=False),
    _row("A10", r"(NVIDIA )?A10", 125, None, 600, 150, "NVIDIA A10 data sheet"),
    _row("A100 40GB PCIe", r"(NVIDIA )?A100-PCIE-40GB", 312, None, 1555, 250, _A100),
    _row("A100 40GB SXM", r"(NVIDIA )?A100-SXM4-40GB", 312, None, 1555, 400, _A100),
    _row("A100 80GB PCIe", r"NVIDIA A100 80GB PCIe", 312, None, 1935, 300, _A100),
    _row("A100 80GB SXM", r"(NVIDIA )?A100-SXM4-80GB", 312, None, 2039, 400, _A100),
    _row("L4", r"NVIDIA L4", 121, 242.5, 300, 72, "NVIDIA L4 data sheet (prints sparse rates: halved)"),
    _row("L40S", r"NVIDIA L40S", 362, 733, 864, 350, "nvidia.com/data-center/l40s"),
    _row("H100 SXM", r"NVIDIA H100 80GB HBM3", 989, 1979, 3350, 700, _H100),
    _row("H100 PCIe", r"NVIDIA H100 PCIe", 756, 1513, 2000, 350, _H100),
    _row("H100 NVL", r"NVIDIA H100 NVL", 835, 1671, 3900, 400, _H100),
    _row("H200 SXM", r"NVIDIA H200", 989, 1979, 4800, 700, _H200),
    _row("H200 NVL", r"NVIDIA H200 NVL", 835, 1671, 4800, 600, _H200),
    _row("B200", r"NVIDIA B200", 2250, 4500, 8000, 1000, "NVIDIA DGX B200 data sheet (halved)"),
    _row("GB200", r"NVIDIA GB200", 2500, 5000, 8000, 1200, "nvidia.com/data-center/gb200-nvl72, per GPU (halved)"),
    _row("RTX 4090", r"NVIDIA GeForce RTX 4090", 165.2, 330.3, 1008, 450, "NVIDIA Ada architecture white paper (FP32 accumulate)"),
    _row("RTX 5090", r"NVIDIA GeForce RTX 5090", 209.5, 419, 1792, 575, "NVIDIA RTX Blackwell white paper (FP32 accumulate)"),
    _row("MI250X", r"AMD Instinct MI250X", 383, None, 3277, 500, "amd.com MI250X (both dies; one die has half)"),
    _row("MI300X", r"AMD Instinct MI300X( OAM)?", 1307.4, 2614.9, 5300, 750, "AMD Instinct MI300X data sheet"),
    _row("MI325X", r"AMD Instinct MI325X( OAM)?", 1307.4, 2614.9, 6000, 1000, "amd.com MI325X"),
    _row("MI355X", r"AMD Instinct MI355X( OAM)?", 2516.6, 5033, 8000, 1400, "amd.com MI355X"),
    _row("Gaudi 2", r"(Intel )?GAUDI ?2|HL-225[A-Z]*", 432, 865, 2460, 600, "Intel Gaudi white paper 839363"),
    _row("Gaudi 3", r"(Intel )?GAUDI ?3|HL-325[A-Z]*", 1677, 1677, 3670, 900, "Intel Gaudi 3, Hot Chips 2024 (at the shipped 1600 MHz)"),
)


def find_peak(device_name: str, dtype: str) -> PeakAnswer:
    """The row of the board ``device_name`` and its dense rate at ``dtype`` (a torch name, with or without ``torch.``).

    An unknown device or a dtype the table has no rate for is answered with the reason, never with a guess.
    """
    peak = _match(device_name.strip())
    if peak is None:
        return PeakAnswer(peak=None, flops_per_s=None, reason=f"no data sheet row for {device_name!r}: run `tpf calibrate`")
    rate = _rate(peak, dtype.removeprefix("torch."))
    reason = None if rate is not None else f"the data sheet row of {peak.device} has no {dtype} rate: run `tpf calibrate`"
    return PeakAnswer(peak=peak, flops_per_s=rate, reason=reason)


@functools.cache
def _match(device_name: str) -> Peak | None:
    return next((peak for peak in PEAKS if re.fullmatch(peak.names, device_name, re.IGNORECASE)), None)


def _rate(peak: Peak, dtype: str) -> float | None:
    if dtype == "float16" or (dtype == "bfloat16" and peak.has_bf16):
        return peak.bf16_flops_per_s
    return peak.fp8_flops_per_s if dtype.startswith("float8_e") else None
