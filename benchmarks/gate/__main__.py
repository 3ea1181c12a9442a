"""How often does the gate cry wolf, and what does it hear?

    python -m benchmarks.gate [--suites 200] [--tests 200] [--seed 1] [--no-runs] [--write]

Suites of 200 unchanged tests are made from the rounds in docs/results/gate-noise.json (``python -m benchmarks.gate.record`` records them)
and judged by the plugin's own functions; then single tests are made worse. pytest-benchmark's rule and a t-test see the same rounds, and
pytest-benchmark itself is run on one suite of each recording. With --write the tables go into docs/benchmarks.md, all figures to
docs/results/gate.json. --no-runs: only what is already recorded, no pytest process is started.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import random
import sys
import time
from concurrent.futures import ProcessPoolExecutor

from tabulate import tabulate

from benchmarks.gate.driven import driven
from benchmarks.gate.made import MADE, made
from benchmarks.gate.recorded import Recorded, labels, load, scatter
from benchmarks.gate.rivals import mean_5_percent
from benchmarks.gate.silent import Outcome, outcomes
from benchmarks.gate.simulate import BASELINE, REFERENCES, Reference, a_suite
from benchmarks.gate.study import CHANGES, Found, study
from benchmarks.peers import ROOT, gate_python
from benchmarks.published import replace_part

PAGE, RESULTS = ROOT / "docs" / "benchmarks.md", ROOT / "docs" / "results" / "gate.json"
Noise = tuple[str, str]


def noises() -> list[Noise]:
    """(label, suite): what is recorded, then noise that is made, to show where the limits are."""
    return [*labels(), *(("made", name) for name in MADE)]


def tests_of(noise: Noise) -> list[Recorded]:
    return made(noise[1]) if noise[0] == "made" else load(*noise)


@dataclasses.dataclass(frozen=True)
class Condition:
    """One line of the study. ``together``: see ``simulate.a_suite``."""

    noise: Noise
    reference: Reference
    together: bool
    suites: int
    tests: int
    seed: int


def studied(condition: Condition) -> list[Found]:
    recorded = tests_of(condition.noise)
    return study(recorded, condition.reference, condition.suites, condition.tests, condition.seed, together=condition.together)


def conditions(suites: int, tests: int, seed: int) -> list[Condition]:
    """Every noise with every reference that it has the runs for; made noise has nothing in common between tests."""
    return [
        Condition(noise, reference, together, suites, tests, seed)
        for noise in noises()
        for reference in (REFERENCES if noise[0] != "made" else (BASELINE, REFERENCES[2]))
        for together in ((False, True) if noise[0] != "made" else (False,))
        if reference.runs < min(len(test.runs) for test in tests_of(noise))
    ]


def noise_table(tablefmt: str) -> str:
    rows = []
    for label, suite in labels():
        for test in (scatter(each) for each in load(label, suite)):
            rows.append([f"{label}: {suite}", test.name, *(f"{100 * each:.1f} %" for each in (test.within, test.between))])
            rows[-1].append(f"{test.autocorrelation:+.2f}")
    headers = ["recording", "test", "within a run", "run to run", "correlation of neighbours"]
    return str(tabulate(rows, headers=headers, tablefmt=tablefmt, disable_numparse=True))


def result_rows(results: list[tuple[Condition, list[Found]]], *, together: bool) -> list[list[str]]:
    rows = []
    for condition, found in results:
        for each in found if condition.together is together else []:
            name = condition.reference.name if each.rule == "tpf" else f"{each.rule}, ten rounds against ten"
            caught = [f"{100 * each.caught[change]:.0f}" for change in CHANGES]
            undecided = f"{100 * each.inconclusive_tests / each.tests:.1f} %" if each.rule == "tpf" else "-"
            rows.append([": ".join(condition.noise), name, f"{each.alarms_in_20:.1f}", undecided, *caught])
    return rows


def result_table(results: list[tuple[Condition, list[Found]]], tablefmt: str, *, together: bool) -> str:
    headers = ["noise", "compared with", "alarms in 20 runs", "inconclusive", *(f"+{100 * change:g} %" for change in CHANGES)]
    return str(tabulate(result_rows(results, together=together), headers=headers, tablefmt=tablefmt, disable_numparse=True))


def silent_table(found: list[Outcome], tablefmt: str) -> str:
    rows = [[each.situation, each.benchmark, each.ours, each.strict] for each in found]
    headers = ["what became of the test", "pytest-benchmark", "pytest-tpf", "pytest-tpf, --tpf-gate strict"]
    return str(tabulate(rows, headers=headers, tablefmt=tablefmt, disable_numparse=True))


def agreement(seed: int) -> str:
    """pytest-benchmark itself on one suite of every recording, against our copy of its rule."""
    python = gate_python()
    if python is None:
        return "pytest-benchmark could not be installed: its rule was not held against the program itself."
    lines = []
    for label, suite in labels():
        cases = a_suite(random.Random(seed), load(label, suite), BASELINE, 200, together=False)
        its, copied = driven(python, cases), tuple(place for place, case in enumerate(cases) if mean_5_percent(case))
        same = "the same as" if its.regressed == copied else "NOT the same as"
        lines.append(
            f"{label}: {suite}: exit code {its.exit_code}, {len(its.regressed)} of 200 unchanged tests regressed, {same} by our copy"
        )
    return "pytest-benchmark itself, run on one suite of each recording: " + "; ".join(lines) + "."


def as_json(results: list[tuple[Condition, list[Found]]], silent: list[Outcome], own: str) -> dict[str, object]:
    return {
        "conditions": [
            {
                **dataclasses.asdict(condition),
                "reference": condition.reference._asdict(),
                "found": [dataclasses.asdict(each) for each in found],
            }
            for condition, found in results
        ],
        "pytest_benchmark_itself": own,
        "silent_passes": [dataclasses.asdict(each) for each in silent],
    }


def page(results: list[tuple[Condition, list[Found]]], silent: list[Outcome], own: str, given: argparse.Namespace) -> str:
    parts = [
        f"{given.suites} suites of {given.tests} tests for each line, seed {given.seed}.",
        noise_table("pipe"),
        "Each test draws its runs on its own:",
        result_table(results, "pipe", together=False),
        "All tests of a suite come from the same runs, as in a real one, so that what disturbs a run disturbs them all:",
        result_table(results, "pipe", together=True),
        own,
        "Exit codes:" if silent else "",
        silent_table(silent, "pipe") if silent else "",
    ]
    return "\n\n".join(part for part in parts if part)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--suites", type=int, default=200)
    parser.add_argument("--tests", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-runs", action="store_true", help="start no pytest process: neither pytest-benchmark's nor ours")
    parser.add_argument("--write", action="store_true", help="publish into docs/")
    given = parser.parse_args()
    asked, results, started = conditions(given.suites, given.tests, given.seed), [], time.monotonic()
    with ProcessPoolExecutor(max_workers=os.cpu_count()) as pool:
        for condition, found in zip(asked, pool.map(studied, asked), strict=True):
            results.append((condition, found))
            print(f"{len(results)}/{len(asked)}, {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    own = "" if given.no_runs else agreement(given.seed)
    silent = [] if given.no_runs else outcomes(gate_python())
    text = page(results, silent, own, given)
    print(text)
    if given.write:
        replace_part(PAGE, "gate", text)
        RESULTS.write_text(json.dumps(as_json(results, silent, own), indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
