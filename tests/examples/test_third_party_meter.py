"""The example of a third party's meter is installed as its user would, and measures a suite by files whose power is known."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.plugin.conftest import suite  # noqa: F401  the fixture

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "third-party-meter"
CPU_W, DRAM_W = 85.0, 7.5

SUITE = """
    @pytest.mark.tpf(rounds=4, max_joules_per_token=1000)
    def test_it(tpf, model):
        tpf(model.generate, tokens=10, seconds=0.2)
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The folder that the package was installed into."""
    source, target = tmp_path_factory.mktemp("source") / "meter", tmp_path_factory.mktemp("site")
    shutil.copytree(EXAMPLE, source)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-build-isolation", "--no-deps"]
    done = subprocess.run([*pip, "--target", str(target), str(source)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture
def on_path(installed, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", f"{installed}:{ROOT}")
    monkeypatch.delenv("TPF_HWMON", raising=False)


@pytest.fixture
def sensors(tmp_path, monkeypatch, on_path):
    """A gauge that stands at CPU_W and a counter that goes up by DRAM_W, as hwmon shows them."""
    power, energy, stop = tmp_path / "power1_input", tmp_path / "energy1_input", threading.Event()
    power.write_text(f"{CPU_W * 1e6:.0f}\n")

    def count():
        while not stop.wait(0.005):
            draft = tmp_path / "draft"
            draft.write_text(f"{DRAM_W * time.perf_counter() * 1e6:.0f}\n")
            draft.replace(energy)  # never half written

    counting = threading.Thread(target=count)
    counting.start()
    while not energy.exists():
        time.sleep(0.001)
    monkeypatch.setenv("TPF_HWMON", f"cpu:0={power},dram:0={energy}")
    yield power
    stop.set()
    counting.join()


def tpf_meters():
    command = [sys.executable, "-m", "pytest_tpf.cli.main", "meters", "--meter", "hwmon", "--seconds", "0.5"]
    return subprocess.run(command, env=os.environ, capture_output=True, text=True, timeout=120)


def test_a_suite_is_measured_by_it(suite, sensors):  # noqa: F811
    suite.run(SUITE, "--tpf-meter", "hwmon", subprocess=True).assert_outcomes(passed=1)
    test = suite.test()
    energy, duration_s = test["energy"], test["service"]["duration_s"]
    assert (energy["trust"], energy["valid"], energy["unmetered"]) == ("measured", True, [])
    assert energy["domains"]["cpu:0"] == pytest.approx(CPU_W * duration_s, rel=0.01)
    assert energy["domains"]["dram:0"] == pytest.approx(DRAM_W * duration_s, rel=0.02)
    assert [meter["id"] for meter in suite.report()["meters"]] == ["hwmon:cpu:0", "hwmon:dram:0"]


def test_a_sensor_that_goes_away_leaves_the_energy_unknown(suite, sensors):  # noqa: F811
    suite.run(
        f"""
        import pathlib

        @pytest.mark.tpf
        def test_it(model):
            model.generate(seconds=0.3)
            pathlib.Path({str(sensors)!r}).unlink()
            model.generate(seconds=0.3)
        """,
        "--tpf-meter",
        "hwmon",
        subprocess=True,
    ).assert_outcomes(passed=1)
    energy = suite.test()["energy"]
    assert energy["it_j"] is None
    assert "counter_unreadable" in energy["reasons"]


def test_tpf_meters_lists_it(sensors):
    done = tpf_meters()
    assert done.returncode == 0, done.stderr
    assert re.search(r"^hwmon +cpu:0 +measured .* 85\.0 W ", done.stdout, re.MULTILINE)
    assert re.search(r"^hwmon +dram:0 +measured ", done.stdout, re.MULTILINE)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("", "tpf meters: hwmon: name sensors, as in TPF_HWMON=node=/sys/class/hwmon/hwmon0/power1_input (found: "),
        ("node=/nowhere/power1_input", "tpf meters: hwmon: /nowhere/power1_input can't be read: "),
        ("node=/etc/hostname", "tpf meters: hwmon: TPF_HWMON: '/etc/hostname' is neither a power*_input nor an energy*_input file"),
    ],
)
def test_a_mistake_is_one_line(on_path, monkeypatch, value, said):
    monkeypatch.setenv("TPF_HWMON", value)
    done = tpf_meters()
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith(said)
