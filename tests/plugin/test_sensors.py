"""What a board's sensors say of each other, and what a suite sees of it."""

from __future__ import annotations

import pytest

from tests.plugin.test_boards import UUID, plugged  # noqa: F401  a fixture
from tests.standin import Board, Drive

STEADY = """
    @pytest.mark.tpf(rounds=3, boundary="device")
    def test_it(tpf, model):
        tpf(model.generate, tokens=10, seconds=0.6)
"""

# Decoding in step with the gauge: 50 ms of load, 50 ms of pause, from the call's start on.
IN_STEP = """
    import time
    from pathlib import Path
    from tests.standin import Drive

    drive = Drive.attach(Path("drive"))

    class Stepping:
        def generate(self):
            start_s = time.perf_counter()
            for step in range(8):
                for watts, until_s in ((500.0, 0.05), (100.0, 0.1)):
                    drive.set(watts)
                    time.sleep(max(0.0, start_s + 0.1 * step + until_s - time.perf_counter()))

    @pytest.mark.tpf(rounds=7, warmup=0, boundary="device")
    def test_it(tpf):
        def call():
            Stepping().generate()
            tpf.count(output_tokens=8)
        tpf(call)
"""


@pytest.mark.parametrize("gain", [0.92, 1.08, pytest.param(0.6, marks=pytest.mark.stress)])
def test_a_counter_and_a_gauge_that_differ_are_flagged_and_the_counter_counts(suite, plugged, gain):  # noqa: F811
    plugged(Board(uuid=UUID, base_w=300.0, noise_w=0.5, counter_period_s=0.05, gauge_gain=gain))
    suite.run(STEADY).assert_outcomes(passed=1)
    test = suite.test()
    assert "sensor_disagreement" in test["conditions"]["flags"]
    assert test["energy"]["device_j"] == pytest.approx(300.0 * test["service"]["duration_s"], rel=0.01)
    (warning,) = [line for line in test["warnings"] if "nvml_power_instant" in line]
    assert float(warning.partition(" is ")[2].partition("%")[0]) == pytest.approx(100 * (gain - 1), abs=0.5)


@pytest.mark.parametrize("board", [Board(uuid=UUID, noise_w=1.0, counter_period_s=0.1), Board(uuid=UUID, gain=1.06, counter_period_s=0.02)])
def test_sensors_that_agree_are_not_flagged(suite, plugged, board):  # noqa: F811
    plugged(board)
    suite.run(STEADY).assert_outcomes(passed=1)
    assert not {"sensor_disagreement", "part_time_sensor"} & set(suite.test()["conditions"]["flags"])


def test_a_gauge_in_step_with_the_load_is_found_out_by_staggered_rounds(suite, plugged):  # noqa: F811
    drive = Drive(suite.path / "drive")
    drive.set(100.0, at_s=0.0)
    plugged(Board(uuid=UUID, drive=str(drive.path), counter_supported=False, noise_w=0.5))
    suite.run(IN_STEP).assert_outcomes(passed=1)
    test = suite.test()
    assert {"part_time_sensor", "aliasing_suspected"} <= set(test["conditions"]["flags"])
    rounds = [each["it_j"] / each["duration_s"] for each in test["rounds"]]
    assert max(rounds) > 1.3 * min(rounds)  # any one of them might be far off
    energy = test["energy"]
    assert abs(energy["it_j"] - 300.0 * test["service"]["duration_s"]) < 1.5 * energy["uncertainty_j"]
