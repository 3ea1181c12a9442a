"""Three ways past pytest-benchmark's gate for a test that became nine times slower, or vanished; and what ours says. All really run."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers import environment

BENCHMARKED = """
import os, time

def work():
    end = time.process_time() + 0.02 * int(os.environ.get("TIMES", "1"))
    while time.process_time() < end:
        pass

def test_{name}(benchmark):
    benchmark.pedantic(work, rounds=10, iterations=1)

def test_other(benchmark):
    benchmark.pedantic(lambda: None, rounds=10, iterations=1)
"""

MEASURED = """
import os, time
import pytest

def work():
    end = time.process_time() + 0.1 * int(os.environ.get("TIMES", "1"))
    while time.process_time() < end:
        pass

@pytest.mark.tpf(rounds=10)
def test_{name}(tpf):
    def one():
        work()
        tpf.count(output_tokens=100)
    tpf(one)

@pytest.mark.tpf(rounds=10, max_regression="off")
def test_other(tpf):
    def one():
        time.sleep(0.1)
        tpf.count(output_tokens=100)
    tpf(one)
"""


@dataclass(frozen=True)
class Situation:
    """What becomes of the test that the baseline has."""

    name: str
    test: str = "slow"
    deleted: bool = False
    times: int = 9
    workers: bool = False


SITUATIONS = (
    Situation("nothing changed", times=1),
    Situation("nine times slower"),
    Situation("nine times slower, with -n 2", workers=True),
    Situation("nine times slower, and renamed", test="renamed"),
    Situation("deleted", deleted=True),
)


@dataclass(frozen=True)
class Outcome:
    """Exit codes: of pytest-benchmark, of ours as it is, and of ours with ``--tpf-gate strict``."""

    situation: str
    benchmark: int
    ours: int
    strict: int


def outcomes(python: Path) -> list[Outcome]:
    """Every situation; ``python`` has pytest-benchmark and pytest-xdist."""
    return [
        Outcome(
            each.name,
            benchmark=_benchmark(python, each),
            ours=_ours(each),
            strict=_ours(each, "--tpf-gate", "strict"),
        )
        for each in SITUATIONS
    ]


def _benchmark(python: Path, situation: Situation) -> int:
    with tempfile.TemporaryDirectory() as folder:
        run = _Runs(Path(folder), [str(python), "-m", "pytest", "-p", "no:tpf"], BENCHMARKED)
        run(Situation("before", times=1), "--benchmark-save=before")
        return run(situation, "--benchmark-compare", "--benchmark-compare-fail=mean:50%")


def _ours(situation: Situation, *more: str) -> int:
    with tempfile.TemporaryDirectory() as folder:
        run = _Runs(
            Path(folder), [sys.executable, "-m", "pytest", "--tpf-meter", "estimate", "--tpf-fail", "joules_per_token:50%"], MEASURED
        )
        if run(Situation("before", times=1), "--tpf-baseline", "tpf-baseline.json", "--tpf-accept", "first baseline"):
            raise SystemExit("the baseline was not accepted")
        return run(situation, "--tpf-baseline", "tpf-baseline.json", *more)


class _Runs:
    """Runs of a suite in a folder of its own."""

    def __init__(self, folder: Path, command: Sequence[str], suite: str) -> None:
        self._folder, self._suite = folder, suite
        self._command = [*command, "-q", "-p", "no:cacheprovider", "--rootdir", str(folder)]

    def __call__(self, situation: Situation, *arguments: str) -> int:
        text = self._suite.format(name=situation.test)
        (self._folder / "test_it.py").write_text(_without_first(text) if situation.deleted else text)
        workers = ["-n", "2"] if situation.workers else []
        command = [*self._command, *workers, *arguments, "test_it.py"]
        variables = environment(TIMES=str(situation.times))
        return subprocess.run(command, cwd=self._folder, env=variables, capture_output=True, text=True, check=False).returncode


def _without_first(text: str) -> str:
    """The suite without its first test."""
    parts = text.split("\n\n")
    return "\n\n".join(part for part in parts if "test_slow" not in part)
