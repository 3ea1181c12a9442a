"""One table: this plugin beside Zeus, CodeCarbon and pytest-energy-reporter, on the same stand-in boards and the same windows.

    python -m benchmarks.beside_peers [--write] [--noisy] [--json PATH]

Energy errors of windows around 50 ms, 250 ms, 1 s and 5 s (``accuracy``), and what a window costs (``cost``). About eight minutes. Exits
with 1 where a goal for windows of 250 ms is missed: 95th percentile under 1 % with a 20 ms counter and under 6 % with a 100 ms counter.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import json
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tabulate import tabulate

from benchmarks.beside_peers import accuracy, cost
from benchmarks.beside_peers.accuracy import COUNTERS_S, LOADS, WINDOWS, Told
from benchmarks.known_joules.tools import ALL_TOOLS, ENERGY_REPORTER, OURS, Tool
from benchmarks.peers import ROOT, version_of
from benchmarks.published import machine, machine_line, replace_part
from benchmarks.quiet import Noise, Watch, require_quiet

PAGE = ROOT / "docs" / "benchmarks.md"
RESULT = ROOT / "docs" / "results" / "beside-peers.json"
DISTRIBUTIONS = {OURS: "pytest-tpf", "Zeus": "zeus", "CodeCarbon": "codecarbon", ENERGY_REPORTER: "pytest-energy-reporter"}
GOAL_S, GOALS = 0.25, {0.02: 0.01, 0.1: 0.06}
NO_GPU = "n/a: no GPU"


def main() -> int:
    given = arguments()
    tools = [tool for found in ALL_TOOLS.values() if (tool := found()) is not None]
    if given.write and len(tools) < len(ALL_TOOLS):
        raise SystemExit("--write publishes whole runs: not every tool could be installed")
    require_quiet(anyway=given.noisy)
    watch, started_s = Watch(), time.monotonic()
    gpu_tools = [tool for tool in tools if tool.name != ENERGY_REPORTER]
    told = accuracy.measure(gpu_tools, random.Random(given.seed), say)
    costs = {tool.name: costs_of(tool) for tool in tools}
    noise = watch.noise()
    head = facts(given.seed, tools, noise, round(time.monotonic() - started_s))
    text = page_part(head, noise, told, costs, [tool.name for tool in tools])
    print(text)
    if given.json or given.write:
        save(given.json or RESULT, head, told, costs)
    if given.write:
        replace_part(PAGE, "beside-peers", text)
    return 0 if goals_met(told) else 1


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.beside_peers", description="This plugin beside its peers, in one table.")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="of lengths and starts (default: a new one)")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write every window and every cost")
    parser.add_argument("--write", action="store_true", help="publish: docs/benchmarks.md and docs/results/beside-peers.json")
    parser.add_argument("--noisy", action="store_true", help="measure although the machine is busy; the result says so")
    return parser.parse_args()


def costs_of(tool: Tool) -> dict[str, Any]:
    """Everything that ``cost`` tells of a tool, for one board and for eight where boards matter to it."""
    say(f"costs of {tool.name}")
    boards = (1,) if tool.name == ENERGY_REPORTER else (1, 8)
    return {
        "window": {count: cost.windows(tool, count) for count in boards},
        "sampling_share": {count: cost.sampling_share(tool, count) for count in boards},
        "import_ms": cost.import_ms(tool),
    }


def goals_met(told: Sequence[Told]) -> bool:
    """Whether our own errors of 250 ms windows are within the goals."""
    ours = [t for t in told if t.tool == OURS and t.length_s == GOAL_S]
    return all(
        at(sorted(abs(t.error) for t in ours if t.counter_s == counter_s and t.error is not None), 0.95) < goal
        for counter_s, goal in GOALS.items()
    )


def facts(seed: int, tools: Sequence[Tool], noise: Noise, took_s: int) -> dict[str, Any]:
    """What a reader needs to know of the run."""
    versions = {tool.name: version_of(tool.command[0], DISTRIBUTIONS[tool.name]) for tool in tools}
    return {
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        "versions": versions,
        "seed": seed,
        "took_s": took_s,
        "noise": noise.as_dict(),
    }


def page_part(head: dict[str, Any], noise: Noise, told: Sequence[Told], costs: dict[str, Any], tools: Sequence[str]) -> str:
    """The generated part of the page."""
    where, versions = head["machine"], ", ".join(f"{name} {version}" for name, version in head["versions"].items())
    lead = f"{head['date']}, {versions}; {machine_line(where)}; seed {head['seed']}, {head['took_s']} s. Machine: {noise}."
    rows = [*error_rows(told, tools), *cost_rows(costs, tools)]
    return f"{lead}\n\n{tabulate(rows, ['', *tools], tablefmt='github', disable_numparse=True)}"


def error_rows(told: Sequence[Told], tools: Sequence[str]) -> list[list[str]]:
    """Median and 95th percentile of the size of the relative error."""
    rows = []
    for counter_s, length_s, load in itertools.product(COUNTERS_S, WINDOWS, LOADS):
        name = f"error, {1e3 * counter_s:g} ms counter, {spelled(length_s)}, {load}"
        alike = [t for t in told if (t.counter_s, t.length_s, t.load) == (counter_s, length_s, load)]
        rows.append([name, *(error_cell([t for t in alike if t.tool == tool]) for tool in tools)])
    return rows


def error_cell(told: Sequence[Told]) -> str:
    """``0.02 / 0.15 %``, and how many windows were refused: they have no error, which is not an error of zero."""
    if not told:
        return NO_GPU
    sizes = sorted(abs(t.error) for t in told if t.error is not None)
    if not sizes:
        return f"all {len(told)} refused"
    refused = f" ({len(told) - len(sizes)} of {len(told)} refused)" if len(sizes) < len(told) else ""
    return f"{figure(100 * at(sizes, 0.5))} / {figure(100 * at(sizes, 0.95))} %{refused}"


def cost_rows(costs: dict[str, Any], tools: Sequence[str]) -> list[list[str]]:
    """What windows cost."""
    rows = []
    for boards in (1, 8):
        suffix = f", {boards} board{'s' * (boards > 1)}"
        window = {tool: costs[tool]["window"].get(boards, {}) for tool in tools}
        for title, key in (
            ("begin + end, wall", "wall_us"),
            ("begin + end, after 20 ms of sleep", "cold_us"),
            ("begin + end, CPU", "cpu_us"),
        ):
            rows.append([title + suffix, *(microseconds(window[tool].get(key)) for tool in tools)])
        shares = [costs[tool]["sampling_share"].get(boards) for tool in tools]
        rows.append([f"CPU while a window is open{suffix}", *(NO_GPU if share is None else f"{figure(100 * share)} %" for share in shares)])
    rows.append(["evaluating a test, once", *(evaluation(costs[tool]) for tool in tools)])
    rows.append(["import", *(" + ".join(f"{ms:.1f}" for ms in costs[tool]["import_ms"].values()) + " ms" for tool in tools)])
    return rows


def evaluation(costs: dict[str, Any]) -> str:
    """What is left for later, where anything is."""
    found = costs["window"][1].get("evaluate_ms")
    return "-" if found is None else f"{found:.0f} ms"


def microseconds(value: float | None) -> str:
    """``4.9 us``; milliseconds where they read better."""
    return NO_GPU if value is None else f"{figure(value)} us" if value < 1000 else f"{figure(value / 1000)} ms"


def spelled(seconds: float) -> str:
    return f"{seconds:g} s" if seconds >= 1 else f"{1e3 * seconds:g} ms"


def figure(value: float) -> str:
    """Two digits that say something, none that don't."""
    return f"{value:.2f}" if value < 1 else f"{value:.1f}" if value < 100 else f"{value:.0f}"


def at(ordered: Sequence[float], share: float) -> float:
    """The percentile of sorted values; infinite where there are none."""
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else float("inf")


def save(path: Path, head: dict[str, Any], told: Sequence[Told], costs: dict[str, Any]) -> None:
    """Every window, one a line, and every cost."""
    rows = ",\n".join(json.dumps(asdict(t) | {"error": t.error}) for t in told)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'{json.dumps(head | {"costs": costs}, indent=1)[:-2]},\n "windows": [\n{rows}\n]}}\n', encoding="utf-8")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    started_s = time.perf_counter()
    code = main()
    say(f"({time.perf_counter() - started_s:.0f} s)")
    sys.exit(code)
