"""``python -m benchmarks.known_joules``: every tool on every board whose joules are known (README.md in this folder)."""

from __future__ import annotations

import argparse
import datetime
import json
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.known_joules import tables
from benchmarks.known_joules.run import Outcome, Suite
from benchmarks.known_joules.scenario import Scenario
from benchmarks.known_joules.scenarios import SCENARIOS
from benchmarks.known_joules.tools import GPU_TOOLS, chosen
from benchmarks.peers import ROOT
from benchmarks.published import machine, machine_line, replace_part
from benchmarks.quiet import Noise, Watch, require_quiet

PAGE = ROOT / "docs" / "known-joules.md"
RESULT = ROOT / "docs" / "results" / "known-joules.json"


def main() -> int:
    given = arguments()
    scenarios = selected(given.only)
    tools = chosen(given.tools.split(",") if given.tools else None, given.adapter)
    if given.write and (given.only or given.tools or len(tools) < len(GPU_TOOLS)):
        raise SystemExit("--write publishes whole runs: no --only, no --tools, and every tool installed")
    require_quiet(anyway=given.noisy)
    watch, started_s = Watch(), time.monotonic()
    suite = Suite(tools, given.seed)
    outcomes = suite.measure(scenarios, given.repeats, lambda text: say(f"[{time.monotonic() - started_s:4.0f} s] {text}"))
    noise = watch.noise()
    head = facts(given, suite.versions, noise, round(time.monotonic() - started_s))
    text = page_part(head, noise, outcomes, list(suite.versions))
    print(text)
    if given.json or given.write:
        save(given.json or RESULT, head, outcomes)
    if given.write:
        replace_part(PAGE, "known-joules", text)
    say(str(noise))
    return 0


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.known_joules", description="Tools that measure GPU energy, on boards whose energy is known."
    )
    parser.add_argument("--tools", help=f"comma-separated, of {', '.join(GPU_TOOLS)} (default: all)")
    parser.add_argument("--adapter", action="append", default=[], metavar="NAME=COMMAND", help="a further tool; may be repeated")
    parser.add_argument(
        "--only", action="append", default=[], metavar="TEXT", help="scenarios with TEXT in category or name; may be repeated"
    )
    parser.add_argument("--repeats", type=int, default=3, help="windows of each scenario and tool (default: 3)")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="of lengths and starts (default: a new one)")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write every window's outcome")
    parser.add_argument("--write", action="store_true", help="publish: docs/known-joules.md and docs/results/known-joules.json")
    parser.add_argument("--noisy", action="store_true", help="measure although the machine is busy; the result says so")
    return parser.parse_args()


def selected(texts: Sequence[str]) -> list[Scenario]:
    """The scenarios that any of ``texts`` names; all of them where there is none."""
    found = [s for s in SCENARIOS if not texts or any(text in f"{s.category}: {s.name}" for text in texts)]
    if not found:
        raise SystemExit(f"no scenario has {' or '.join(map(repr, texts))} in its category or name")
    return found


def facts(given: argparse.Namespace, versions: dict[str, str], noise: Noise, took_s: int) -> dict[str, Any]:
    """What a reader needs to know of the run."""
    return {
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        "versions": versions,
        "repeats": given.repeats,
        "seed": given.seed,
        "took_s": took_s,
        "noise": noise.as_dict(),
    }


def page_part(head: dict[str, Any], noise: Noise, outcomes: Sequence[Outcome], tools: Sequence[str]) -> str:
    """The generated part of the page."""
    where = head["machine"]
    count = len({(o.scenario.category, o.scenario.name) for o in outcomes})
    lines = [
        f"{head['date']}: {count} scenarios, {head['repeats']} windows each, seed {head['seed']}, {head['took_s']} s. "
        f"{', '.join(head['versions'].values())}. {machine_line(where)}. "
        f"Machine: {noise}.",
    ]
    parts = [("All windows", tables.by_verdict), ("Stated intervals", tables.intervals), ("By category", tables.by_category)]
    if any(o.scenario.category == "gain" for o in outcomes):
        parts.append(("Sensors of a wrong scale: comparing / absolute", tables.by_gain))
    for title, table in [*parts, ("Every scenario", tables.by_scenario)]:
        if text := table(outcomes, tools):
            lines += ["", f"### {title}", "", text]
    return "\n".join(lines)


def save(path: Path, head: dict[str, Any], outcomes: Sequence[Outcome]) -> None:
    """Every window's outcome, one a line so that changes can be read."""
    rows = ",\n".join(json.dumps(row) for row in tables.as_dicts(outcomes))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'{json.dumps(head, indent=1)[:-2]},\n "windows": [\n{rows}\n]}}\n', encoding="utf-8")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
