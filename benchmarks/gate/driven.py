"""pytest-benchmark itself on a simulated suite: its process, its saved runs, its verdict. Its clock tells the recorded figures."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.gate.rivals import sides
from benchmarks.gate.simulate import Case
from benchmarks.peers import environment

SUITE = """
import json, pathlib
import pytest

SIDES = json.loads(pathlib.Path(__file__).with_name("rounds.json").read_text())

class Clock:
    now = 0.0

def clock():
    return Clock.now

@pytest.mark.parametrize("number", range(len(SIDES)))
def test_it(benchmark, number):
    figures = iter(SIDES[number])
    def work():
        Clock.now += next(figures)
    benchmark.pedantic(work, rounds=len(SIDES[number]), iterations=1, warmup_rounds=0)
"""


@dataclass(frozen=True)
class Driven:
    """Its exit code and the numbers of the tests that it calls regressed."""

    exit_code: int
    regressed: tuple[int, ...]


def driven(python: Path, cases: Sequence[Case]) -> Driven:
    """``--benchmark-compare-fail=mean:5%`` on these cases."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "test_replayed.py").write_text(SUITE)
        _run(python, folder, [sides(case)[1] for case in cases], "--benchmark-save=before")
        done = _run(python, folder, [sides(case)[0] for case in cases], "--benchmark-compare", "--benchmark-compare-fail=mean:5%")
        numbers = {int(found) for found in re.findall(r"^\s+test_it\[(\d+)\] .*Field 'mean' has failed", done.stdout + done.stderr, re.M)}
        return Driven(done.returncode, tuple(sorted(numbers)))


def _run(python: Path, folder: Path, figures: list[list[float]], *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "rounds.json").write_text(json.dumps(figures))
    command = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:tpf", "-o", "addopts=", "--rootdir", str(folder)]
    command += ["--benchmark-timer=test_replayed.clock", "--benchmark-disable-gc", *arguments, "test_replayed.py"]
    return subprocess.run(command, cwd=folder, env=environment(PYTHONPATH=str(folder)), capture_output=True, text=True, check=False)
