"""What a server made of several requests at a time isn't known, and neither is how much it read for each token."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from pytest_tpf.evaluate import evaluate
from pytest_tpf.markers import Marker
from pytest_tpf.production.calibration import Calibration, IdleReading
from pytest_tpf.records import Model
from tests.evaluate.runs import IDENTITY, context, generation, observation, one_round

CONFIG = json.loads((Path(__file__).parents[2] / "examples/adder/models/adder-1m/config.json").read_text(encoding="utf-8"))
CPU = Calibration(
    key="cpu",
    device="cpu",
    gemm_flops_per_s={"bfloat16": 1e12},
    gemm_reasons={},
    copy_bytes_per_s=1e10,
    idle=IdleReading(power_w=None),
    created_at="2026-01-01T00:00:00Z",
    software={},
)
SERVER = "http://127.0.0.1:8000"


def production(*starts_s, endpoint=SERVER, device=None):
    known = {"config": CONFIG, "endpoint": endpoint, "device": device}
    made = [dataclasses.replace(generation(at_s, at_s + 1.0, **known), model=Model(dtype="bfloat16")) for at_s in starts_s]
    calibrated = dataclasses.replace(context(), calibrations={"cpu": CPU})
    return evaluate(observation(one_round(0.0, 10.0, *made)), IDENTITY, Marker(), calibrated, {}).production


def test_one_at_a_time_reads_all_weights_for_every_token():
    alone = production(1.0, 2.0)
    assert alone.bytes_per_token > 2 * 900_000  # bfloat16 weights, less the embeddings that aren't read
    assert alone.bytes_per_token == production(1.0, 2.0, endpoint=None).bytes_per_token


@pytest.mark.parametrize("starts_s", [(1.0, 1.5), (1.0, 3.0, 3.999)])
def test_several_at_a_time_read_an_unknown_share_of_them(starts_s):
    together = production(*starts_s, device="cpu")
    assert together.bytes_per_token is None
    ceiling = together.ceilings["memory_bandwidth"]
    assert ceiling.tokens_per_second is None
    assert "how the server batched them isn't known" in ceiling.reason
    assert together.flops_per_token == production(*starts_s, endpoint=None).flops_per_token is not None


def test_the_device_of_a_server_is_not_known():
    assert "the device of a server isn't known" in production(1.0).ceilings["compute"].reason
