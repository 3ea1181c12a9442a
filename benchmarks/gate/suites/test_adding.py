"""The adder of ``examples/adder`` at six sizes of work, as its noise is recorded."""

from __future__ import annotations

import pytest


@pytest.mark.tpf(warmup=2)
@pytest.mark.parametrize("size", ["1m", "0.1m"])
@pytest.mark.parametrize("batch_size", [4, 16, 64])
def test_adds(tpf, adder, small_adder, problems, size, batch_size):
    tpf({"1m": adder, "0.1m": small_adder}[size].solve, problems, batch_size)
