"""The words for a comparison with earlier runs, wherever it is told: of one figure, of one test (``comparisons``: of a run). Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

from pytest_tpf.judge.thresholds import METRICS
from pytest_tpf.records import Change, Reference, Regression, TestRecord, Trust
from pytest_tpf.report.text import UNKNOWN, counted, plain, shortened

Quote = Callable[[str], str]
Standing = Literal["regressed", "inconclusive", "not compared", "new", "improved", "no worse", "told"]

STANDINGS: tuple[Standing, ...] = ("regressed", "inconclusive", "not compared", "new", "improved", "no worse", "told")
"""What became of a test against its reference, the worst first. ``told``: no threshold was set, so that nothing was judged."""

_LONGEST_NAME = 160  # of a test: two long ids must stay two, and a line readable
_LONGEST_REFERENCE = 60


# --- one figure -------------------------------------------------------------------------------------------------------


def change_line(
    change: Change, trust: Trust | None = None, reference: Reference | None = None, remeasured_rounds: int = 0, quote: Quote = plain
) -> str:
    """``joules_per_token +12.4% (95 % interval +10.1% to +14.8%), threshold 5%: 0.412 -> 0.463 J/token, 10 rounds against 10 of main``.

    ``trust`` is that of the test's energy, and is told of an energy that isn't measured. A verdict that was not reached says what is
    missing, and the smallest change that would have been seen. ``quote`` makes text from elsewhere harmless where the line goes.
    """
    metric = quote(change.metric)
    threshold = "" if change.threshold is None else f", threshold {amount(change, change.threshold, sign='')}"
    if change.change is None:
        return f"{metric}{threshold}: {quote(change.reason or 'the figure is unknown')}"
    interval = f"95 % interval {amount(change, change.ci95[0])} to {amount(change, change.ci95[1])}" if change.ci95 else "no interval"
    evidence = f"{_figures(change, trust)}{_evidence(change, reference, remeasured_rounds, quote)}{_remark(change, quote)}"
    return f"{metric} {amount(change, change.change)} ({interval}){threshold}: {evidence}"


def word(change: Change) -> str:
    """What became of one figure: regressed, inconclusive, not measured, improved, no worse; nothing where no threshold was set."""
    if change.threshold is None:
        return ""
    if change.verdict == "pass":
        return "improved" if change.improved else "no worse"
    return "regressed" if change.verdict == "fail" else change.verdict.replace("_", " ")


def amount(change: Change, value: float, sign: Literal["+", ""] = "+", *, short: bool = False) -> str:
    """A change, an end of its interval or a threshold, as a percentage or in the metric's unit, as ``change`` has it."""
    if change.kind == "relative":
        return _percentage(value, sign, short)
    unit = _unit(change.metric)
    return f"{value + 0.0:{sign}.{2 if short else 3}g}" + (f" {unit}" if unit and not short else "")


def _percentage(fraction: float, sign: str, short: bool) -> str:
    hundredfold = 100 * fraction
    if abs(hundredfold) >= 10_000:
        return f"{hundredfold:{sign}.{2 if short else 3}g}%"
    is_whole = abs(hundredfold) >= (9.95 if short else 999.5) or (not sign and f"{hundredfold:.1f}".endswith(".0"))
    return f"{hundredfold:{sign}.{0 if is_whole else 1}f}%".replace("-0.0%", "+0.0%")


def _unit(metric: str) -> str:
    return METRICS[metric].unit if metric in METRICS else ""


def _figures(change: Change, trust: Trust | None) -> str:
    label = f" ({trust})" if is_energy(change.metric) and trust not in ("measured", None) else ""
    return f"{f'{figure(change.reference)} -> {figure(change.actual)} {_unit(change.metric)}'.rstrip()}{label}"


def is_energy(metric: str) -> bool:
    """Whether a metric follows from the energy, and shares its trust."""
    return METRICS[metric].is_energy if metric in METRICS else "joules" in metric


def figure(value: float | None) -> str:
    """Four significant digits, and no exponent where the number is short without."""
    if value is None:
        return UNKNOWN
    return f"{value:.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.4g}"


def _evidence(change: Change, reference: Reference | None, remeasured_rounds: int, quote: Quote) -> str:
    runs = f" ({reference.runs} runs)" if reference and reference.runs > 1 else ""
    of = f" of {quote(reference_name(reference))}{runs}" if reference else ""
    if change.metric == "quality":  # its evidence are answers
        return f", against that{of}" if of else ""
    again = f" ({remeasured_rounds} of them measured once more)" if remeasured_rounds else ""
    return f", {counted(change.rounds, 'round')}{again} against {change.reference_rounds}{of}"


def _remark(change: Change, quote: Quote) -> str:
    """Why it was decided so, or wasn't; and then what would have been."""
    text = f"; {quote(change.reason)}" if change.reason else ""
    if change.verdict in ("pass", "fail") or change.detectable is None:
        return text
    return f"{text}; the smallest change that would have been seen is {amount(change, change.detectable, sign='')}"


