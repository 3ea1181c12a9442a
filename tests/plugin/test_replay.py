"""Suites whose power is recorded by another process, into a log that grows while the tests run."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.meters.logs import FORMATS, Sample, uuid
from tests.plugin.power_recorder import POWERS

WINDOW = """
    import time

    @pytest.mark.tpf(boundary="device")
    def test_it(tpf, model):
        for _ in range(3):
            with tpf.measure():
                begin = time.perf_counter()
                model.generate(tokens=10, seconds=0.5)
                tpf.extra.setdefault("spans", []).append([begin, time.perf_counter()])
            time.sleep(0.3)
"""


@pytest.fixture
def recorder(tmp_path):
    """Start recording; the log's path."""
    running: list[subprocess.Popen[bytes]] = []

    def start(shift_s: float = 0.0) -> Path:
        path = tmp_path / "power.csv"
        command = [sys.executable, "-m", "tests.plugin.power_recorder", str(path), str(shift_s)]
        running.append(subprocess.Popen(command, cwd=Path(__file__).parents[2]))
        return path

    yield start
    for process in running:
        process.kill()
        process.wait()


def wait_for(path):
    while not path.exists() or path.read_text().count("\n") < 10:
        time.sleep(0.05)
    return str(path)


def true_j(test, gpu):
    return sum(POWERS[gpu].true_energy_j(start, end) for start, end in test["extra"]["spans"])


def test_a_log_that_grows_meanwhile_gives_the_true_energy(suite, recorder):
    path = wait_for(recorder())
    result = suite.run(WINDOW, "--tpf-replay", path)
    result.assert_outcomes(passed=1)
    test, report = suite.test(), suite.report()
    energy = test["energy"]
    assert (energy["trust"], energy["valid"]) == ("replayed", True)
    assert energy["domains"]["gpu:0"] == pytest.approx(true_j(test, 0), rel=0.02)
    assert energy["domains"]["gpu:1"] == pytest.approx(true_j(test, 1), rel=0.005)
    assert energy["unmetered"] == ["cpu:0", "dram:0"]
    meters = {meter["id"]: meter for meter in report["meters"]}
    assert meters["replay:gpu:0"]["device"] == uuid(0)
    assert meters["replay:gpu:0"]["source"] == f"{path}, power.draw.instant [W], clock offset +0.000 s"
    assert meters["replay:gpu:0"]["update_period_s"] == pytest.approx(0.05, rel=0.3)
    result.stdout.fnmatch_lines(["tpf: gpu:0 replayed by replay_nvidia_smi_power_instant, *", f"tpf: replayed from {path}: clock offset*"])


def test_a_recorder_with_a_wrong_clock_is_put_right_by_the_offset(suite, recorder):
    path = wait_for(recorder(shift_s=-3.25))
    suite.run(WINDOW, "--tpf-replay", path, "--tpf-replay-offset", "3.25").assert_outcomes(passed=1)
    test = suite.test()
    assert test["energy"]["domains"]["gpu:0"] == pytest.approx(true_j(test, 0), rel=0.02)
    assert suite.report()["meters"][0]["source"].endswith("clock offset +3.250 s")


def test_replayed_energy_satisfies_who_wants_no_estimates(suite, recorder):
    path = wait_for(recorder())
    suite.pytester.makefile(".ini", pytest=f"[pytest]\ntpf_replay = {path}\ntpf_meter = replay\ntpf_require = measured\n")
    suite.run(WINDOW).assert_outcomes(passed=1)
    assert suite.test()["energy"]["trust"] == "replayed"


def test_a_log_that_ended_before_the_test_leaves_its_energy_unknown(suite, tmp_path):
    path = tmp_path / "power.csv"
    path.write_text(FORMATS["smi"]([Sample(time.time() - 1 + n / 10, 0, 300.0, 0.0) for n in range(8)]))
    suite.run(
        """
        @pytest.mark.tpf(max_joules=1000)
        def test_it(model): model.generate(seconds=0.3)
        """,
        "--tpf-replay",
        str(path),
    ).assert_outcomes(passed=1)
    test = suite.test()
    assert test["energy"]["it_j"] is None
    assert test["energy"]["reasons"] == ["not_bracketed"]
    assert test["budgets"][0]["verdict"] == "not_measured"


def test_a_log_with_a_hole_in_the_window_is_a_gap(suite, tmp_path):
    path = tmp_path / "power.csv"
    begin = time.time() - 1
    # Recorded ahead of time, so to say: every 0.1 s, but nothing between half a second and 20 s from now.
    times = [begin + n / 10 for n in range(15)] + [begin + 21 + n / 10 for n in range(3000)]
    path.write_text(FORMATS["power"]([Sample(t, 0, 300.0, 0.0) for t in times]))
    suite.run(
        """
        @pytest.mark.tpf(boundary="device")
        def test_it(model): model.generate(seconds=3)
        """,
        "--tpf-replay",
        str(path),
    ).assert_outcomes(passed=1)
    energy = suite.test()["energy"]
    assert energy["it_j"] is None
    assert energy["reasons"] == ["sampling_gap"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--tpf-replay", "gone.csv"), "*replay: gone.csv can't be read: No such file or directory*"),
        (("--tpf-meter", "replay"), "*replay: no log is given: --tpf-replay FILE*"),
    ],
)
def test_a_log_that_cannot_be_replayed_is_said_at_the_top(suite, options, said):
    result = suite.run(WINDOW, *options)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines([said])
    assert suite.test()["energy"]["reasons"] == ["no_meter"]


@pytest.mark.parametrize("text", ["soon", "nan", "inf"])
def test_an_offset_is_a_number_of_seconds(suite, text):
    result = suite.run(WINDOW, "--tpf-replay-offset", text)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--tpf-replay-offset: *is not usable*"])


def test_an_offset_may_be_negative(suite, recorder):
    path = wait_for(recorder(shift_s=3.25))
    suite.run(WINDOW, "--tpf-replay", path, "--tpf-replay-offset", "-3.25").assert_outcomes(passed=1)
    test = suite.test()
    assert test["energy"]["domains"]["gpu:0"] == pytest.approx(true_j(test, 0), rel=0.02)
