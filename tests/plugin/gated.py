"""``gate``: suites whose energy is known to the joule, compared with a baseline that was accepted the way a user accepts it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import neighbours_off
from tests.plugin.conftest import INI, Suite
from tests.plugin.powered import CONFTEST, DRIVE_VARIABLE, IDLE_W
from tests.standin import Board, Drive, Standin, StandinUnavailable

ROOT = Path(__file__).parents[2]
MARK = 'rounds=5, warmup=0, boundary="device"'
GRADED = "tpf.quality([True] * 190 + [False] * 10, metric='exact_match')"
BASELINE = "base.json"
ACCEPT = ("--tpf-baseline", BASELINE, "--tpf-accept")


def case(name: str, arguments: str = "", mark: str = MARK, then: str = "pass", model: str = "model") -> str:
    """A measured test: five calls of ``model.generate`` with these arguments."""
    return f"""
@pytest.mark.tpf({mark})
def test_{name}(tpf, model):
    tpf({model}.generate, {arguments})
    {then}
"""


ONE, TWO, GRADE = case("one"), case("two"), case("graded", then=GRADED)
ALL = ONE + TWO + GRADE
"""The suite that was accepted."""


def variables(folder: Path, **board: Any) -> dict[str, str]:
    """The environment in which there is one board, with a UUID of its own (nobody else measures it), driven by ``Powered``.

    Raises:
        StandinUnavailable: the driver's library can't be built here.
    """
    drive = Drive(folder / "drive", capacity=1000)
    drive.set(IDLE_W, at_s=0.0)
    one = Board(uuid=f"GPU-{uuid.uuid4()}", drive=str(drive.path), counter_period_s=0.01, utilization_percent=0, **board)
    return {**Standin(boards=(one,)).environment(folder), DRIVE_VARIABLE: str(drive.path), "PYTHONPATH": str(ROOT)}


class GatedSuite(Suite):
    """A suite on a board whose energy is exactly what its tests say, with the accepted baseline beside it."""

    def __init__(self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, folder: Path, accepted: Path) -> None:
        super().__init__(pytester)
        self._monkeypatch, self._folder = monkeypatch, folder
        pytester.makeconftest(CONFTEST)
        self.plug()
        shutil.copy(accepted, self.path / BASELINE)

    def plug(self, **board: Any) -> None:
        """Put in a board; only of this name, power limit, ..., if any are given."""
        for name, value in variables(self._folder, **board).items():
            self._monkeypatch.setenv(name, value)

    def compare(self, source: str | None = None, *options: str, **how: Any) -> pytest.RunResult:
        """Run these tests against the baseline."""
        return self.run(source, "--tpf-baseline", BASELINE, *options, **how)

    def accept(self, source: str | None = None, *options: str, **how: Any) -> pytest.RunResult:
        """Run these tests and accept them."""
        return self.run(source, *ACCEPT, "meant", *options, **how)

    @property
    def baseline(self) -> dict[str, Any]:
        """The baseline file."""
        content: dict[str, Any] = json.loads((self.path / BASELINE).read_text(encoding="utf-8"))
        return content

    @property
    def entries(self) -> dict[str, Any]:
        """The entries of the only hardware in the baseline, by the name after ``::``."""
        (hardware,) = self.baseline["hardware"].values()
        return {key.partition("::")[2]: entry for key, entry in hardware["tests"].items()}

    def verdicts(self) -> dict[str, str]:
        """What became of each test in the report."""
        return {name: test["regression"]["verdict"] for name, test in self.tests().items() if test["regression"]}

    def changes(self, test: str = "test_one") -> dict[str, dict[str, Any]]:
        """The changes of a test in the report, by metric."""
        return {change["metric"]: change for change in self.tests()[test]["regression"]["changes"]}


def accepted_baseline(folder: Path) -> Path:
    """The baseline of the suite ``ALL``, accepted in a run of its own."""
    for name, text in {"conftest.py": CONFTEST, "pytest.ini": INI, "test_it.py": f"import pytest\n{ALL}"}.items():
        (folder / name).write_text(text)
    try:
        environment = {**os.environ, **variables(folder), "PYTEST_ADDOPTS": neighbours_off()}
    except StandinUnavailable as why:
        pytest.skip(str(why))
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *ACCEPT, "first baseline"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"tpf: {BASELINE}: 3 tests accepted: first baseline" in done.stdout
    return folder / BASELINE