def reference_name(reference: Reference) -> str:
    """``main@0123abc``: what the user named, and the commit of its newest run."""
    name, commit = shortened(plain(reference.ref), _LONGEST_REFERENCE), plain(reference.commit or "")[:7]
    return name if not commit or reference.ref.startswith(commit) else f"{name}@{commit}"


# --- one test ---------------------------------------------------------------------------------------------------------


def standing(test: TestRecord) -> Standing:
    """What became of ``test`` against its reference. Without one it is new (or nothing was asked)."""
    regression = test.regression
    if regression is None:
        return "new"
    if regression.verdict == "fail":
        return "regressed"
    if regression.reason is not None and not regression.changes:
        return "not compared"
    if regression.verdict != "pass":
        return "inconclusive"
    judged = [change for change in regression.changes if change.threshold is not None]
    return "told" if not judged else "improved" if any(change.improved for change in judged) else "no worse"


def was_passing(regression: Regression) -> bool:
    """Whether a figure looked worse at first and was no worse when it was measured once more."""
    judged = [change for change in regression.changes if change.threshold is not None and change.metric != "quality"]
    return regression.remeasured_rounds > 0 and any(change.verdict == "pass" and change.reason is not None for change in judged)


def regression_lines(test: TestRecord, quote: Quote = plain) -> list[str]:
    """What a reviewer has to know: ``tests/test_a.py::test_x regressed: joules_per_token +12.4% ...``, one line a figure, the worst first.

    Told is what regressed, could not be decided or improved, and why nothing was compared. Empty for a test that is no worse, and for one
    that has no comparison. ``quote``: see ``change_line``.
    """
    regression, name = test.regression, quote(short_id(test.nodeid))
    if regression is None:
        return []
    if regression.reason is not None and not regression.changes:
        return [f"{name} not compared: {quote(why_not(regression))}"]
    return [f"{name} {word(change)}: {_line_of(change, test, regression, quote)}" for change in notable_changes(regression)]


def why_not(regression: Regression) -> str:
    """Why nothing of the test was compared."""
    return plain(regression.reason or "no reason is given").removeprefix("not compared: ")


def short_id(nodeid: str) -> str:
    """The id as lines of text name it: what is very long loses its middle."""
    return shortened(plain(nodeid), _LONGEST_NAME)


def full_lines(test: TestRecord) -> list[str]:
    """All that is known of the comparison: what with, every figure, what differed; without the test's id. Empty where there is none."""
    regression = test.regression
    if regression is None:
        return []
    lines = [f"verdict {regression.verdict}: {standing(test)}"]
    if regression.reason is not None:
        lines.append(plain(regression.reason))
    if regression.reference is not None:
        lines.append(_reference_line(regression.reference))
    for change in _worst_first(regression.changes):
        chances = [(change.p, "p"), (change.p_adjusted, "p of all figures of the run together")]
        chance = "".join(f"; {name} {value:.2g}" for value, name in chances if value is not None)
        lines.append(f"{f'{word(change)}: ' if word(change) else ''}{_line_of(change, test, regression)}{chance}")
    return lines + [f"remark: {plain(remark)}" for remark in regression.remarks]


def _reference_line(reference: Reference) -> str:
    amounts = f"{counted(reference.runs, 'run')}, {counted(reference.rounds, 'round')}"
    when = f", newest of {reference.recorded_at}" if reference.recorded_at else ""
    note = f", accepted because: {reference.note}" if reference.note else ""
    return plain(f"reference: {reference_name(reference)} ({reference.source}; {amounts}{when}){note}")


def _line_of(change: Change, test: TestRecord, regression: Regression, quote: Quote = plain) -> str:
    return change_line(change, test.energy.trust, regression.reference, regression.remeasured_rounds, quote)


def notable_changes(regression: Regression) -> list[Change]:
    """The changes a reviewer has to know of, the worst first: those with a threshold that didn't just pass."""
    judged = [change for change in regression.changes if change.threshold is not None]
    return _worst_first([change for change in judged if change.verdict != "pass" or change.improved])


def severity(test: TestRecord) -> tuple[int, float]:
    """What tests are sorted by, the worst first: how they stand, then how far their worst figure went."""
    changes = notable_changes(test.regression) if test.regression else []
    return STANDINGS.index(standing(test)), -max(map(badness, changes), default=0.0)


_RANK = {"fail": 0, "not_measured": 1, "inconclusive": 2, "pass": 3}


def _worst_first(changes: Iterable[Change]) -> list[Change]:
    return sorted(changes, key=lambda change: (change.threshold is None, _RANK[change.verdict], -badness(change)))


def badness(change: Change) -> float:
    """How far a figure went for the worse, in multiples of its threshold where it has one."""
    worse = (change.change or 0.0) * (-1.0 if change.metric in METRICS and METRICS[change.metric].better == "higher" else 1.0)
    return worse / change.threshold if change.threshold else worse


def headline_change(regression: Regression) -> Change | None:
    """The one change that stands for the test where there is room for one only: the worst that has a threshold, else J/token."""
    judged = _worst_first(change for change in regression.changes if change.threshold is not None)
    told = [change for change in regression.changes if change.metric == "joules_per_token"]
    return next(iter([*judged, *told, *regression.changes]), None)
