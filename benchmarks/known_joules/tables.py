"""Outcomes as tables and as a result file. Pure."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from tabulate import tabulate

from benchmarks.known_joules.judge import CLOSE, VERDICTS, Verdict
from benchmarks.known_joules.run import Outcome

MOST_SHOWN = 10.0  # a larger relative error is only called larger


def by_verdict(outcomes: Sequence[Outcome], tools: Sequence[str]) -> str:
    """How many windows of each tool came to what."""
    rows = []
    for tool in tools:
        own = [o for o in outcomes if o.tool == tool]
        counts = Counter(o.verdict for o in own)
        figures = [o for o in own if o.error is not None]
        close = sum(abs(o.error) <= CLOSE for o in figures)
        rows.append([tool, len(own), *(counts[name] for name in VERDICTS), _share(close, len(figures))])
    return _table(rows, ["", "windows", *VERDICTS, f"figures within {CLOSE:.0%}"])


def by_category(outcomes: Sequence[Outcome], tools: Sequence[str]) -> str:
    """For each category and tool the windows that were right or honestly refused, and of the others the silently wrong."""
    rows = []
    for category in _in_order(o.scenario.category for o in outcomes):
        row: list[Any] = [category, len({o.scenario.name for o in outcomes if o.scenario.category == category})]
        for tool in tools:
            counts = Counter(o.verdict for o in outcomes if (o.tool, o.scenario.category) == (tool, category))
            wrong = f"; {counts['wrong silently']} wrong silently" if counts["wrong silently"] else ""
            row.append(f"{counts['right'] + counts['refused honestly']} of {counts.total()}{wrong}")
        rows.append(row)
    return _table(rows, ["category", "scenarios", *tools])


def intervals(outcomes: Sequence[Outcome], tools: Sequence[str]) -> str:
    """Of the tools that state intervals: how often the truth lay inside, and how wide they are."""
    rows = []
    for tool in tools:
        stated = [o for o in outcomes if o.tool == tool and o.claim.half_width_j is not None and o.claim.joules and o.truth]
        if not stated:
            continue
        widths = [o.claim.half_width_j / o.claim.joules for o in stated]
        inside = sum(abs(o.claim.joules - o.truth.nearest_j(o.claim.joules)) <= o.claim.half_width_j for o in stated)
        rows.append([tool, len(stated), _share(inside, len(stated)), _percent(statistics.median(widths)), _percent(max(widths))])
    return _table(rows, ["", "figures with an interval", "truth inside", "median half width", "widest"]) if rows else ""


def by_gain(outcomes: Sequence[Outcome], tools: Sequence[str]) -> str:
    """Sensors of a wrong scale: errors for comparing on the same board, and absolute ones."""
    return _by_scenario([o for o in outcomes if o.scenario.category == "gain"], tools, lambda own: f"{cell(own)} / {absolute_cell(own)}")


def by_scenario(outcomes: Sequence[Outcome], tools: Sequence[str]) -> str:
    """Each scenario's worst verdict, how many of its windows came to it where not all did, and the median size of the error."""
    return _by_scenario(outcomes, tools, cell)


def cell(own: Sequence[Outcome]) -> str:
    """``right, 0.02 %`` or ``wrong silently 2 of 3, 7.1 %``."""
    return _cell([o.verdict for o in own], [o.error for o in own])


def absolute_cell(own: Sequence[Outcome]) -> str:
    """The same for the energy itself, whatever the sensor's scale."""
    return _cell([o.absolute_verdict for o in own], [o.absolute_error for o in own])


def _cell(verdicts: Sequence[Verdict], errors: Sequence[float | None]) -> str:
    if not verdicts:
        return ""
    worst = max(verdicts, key=VERDICTS.index)
    count = verdicts.count(worst)
    sizes = [abs(error) for error in errors if error is not None]
    of = f" {count} of {len(verdicts)}" if count < len(verdicts) else ""
    return f"{worst}{of}" + (f", {_percent(statistics.median(sizes))}" if sizes else "")


def _by_scenario(outcomes: Sequence[Outcome], tools: Sequence[str], show: Callable[[Sequence[Outcome]], str]) -> str:
    grouped: dict[tuple[str, str], list[Outcome]] = {}
    for o in outcomes:
        grouped.setdefault((o.scenario.category, o.scenario.name), []).append(o)
    order = _in_order(category for category, _ in grouped)
    rows = [
        [category, name, own[0].scenario.expect, *(show([o for o in own if o.tool == tool]) for tool in tools)]
        for (category, name), own in sorted(grouped.items(), key=lambda item: order.index(item[0][0]))
    ]
    return _table(rows, ["category", "scenario", "expected", *tools])


def as_dicts(outcomes: Iterable[Outcome]) -> list[dict[str, Any]]:
    """For the result file: one row a window."""
    return [
        {
            "category": o.scenario.category,
            "scenario": o.scenario.name,
            "expected": o.scenario.expect,
            "tool": o.tool,
            "length_s": round(o.length_s, 6),
            "true_j": o.truth and [round(o.truth.least_j, 6), round(o.truth.most_j, 6)],
            "claimed_j": o.claim.joules,
            "half_width_j": o.claim.half_width_j,
            "absolute_half_width_j": o.claim.absolute_half_width_j,
            "verdict": o.verdict,
            "error": o.error,
            "absolute_verdict": o.absolute_verdict,
            "absolute_error": o.absolute_error,
            "said": o.claim.reason or o.claim.error or o.claim.died,
            "flags": list(o.claim.flags),
        }
        for o in outcomes
    ]


def _table(rows: Sequence[Sequence[Any]], headers: Sequence[str]) -> str:
    return tabulate(rows, headers, tablefmt="github", disable_numparse=True)


def _in_order(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.0%}" if whole else "-"


def _percent(value: float) -> str:
    if value >= MOST_SHOWN:
        return f"over {MOST_SHOWN:.0%}"
    return f"{100 * value:.2f} %" if value < 0.1 else f"{100 * value:.0f} %"
