"""The measurement itself runs here on the CPU; how fast that CPU is, is no business of a test."""

from __future__ import annotations

import itertools

import pytest

from pytest_tpf.production.calibration import CalibrationError
from pytest_tpf.production.gemm import DTYPES, copy_bytes_per_s, gemm_flops_per_s

torch = pytest.importorskip("torch")


class Recorder:
    """Notes every product that torch computes."""

    def __init__(self, monkeypatch):
        self.shapes = []
        self._mm = torch.mm
        monkeypatch.setattr(torch, "mm", self)

    def __call__(self, a, b, *, out):
        self.shapes.append((tuple(a.shape), tuple(b.shape), a.dtype, b.is_contiguous()))
        return self._mm(a, b, out=out)


@pytest.mark.parametrize("dtype", DTYPES)
def test_products_are_square_of_the_dtype_and_laid_out_like_a_linear_layer(monkeypatch, dtype):
    recorder = Recorder(monkeypatch)
    rate = gemm_flops_per_s("cpu", dtype, seconds=0.02)
    assert 1e6 < rate < 1e16
    for left, right, kind, contiguous in recorder.shapes:
        assert left == right == (left[0], left[0])
        assert kind == getattr(torch, dtype)
        assert not contiguous
    sizes = sorted({left[0] for left, *_ in recorder.shapes})
    assert all(after == 2 * before for before, after in itertools.pairwise(sizes))


def test_the_rate_is_of_the_last_and_largest_size(monkeypatch):
    """With a clock that advances 1 ms a product, whatever its size, the rate is 2 n^3 / 1 ms exactly."""
    monkeypatch.setattr("pytest_tpf.production.gemm._LARGEST_CPU", 1024)
    recorder = Recorder(monkeypatch)
    monkeypatch.setattr("pytest_tpf.production.gemm.time.perf_counter", lambda: len(recorder.shapes) * 1e-3)
    rate = gemm_flops_per_s("cpu", "float32", seconds=0.01)
    largest = max(left[0] for left, *_ in recorder.shapes)
    assert largest == 1024
    assert rate == pytest.approx(2 * largest**3 / 1e-3)


def test_one_slow_call_does_not_end_the_search_for_a_size(monkeypatch):
    """Each product takes 1 us on this clock, but for one at the size that is large enough, which met a busy processor for a second."""
    monkeypatch.setattr("pytest_tpf.production.gemm._LARGEST_CPU", 1024)
    recorder = Recorder(monkeypatch)

    def clock():
        done = len(recorder.shapes)
        slow = sum(left[0] == 512 for left, *_ in recorder.shapes) > 1
        return done * 1e-6 + slow

    monkeypatch.setattr("pytest_tpf.production.gemm.time.perf_counter", clock)
    rate = gemm_flops_per_s("cpu", "float32", seconds=1e-4)
    assert {left[0] for left, *_ in recorder.shapes} == {128, 256, 512, 1024}
    assert rate == pytest.approx(2 * 1024**3 / 1e-6, rel=1e-6)


def test_slow_small_products_do_not_end_the_search_either(monkeypatch):
    """Threads that wait for each other take 1 ms for any size: only the larger ones tell what the processor can do."""
    recorder = Recorder(monkeypatch)
    monkeypatch.setattr("pytest_tpf.production.gemm.time.perf_counter", lambda: len(recorder.shapes) * 1e-3)
    gemm_flops_per_s("cpu", "float32", seconds=1e-3)
    assert max(left[0] for left, *_ in recorder.shapes) == 512


def test_an_unknown_dtype_or_device_is_one_line():
    with pytest.raises(CalibrationError, match="float7"):
        gemm_flops_per_s("cpu", "float7")
    with pytest.raises(CalibrationError, match=r"^[^\n]+$"):
        gemm_flops_per_s("nonsense", "float32")
    with pytest.raises(CalibrationError, match=r"^[^\n]+$"):
        copy_bytes_per_s("nonsense")


def test_a_copy_counts_what_is_read_and_what_is_written(monkeypatch):
    monkeypatch.setattr("pytest_tpf.production.gemm._COPY_BYTES_CPU", 4096)
    ticks = iter(range(10**9))
    monkeypatch.setattr("pytest_tpf.production.gemm.time.perf_counter", lambda: next(ticks))
    assert copy_bytes_per_s("cpu", seconds=0.5) == 2 * 4096  # every sample of one copy takes one tick of a second
