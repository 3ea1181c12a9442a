"""The summary table: one row a test, the worst first, and below it what is needed to read it rightly. Text from records; pure."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from pytest_tpf.records import Facility, MeterInfo, Report, TestRecord
from pytest_tpf.report.columns import Column, chosen_columns, grouped_tests, sorted_tests
from pytest_tpf.report.text import counted, display_width, number, plain, short_names, shortened, si

DEFAULT_WIDTH = 80
_LEAST_NAME = 12
_GAP = 2
_MOST_NOTES = 12
_LEFT_COLUMNS = {"name", "binding", "trust", "verdict", "boundary", "model", "engine", "group", "outcome"}


def render_summary(
    report: Report, columns: Sequence[str] = (), sort: str | None = None, group_by: str | None = None, width: int = DEFAULT_WIDTH
) -> list[str]:
    """The table (a sub-table for each group) and its footer, as lines without line ends, at most ``width`` columns wide.

    Only names are shortened: where the asked columns alone are wider than ``width`` the table is too.
    See ``columns`` for the keys that ``columns``, ``sort`` and ``group_by`` take.

    Raises:
        ReportError: an unknown column, sort key or group.
    """
    chosen = chosen_columns(columns)
    names = dict(zip((test.nodeid for test in report.tests), short_names([test.nodeid for test in report.tests]), strict=True))
    lines: list[str] = []
    for title, tests in grouped_tests(sorted_tests(report.tests, sort), group_by).items():
        if title:
            lines += ["", shortened(f"{plain(title)} ({counted(len(tests), 'test')})", width)]
        lines += _table(tests, chosen, names, width)
    return [*lines, *footer(report, width)]


def _table(tests: Sequence[TestRecord], columns: Sequence[Column], names: dict[str, str], width: int) -> list[str]:
    headings = [column.heading for column in columns]
    cells = [[column.cell(test) for test in tests] for column in columns]
    others = [_width(heading, texts) for column, heading, texts in zip(columns, headings, cells, strict=True) if column.key != "name"]
    room = max(width - sum(others) - _GAP * (len(columns) - 1), _LEAST_NAME)
    fitting = _fitting([plain(names[test.nodeid]) for test in tests], room)
    cells = [fitting if column.key == "name" else texts for column, texts in zip(columns, cells, strict=True)]
    padded = [_padded(column, texts) for column, texts in zip(columns, cells, strict=True)]
    return [(" " * _GAP).join(row).rstrip() for row in zip(*padded, strict=True)]


def _padded(column: Column, texts: Sequence[str]) -> list[str]:
    """The column with its heading and rule, each as wide as the widest; by columns of the terminal, which tabulate doesn't count."""
    width = _width(column.heading, texts)
    blanks = [" " * (width - display_width(text)) for text in (column.heading, *texts)]
    left = column.key in _LEFT_COLUMNS
    heading, *rows = [text + blank if left else blank + text for text, blank in zip((column.heading, *texts), blanks, strict=True)]
    return [heading, "-" * width, *rows]


def _width(heading: str, texts: Sequence[str]) -> int:
    return max(map(display_width, (heading, *texts)))


def _fitting(names: Sequence[str], room: int) -> list[str]:
    """Names in ``room`` columns: the file goes first, where the names tell the tests apart without it, and then the middle."""
    bare = [name.partition("::")[2] or name for name in names]
    if any(display_width(name) > room for name in names) and len(set(bare)) == len(set(names)):
        names = bare
    return [shortened(name, room) for name in names]


# --- what is needed to read the table rightly -------------------------------------------------------------------------


def footer(report: Report, width: int = DEFAULT_WIDTH) -> list[str]:
    """Boundaries, meters, facility, what was not metered, what is estimated, why energies are unknown, and each warning once."""
    lines: list[str] = []
    for name, text in _facts(report):
        lines += textwrap.wrap(f"{name}: {text}", width, subsequent_indent="  ", break_on_hyphens=False)
    return lines


def _facts(report: Report) -> Iterator[tuple[str, str]]:
    tests = report.tests
    if not tests:
        yield "tests", "none was measured"
    boundaries = Counter(test.mandated.joules_per_token.boundary for test in tests)
    if boundaries:
        yield "boundary", ", ".join(f"{name} ({counted(count, 'test')})" for name, count in boundaries.items())
    yield "meters", "; ".join(map(_meter, report.meters)) or "none"
    yield "facility", _pue(report.facility)
    unmetered = Counter(plain(domain) for test in tests for domain in test.energy.unmetered)
    if unmetered:
        yield "not metered", ", ".join(unmetered) + "; energies leave these out"
    yield from _doubts(tests)
    yield from _notes(tests)


def _meter(meter: MeterInfo) -> str:
    period = f", every {si(meter.update_period_s, 's')}" if meter.update_period_s else ""
    name = meter.id if meter.id.endswith(meter.domain) else f"{meter.id} {meter.domain}"
    return plain(f"{name} ({meter.trust}{period})")


def _pue(facility: Facility) -> str:
    if facility.pue.value is None:
        return "PUE not declared, facility figures are unknown"
    category = f", {facility.pue.category}" if facility.pue.category not in (None, "unknown") else ""
    return f"PUE {number(facility.pue.value)} declared ({facility.pue.kind}{category})"


def _doubts(tests: Sequence[TestRecord]) -> Iterator[tuple[str, str]]:
    estimated = sum(test.energy.trust == "estimated" for test in tests)
    if estimated:
        yield "estimated", f"the energy of {estimated} of {counted(len(tests), 'test')} (est.): a model of the hardware, not a measurement"
    marginal = sum(any(budget.marginal for budget in test.budgets) for test in tests)
    if marginal:
        yield "marginal", f"{counted(marginal, 'test')} with a limit inside the interval; more rounds would decide"
    reasons = Counter(plain(reason) for test in tests if test.energy.it_j is None for reason in test.energy.reasons)
    if reasons:
        yield "energy unknown", ", ".join(f"{reason} ({counted(count, 'test')})" for reason, count in reasons.items())


def _notes(tests: Iterable[TestRecord]) -> Iterator[tuple[str, str]]:
    notes = Counter(plain(warning) for test in tests for warning in test.warnings)
    for text, count in list(notes.items())[:_MOST_NOTES]:
        yield "note", text if count == 1 else f"{text} ({counted(count, 'test')})"
    if len(notes) > _MOST_NOTES:
        yield "note", f"{counted(len(notes) - _MOST_NOTES, 'further note')} in the report"
