"""Record how much the figures of unchanged tests scatter, within a run and from run to run:

    python -m benchmarks.gate.record --label "quiet machine" [--runs 36] [--rounds 20]

Every run is a pytest process of its own: the suites of ``benchmarks/gate/suites``, on the adder (metered by the estimate, on one thread,
which is what a CI runner without a GPU has) and on the stand-in board (through NVIDIA's binding). What is kept, in
docs/results/gate-noise.json: joules, seconds and the time to first token of every round.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.peers import ROOT, environment
from benchmarks.published import machine
from benchmarks.quiet import Watch
from tests.standin import Board, Drive, Standin

NOISE = ROOT / "docs" / "results" / "gate-noise.json"
SUITES = Path(__file__).with_name("suites")
DIGITS = 4  # a hundredth of a percent


def adding(_seed: int, _folder: Path) -> tuple[list[str], dict[str, str]]:
    """Arguments and environment for a run on the adder."""
    example = str(ROOT / "examples" / "adder")
    return (
        [str(SUITES / "test_adding.py"), "-p", "conftest", "--tpf-meter", "estimate"],
        {"PYTHONPATH": f"{ROOT}{os.pathsep}{example}", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
    )


def board(seed: int, folder: Path) -> tuple[list[str], dict[str, str]]:
    """Arguments and environment for a run on the stand-in board."""
    drive = Drive(folder / "drive", capacity=500_000)
    drive.set(90.0)
    standin = Standin(boards=(Board(drive=str(drive.path), counter_period_s=0.02, counter_jitter_s=0.002, seed=seed % 2**15),))
    return (
        [str(SUITES / "test_board.py"), "--tpf-meter", "nvml"],
        {**standin.environment(folder), "GATE_DRIVE": str(drive.path), "GATE_SEED": str(seed)},
    )


RECORDED = {"adder": adding, "board": board}


def one_run(suite: str, seed: int, rounds: int) -> dict[str, dict[str, object]] | None:
    """The tests of one run, by name; None where the run failed, which is said."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        arguments, variables = RECORDED[suite](seed, folder)
        report = folder / "report.json"
        command = [sys.executable, "-m", "pytest", "-q", "-c", os.devnull, "--rootdir", str(SUITES), "-p", "no:cacheprovider", *arguments]
        command += ["--tpf-rounds", str(rounds), "--tpf-report", str(report)]
        done = subprocess.run(command, env=environment(**variables), cwd=ROOT, capture_output=True, text=True, check=False)
        if done.returncode or not report.exists():
            print(f"a run of {suite} failed and is left out:\n{done.stdout[-2000:]}{done.stderr[-2000:]}", file=sys.stderr)
            return None
        return {test["nodeid"].partition("::")[2]: kept(test) for test in json.loads(report.read_text())["tests"]}


def kept(test: dict) -> dict[str, object]:
    """What is kept of a test: the half-width of its energy's interval (relative), tokens per round, and the rounds."""
    energy, rounds = test["energy"], test["rounds"]
    known = energy["it_j"] and energy["uncertainty_j"] is not None
    series = {name: [short(each[name]) for each in rounds] for name in ("it_j", "duration_s", "ttft_s")}
    return {
        "tokens": sorted({each["output_tokens"] for each in rounds}),
        "uncertainty": short(energy["uncertainty_j"] / energy["it_j"] if known else None),
        **{name: values for name, values in series.items() if any(values)},
    }


def short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.{DIGITS}g}")


def runs(suite: str, count: int, rounds: int) -> Iterator[dict[str, dict[str, object]]]:
    for seed in range(1, count + 1):
        if (run := one_run(suite, seed, rounds)) is not None:
            yield run
        print(f"{suite}: {seed}/{count} runs, load {os.getloadavg()[0]:.1f}", file=sys.stderr, flush=True)


def by_test(found: list[dict[str, dict[str, object]]]) -> dict[str, list[dict[str, object]]]:
    """The runs of each test."""
    return {name: [run[name] for run in found if name in run] for name in found[0]} if found else {}


def store(label: str, suite: str, entry: dict[str, object]) -> None:
    """Put a recording into the file, in the place of an older one of the same label and suite."""
    content = json.loads(NOISE.read_text()) if NOISE.exists() else {}
    content.setdefault(label, {})[suite] = entry
    NOISE.write_text(compact(content), encoding="utf-8")


def compact(content: dict) -> str:
    """JSON with one run a line, so that a change of it can be looked at."""
    lines = []
    for label, suites in sorted(content.items()):
        parts = []
        for suite, entry in sorted(suites.items()):
            head = json.dumps({key: value for key, value in entry.items() if key != "tests"}, separators=(",", ":"))
            tests = ",\n".join(
                f"{json.dumps(name)}:[\n" + ",\n".join(json.dumps(run, separators=(",", ":")) for run in each) + "]"
                for name, each in entry["tests"].items()
            )
            parts.append(f'{json.dumps(suite)}:{head[:-1]},"tests":{{\n{tests}}}}}')
        lines.append(f"{json.dumps(label)}:{{\n" + ",\n".join(parts) + "}")
    return "{\n" + ",\n".join(lines) + "}\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--label", required=True, help='how the machine was, such as "quiet machine"')
    parser.add_argument("--runs", type=int, default=36)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--suite", choices=RECORDED, action="append", help="only this one (may be given twice)")
    given = parser.parse_args()
    for suite in given.suite or RECORDED:
        watch, started = Watch(), datetime.datetime.now(datetime.UTC)
        found = list(runs(suite, given.runs, given.rounds))
        noise = watch.noise()
        print(f"{suite}: {len(found)} runs; machine {noise}", file=sys.stderr)
        store(given.label, suite, {"at": f"{started:%Y-%m-%d}", "machine": machine(), "noise": noise.as_dict(), "tests": by_test(found)})
    return 0


if __name__ == "__main__":
    sys.exit(main())
