"""Suites on boards whose true energy is known: the whole path through the real pynvml, the sampler and the report."""

from __future__ import annotations

import importlib
import itertools
import time
from pathlib import Path

import pytest

from pytest_tpf.measure.exclusive import exclusive
from tests.standin import SW_POWER_CAP, Board, Standin, StandinUnavailable, many_boards

UUID = "GPU-11111111-2222-3333-4444-555555555555"


@pytest.fixture
def plugged(monkeypatch, tmp_path):
    """Plug boards in: every process started from now on loads the stand-in driver."""

    def plug(*boards: Board, **settings) -> None:
        try:
            environment = Standin(boards=boards, **settings).environment(tmp_path)
        except StandinUnavailable as why:
            pytest.skip(str(why))
        for name, value in environment.items():
            monkeypatch.setenv(name, value)

    return plug


ROUNDS = """
    import json, pathlib

    @pytest.mark.tpf(rounds=4, boundary="device", max_joules_per_token=1000)
    def test_it(tpf, model):
        tpf(model.generate, tokens=10, seconds=0.3)
"""


def test_measured_energy_is_the_true_energy(suite, plugged):
    plugged(Board(uuid=UUID, base_w=300.0, counter_period_s=0.02))
    suite.run(ROUNDS).assert_outcomes(passed=1)
    test, report = suite.test(), suite.report()
    energy = test["energy"]
    assert energy["trust"] == "measured"
    assert energy["device_j"] == pytest.approx(300.0 * test["service"]["duration_s"], rel=0.01)
    assert energy["it_j"] == energy["device_j"] == energy["domains"]["gpu:0"]
    assert energy["unmetered"] == ["cpu:0", "dram:0"]
    assert energy["uncertainty_j"] < 0.05 * energy["it_j"]
    assert energy["absolute_uncertainty_j"] > energy["uncertainty_j"]
    assert test["power"]["mean_w"] == pytest.approx(300.0, rel=0.01)
    low, high = test["mandated"]["joules_per_token"]["ci95"]
    assert low < 300.0 * test["service"]["duration_s"] / test["workload"]["output_tokens"] < high
    assert report["environment"]["accelerators"][0]["uuid"] == UUID
    assert any(meter["id"].startswith("nvml:") for meter in report["meters"])


def test_idle_power_is_taken_and_net_stands_beside_gross(suite, plugged):
    plugged(
        Board(
            uuid=UUID,
            shape="step",
            base_w=100.0,
            swing_w=300.0,
            step_at_s=time.perf_counter() + 2.5,
            counter_period_s=0.02,
            utilization_percent=0,
        )
    )
    suite.run("""
        import time

        @pytest.mark.tpf(boundary="device")
        def test_it(model):
            time.sleep(3)
            model.generate(seconds=0.5)
    """).assert_outcomes(passed=1)
    energy = suite.test()["energy"]
    if energy["idle_power_w"] is None:
        pytest.skip(f"the machine was not idle: {suite.test()['warnings']}")
    assert energy["idle_power_w"] == pytest.approx(100.0, rel=0.02)
    assert energy["net_j"] == pytest.approx(energy["it_j"] - 100.0 * suite.test()["service"]["duration_s"], rel=0.02)


def test_a_busy_board_has_no_idle_power_and_says_so(suite, plugged):
    plugged(Board(uuid=UUID, utilization_percent=80))
    suite.run(ROUNDS)
    test = suite.test()
    assert test["energy"]["idle_power_w"] is None
    assert test["energy"]["net_j"] is None
    assert any("idle power is unknown: an accelerator was 80% busy" in warning for warning in test["warnings"])


def test_only_visible_boards_count(suite, plugged, monkeypatch):
    plugged(*many_boards(4, base_w=100.0, counter_period_s=0.02))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,3")
    suite.run(ROUNDS).assert_outcomes(passed=1)
    test = suite.test()
    assert set(test["energy"]["domains"]) == {"gpu:1", "gpu:3"}
    assert test["energy"]["device_j"] == pytest.approx(200.0 * test["service"]["duration_s"], rel=0.02)


@pytest.mark.stress
def test_a_board_lost_in_the_window_makes_its_energy_null_not_wrong(suite, plugged):
    plugged(Board(uuid=UUID, base_w=300.0, counter_period_s=0.02, lost_at_s=time.perf_counter() + 4.0))
    suite.run(
        """
        import time

        @pytest.mark.tpf(boundary="device", max_joules_per_token=1000)
        def test_it(model):
            model.generate(seconds=6)
    """
    ).assert_outcomes(passed=1)
    test = suite.test()
    assert test["energy"]["it_j"] is None
    assert test["energy"]["valid"] is False
    assert "device_lost" in test["energy"]["reasons"]
    assert test["budgets"][0]["verdict"] == "not_measured"
    assert test["workload"]["output_tokens"] == 8


