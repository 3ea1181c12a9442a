"""Measuring a device's peaks with torch: square matrix products and memory copies, sizes fitted to the device.

torch is imported inside the functions, so that reading a calibration needs none.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from pytest_tpf.production.calibration import CalibrationError

DTYPES = ("float32", "bfloat16", "float16")
SECONDS = 0.3
_SAMPLES = 3
_SMALLEST, _ENOUGH, _LARGEST_CPU, _LARGEST_CUDA = 128, 512, 4096, 16384
_SHORTEST_S = 1e-7  # no clock here resolves less, and nothing divides by 0
_COPY_BYTES_CPU, _COPY_BYTES_CUDA = 256 * 2**20, 2**30  # well beyond any cache


def gemm_flops_per_s(device: str, dtype: str, seconds: float = SECONDS) -> float:
    """The best rate of ``n x n`` by ``n x n`` products, 2 n^3 FLOPs each (FLOP/s).

    ``n`` doubles from 128 until it is at least 512 and one product takes a tenth of ``seconds``, or memory or the largest size is reached;
    there it is timed for about ``seconds``. Small sizes alone don't decide: threads that share their processor with other work wait for
    each other far longer than they compute.

    Raises:
        CalibrationError: the device doesn't do this dtype, or has no room.
    """
    import torch

    try:
        kind = getattr(torch, dtype)
        size, best = _SMALLEST, 0.0
        while True:
            call = _product(torch, size, device, kind)
            once_s = _once_s(call, device)
            best = max(best, 2.0 * size**3 / once_s)
            if (size >= _ENOUGH and once_s >= seconds / 10) or 2 * size > _largest(torch, device, kind):
                break
            size *= 2
        return max(best, 2.0 * size**3 / _best_s(call, device, once_s, seconds))
    except (RuntimeError, TypeError, AttributeError, NotImplementedError) as error:
        raise CalibrationError(f"{device} doesn't multiply {dtype}: {_first_line(error)}") from None


def copy_bytes_per_s(device: str, seconds: float = SECONDS) -> float:
    """The best rate of copying a block much larger than the caches: bytes read plus bytes written, per second (bytes/s).

    Raises:
        CalibrationError: the device has no room for the two blocks.
    """
    import torch

    size = _COPY_BYTES_CUDA if _is_cuda(device) else _COPY_BYTES_CPU
    try:
        source = torch.ones(size // 4, dtype=torch.float32, device=device)
        target = torch.zeros_like(source)  # touched, so that no page is mapped while the clock runs

        def call() -> None:
            target.copy_(source)

        return 2.0 * size / _best_s(call, device, _once_s(call, device), seconds)
    except RuntimeError as error:
        raise CalibrationError(f"{device} can't copy: {_first_line(error)}") from None


def _product(torch: Any, size: int, device: str, kind: Any) -> Callable[[], None]:
    """A product in the layout of a linear layer, x W^T: in 16 bits some processors do the other several times slower."""
    x, weight = (torch.randn(size, size, device=device, dtype=torch.float32).to(kind) for _ in range(2))
    out = torch.empty(size, size, device=device, dtype=kind)

    def call() -> None:
        torch.mm(x, weight.t(), out=out)

    return call


def _once_s(call: Callable[[], None], device: str) -> float:
    """The shortest of a few single calls, after a first that fills caches and picks kernels (s).

    One alone may have met a busy processor, and a size chosen by it would be far too small.
    """
    call()
    return max(min(_timed_s(call, 1, device) for _ in range(_SAMPLES)), _SHORTEST_S)


def _best_s(call: Callable[[], None], device: str, once_s: float, seconds: float) -> float:
    """The shortest time of one call over a few samples that together take about ``seconds`` (s)."""
    repeats = max(1, math.ceil(seconds / _SAMPLES / once_s))
    return min(_timed_s(call, repeats, device) for _ in range(_SAMPLES)) / repeats


def _timed_s(call: Callable[[], None], repeats: int, device: str) -> float:
    _synchronize(device)
    start = time.perf_counter()
    for _ in range(repeats):
        call()
    _synchronize(device)
    return time.perf_counter() - start


def _synchronize(device: str) -> None:
    if _is_cuda(device):
        import torch

        torch.cuda.synchronize(device)


def _largest(torch: Any, device: str, kind: Any) -> int:
    """The largest size whose three matrices, and the float32 one they are made from, take a quarter of what is free."""
    if not _is_cuda(device):
        return _LARGEST_CPU
    free_bytes, _ = torch.cuda.mem_get_info(device)
    return min(_LARGEST_CUDA, math.isqrt(int(free_bytes) // 4 // (3 * kind.itemsize + 4)))


def _is_cuda(device: str) -> bool:
    return device.startswith("cuda")


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
