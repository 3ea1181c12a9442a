"""Suites measured through Zeus, on boards whose true energy is known."""

from __future__ import annotations

import sys

import pytest

from benchmarks.peers import zeus_package
from tests.standin import Board, Standin, StandinUnavailable

UUID = "GPU-11111111-2222-3333-4444-555555555555"

ROUNDS = """
    @pytest.mark.tpf(rounds=4, boundary="device", max_joules_per_token=1000)
    def test_it(tpf, model):
        tpf(model.generate, tokens=10, seconds=0.3)
"""


@pytest.fixture
def plugged(monkeypatch, tmp_path):
    """Zeus can be imported, and every process started from now on sees these boards."""
    folder = zeus_package()
    if folder is None:
        pytest.skip("Zeus can't be installed here (no network?)")
    monkeypatch.setattr(sys, "path", [*sys.path, str(folder)])
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    def plug(*boards: Board) -> None:
        try:
            environment = Standin(boards=boards).environment(tmp_path)
        except StandinUnavailable as why:
            pytest.skip(str(why))
        for name, value in environment.items():
            monkeypatch.setenv(name, value)

    return plug


def test_energy_through_zeus_is_the_true_energy(suite, plugged):
    plugged(Board(uuid=UUID, base_w=300.0, counter_period_s=0.02))
    suite.run(ROUNDS, "--tpf-meter", "zeus").assert_outcomes(passed=1)
    test, report = suite.test(), suite.report()
    assert test["energy"]["trust"] == "measured"
    assert test["energy"]["method"] == "zeus_nvidia_energy_counter"
    assert test["energy"]["device_j"] == pytest.approx(300.0 * test["service"]["duration_s"], rel=0.01)
    assert test["energy"]["unmetered"] == ["cpu:0", "dram:0"]
    assert report["environment"]["accelerators"][0]["uuid"] == UUID
    (meter,) = report["meters"]
    assert (meter["id"], meter["device"]) == ("zeus:gpu:0", UUID)
    assert meter["update_period_s"] == pytest.approx(0.02, rel=0.2)


def test_beside_another_meter_the_first_named_counts(suite, plugged):
    plugged(Board(uuid=UUID, base_w=300.0, counter_period_s=0.02))
    result = suite.run(ROUNDS, "--tpf-meter", "nvml,zeus")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*gpu:0: the energy is nvml's; zeus's stands beside it*"])
    assert suite.test()["energy"]["device_j"] == pytest.approx(300.0 * suite.test()["service"]["duration_s"], rel=0.01)