def test_a_counter_that_restarts_is_noticed(suite, plugged):
    plugged(Board(uuid=UUID, base_w=300.0, counter_period_s=0.02, energy_offset_j=5000.0, reset_at_s=time.perf_counter() + 4.0))
    suite.run("""
        @pytest.mark.tpf(boundary="device")
        def test_it(model): model.generate(seconds=6)
    """)
    assert suite.test()["energy"]["it_j"] is None
    assert "counter_reset" in suite.test()["energy"]["reasons"]


def test_a_board_without_a_counter_is_integrated_from_power(suite, plugged):
    plugged(Board(uuid=UUID, base_w=250.0, counter_supported=False))
    suite.run(ROUNDS).assert_outcomes(passed=1)
    test = suite.test()
    assert test["energy"]["it_j"] == pytest.approx(250.0 * test["service"]["duration_s"], rel=0.02)
    assert "power" in test["energy"]["method"]


def test_a_power_cap_that_was_seen_binds(suite, plugged):
    plugged(Board(uuid=UUID, base_w=300.0, counter_period_s=0.02, power_limit_w=300.0, clock_reasons=SW_POWER_CAP, utilization_percent=99))
    suite.run("""
        @pytest.mark.tpf(boundary="device", binding="power")
        def test_it(model): model.generate(seconds=0.6)
    """).assert_outcomes(passed=1)
    test = suite.test()
    assert test["mandated"]["binding_constraint"]["value"] == "power"
    assert test["power"]["clock_reasons"]["sw_power_cap"] > 0.9
    assert test["power"]["limit_w"] == 300.0


def test_no_meter_leaves_tokens_and_says_why(suite, plugged, monkeypatch):
    plugged(Board(uuid=UUID), init_error=9)
    result = suite.run(ROUNDS, "--tpf-meter", "nvml")
    result.assert_outcomes(passed=1)
    test = suite.test()
    assert test["energy"]["it_j"] is None
    assert test["energy"]["reasons"] == ["no_meter"]
    assert test["workload"]["output_tokens"] > 0
    assert "nothing was measured" in result.stdout.str()


def test_a_run_that_measured_nothing_fails_the_gate(suite, plugged):
    plugged(Board(uuid=UUID), init_error=9)
    result = suite.run(
        """
        @pytest.mark.tpf
        def test_it(model): model.generate()
    """,
        "--tpf-meter",
        "nvml",
        "--tpf-gate",
        "strict",
        "--junit-xml",
        "junit.xml",
    )
    result.assert_outcomes(passed=1, failed=1)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["*tpf::gate*", "nothing was measured: no_meter; see `tpf meters`"])
    assert 'failures="1"' in (Path(suite.path) / "junit.xml").read_text()


@pytest.mark.stress
def test_workers_take_turns_on_one_board(suite, plugged):
    plugged(Board(uuid=UUID, base_w=300.0, counter_period_s=0.02))
    suite.run(
        """
        @pytest.mark.tpf(boundary="device")
        @pytest.mark.parametrize("n", range(4))
        def test_it(model, n, tpf):
            import time
            with tpf.measure() as window:
                model.generate(seconds=0.3)
                tpf.extra["span"] = [time.perf_counter() - 0.3, time.perf_counter()]
    """,
        "-n",
        "2",
        subprocess=True,
    ).assert_outcomes(passed=4)
    tests = suite.report()["tests"]
    spans = sorted(test["extra"]["span"] for test in tests)
    assert all(later[0] >= earlier[1] for earlier, later in itertools.pairwise(spans))
    assert all(test["energy"]["device_j"] == pytest.approx(300.0 * test["service"]["duration_s"], rel=0.02) for test in tests)


def test_a_board_that_another_process_measures_is_contended(suite, plugged, monkeypatch):
    plugged(Board(uuid=UUID, base_w=300.0, counter_period_s=0.02))
    # The run in this process must find the patched module: one that an earlier run imported is gone from sys.modules.
    monkeypatch.setattr(importlib.import_module("pytest_tpf.session"), "LOCK_LIMIT_S", 0.1)
    with exclusive([UUID], 1.0):
        suite.run("""
            @pytest.mark.tpf(boundary="device", max_joules=1000, max_output_tokens=100)
            def test_it(model): model.generate(seconds=0.3)
        """).assert_outcomes(passed=1)
    test = suite.test()
    assert test["energy"]["it_j"] is None
    assert test["energy"]["reasons"] == ["contended"]
    assert [budget["verdict"] for budget in test["budgets"]] == ["not_measured", "pass"]
