"""The table itself is tested: public tables are wrong more often than one thinks."""

from __future__ import annotations

import re

import pytest

from pytest_tpf.production.peaks import PEAKS, find_peak

NAMES = {
    "Tesla V100-SXM2-16GB": "V100 SXM2",
    "Tesla V100-PCIE-32GB": "V100 PCIe",
    "NVIDIA A10": "A10",
    "NVIDIA A100-PCIE-40GB": "A100 40GB PCIe",
    "A100-SXM4-40GB": "A100 40GB SXM",
    "NVIDIA A100 80GB PCIe": "A100 80GB PCIe",
    "NVIDIA A100-SXM4-80GB": "A100 80GB SXM",
    "NVIDIA L4": "L4",
    "NVIDIA L40S": "L40S",
    "NVIDIA H100 80GB HBM3": "H100 SXM",
    "NVIDIA H100 PCIe": "H100 PCIe",
    "NVIDIA H100 NVL": "H100 NVL",
    "NVIDIA H200": "H200 SXM",
    "NVIDIA H200 NVL": "H200 NVL",
    "NVIDIA B200": "B200",
    "NVIDIA GB200": "GB200",
    "NVIDIA GeForce RTX 4090": "RTX 4090",
    "NVIDIA GeForce RTX 5090": "RTX 5090",
    "AMD Instinct MI250X": "MI250X",
    "AMD Instinct MI300X": "MI300X",
    "AMD Instinct MI325X": "MI325X",
    "AMD Instinct MI355X": "MI355X",
    "GAUDI2": "Gaudi 2",
    "GAUDI3": "Gaudi 3",
}
STRANGERS = [
    "NVIDIA A10G",
    "NVIDIA A100X",
    "NVIDIA L40",
    "NVIDIA H20",
    "NVIDIA H800",
    "NVIDIA GH200 480GB",
    "NVIDIA H100 80GB HBM3 MIG 1g.10gb",
    "NVIDIA GeForce RTX 4090 D",
    "NVIDIA GeForce RTX 4090 Laptop GPU",
    "NVIDIA GeForce RTX 5090 D",
    "AMD Instinct MI250",
    "Tesla T4",
    "",
]


@pytest.mark.parametrize(("name", "device"), NAMES.items())
def test_a_board_resolves_to_its_own_row_and_no_other(name, device):
    assert [peak.device for peak in PEAKS if re.fullmatch(peak.names, name, re.IGNORECASE)] == [device]
    assert find_peak(name, "float16").peak.device == device


def test_every_row_is_reached_by_a_name():
    assert {peak.device for peak in PEAKS} == set(NAMES.values())


@pytest.mark.parametrize("name", STRANGERS)
def test_a_stranger_gets_a_reason_and_no_ceiling(name):
    answer = find_peak(name, "bfloat16")
    assert (answer.peak, answer.flops_per_s) == (None, None)
    assert "tpf calibrate" in answer.reason


@pytest.mark.parametrize("peak", PEAKS, ids=lambda peak: peak.device)
def test_a_row_is_plausible(peak):
    assert 50 <= peak.bf16_flops_per_s / peak.memory_bytes_per_s <= 500
    assert 50 <= peak.tdp_w <= 1500
    assert 1e10 < peak.bf16_flops_per_s / peak.tdp_w < 3e12
    assert peak.source
    assert re.fullmatch(r"20\d\d-\d\d", peak.date)
    if peak.fp8_flops_per_s is not None:
        ratio = peak.fp8_flops_per_s / peak.bf16_flops_per_s
        assert min(abs(ratio - 1), abs(ratio - 2)) < 0.03


# Printed elsewhere in the same documents, so a mistyped row shows.
@pytest.mark.parametrize(
    ("name", "ridge"),
    [("NVIDIA A100-SXM4-80GB", 153), ("NVIDIA H100 80GB HBM3", 295), ("NVIDIA H200", 206), ("NVIDIA B200", 281), ("NVIDIA L4", 403)],
)
def test_known_ridge_points(name, ridge):
    answer = find_peak(name, "torch.bfloat16")
    assert round(answer.flops_per_s / answer.peak.memory_bytes_per_s) == ridge


def test_newer_boards_are_not_slower_than_their_older_namesakes():
    flops = {peak.device: peak.bf16_flops_per_s for peak in PEAKS}
    assert flops["V100 SXM2"] < flops["A100 80GB SXM"] < flops["H100 SXM"] <= flops["H200 SXM"] < flops["B200"] < flops["GB200"]
    assert flops["H100 PCIe"] < flops["H100 NVL"] < flops["H100 SXM"]


@pytest.mark.parametrize(
    ("name", "dtype", "flops"),
    [
        ("NVIDIA H100 80GB HBM3", "bfloat16", 989e12),
        ("NVIDIA H100 80GB HBM3", "float8_e4m3fn", 1979e12),
        ("NVIDIA H100 80GB HBM3", "float32", None),
        ("Tesla V100-SXM2-16GB", "float16", 125e12),
        ("Tesla V100-SXM2-16GB", "bfloat16", None),
        ("NVIDIA A100-SXM4-80GB", "float8_e4m3fn", None),
        ("NVIDIA A100-SXM4-80GB", "int8", None),
    ],
)
def test_a_rate_belongs_to_a_dtype(name, dtype, flops):
    answer = find_peak(name, dtype)
    assert answer.flops_per_s == flops
    assert (answer.reason is None) == (flops is not None)
