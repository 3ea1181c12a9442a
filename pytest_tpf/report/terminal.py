"""The summary table: one row a test, the worst first, and below it what is needed to read it rightly. Text from records; pure."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator, Sequence

from pytest_tpf.records import Facility, MeterInfo, Report, TestRecord, record
from pytest_tpf.report.columns import Column, chosen_columns, grouped_tests, sorted_tests
from pytest_tpf.report.remarks import Remarks
from pytest_tpf.report.text import counted, display_width, number, plain, short_names, shortened, si

DEFAULT_WIDTH = 80
_LEAST_NAME = 12
_GAP = 2
_LEFT_COLUMNS = {"name", "binding", "trust", "verdict", "boundary", "model", "engine", "group", "outcome"}


def render_summary(
    report: Report,
    columns: Sequence[str] = (),
    sort: str | None = None,
    group_by: str | None = None,
    width: int = DEFAULT_WIDTH,
    rows: int = 0,
) -> list[str]:
    """The table (a sub-table for each group) and its footer, as lines without line ends, at most ``width`` columns wide.

    Only the first ``rows`` tests in the order that ``sort`` gives are shown, where it isn't 0; the footer speaks of all. Only names are
    shortened: where the asked columns alone are wider than ``width`` the table is too.
    See ``columns`` for the keys that ``columns``, ``sort`` and ``group_by`` take.

    Raises:
        ReportError: an unknown column, sort key or group.
    """
    return gathered(report.tests, sort, rows).lines(report.meters, report.facility, columns, group_by, width)


def gathered(tests: Iterable[TestRecord], sort: str | None = None, rows: int = 0) -> Gathered:
    """What a summary needs of ``tests``, which go by once; no more of them than the ``rows`` it shows are held.

    Raises:
        ReportError: an unknown sort key.
    """
    remarks = Remarks()
    return Gathered(shown=tuple(sorted_tests(remarks.noted(tests), sort, rows)), remarks=remarks)


@record
class Gathered:
    """The tests that the table shows, in its order, and remarks on all."""

    shown: tuple[TestRecord, ...]
    remarks: Remarks

    def lines(
        self, meters: Sequence[MeterInfo], facility: Facility, columns: Sequence[str] = (), group_by: str | None = None, width: int = 80
    ) -> list[str]:
        """The summary; see ``render_summary``."""
        chosen = chosen_columns(columns, compared=self.remarks.comparisons.any)
        names = dict(zip((test.nodeid for test in self.shown), short_names([test.nodeid for test in self.shown]), strict=True))
        lines: list[str] = []
        for title, tests in grouped_tests(self.shown, group_by).items():
            if title:
                lines += ["", shortened(f"{plain(title)} ({counted(len(tests), 'test')})", width)]
            lines += _table(tests, chosen, names, width)
        hidden = self.remarks.tests - len(self.shown)
        if hidden:
            text = f"... and {counted(hidden, 'more test')}; --tpf-rows=0 (tpf show: --rows=0) shows all of them"
            lines.append(shortened(text, width))
        return [*lines, *footer(self.remarks, meters, facility, width)]


def _table(tests: Sequence[TestRecord], columns: Sequence[Column], names: dict[str, str], width: int) -> list[str]:
    headings = [column.heading for column in columns]
    cells = [[column.cell(test) for test in tests] for column in columns]
    others = [_width(heading, texts) for column, heading, texts in zip(columns, headings, cells, strict=True) if column.key != "name"]
    room = max(width - sum(others) - _GAP * (len(columns) - 1), _LEAST_NAME)
    fitting = _fitting([plain(names[test.nodeid]) + (f" (attempt {test.attempt})" if test.attempt > 1 else "") for test in tests], room)
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


def footer(remarks: Remarks, meters: Sequence[MeterInfo], facility: Facility, width: int = DEFAULT_WIDTH) -> list[str]:
    """Boundaries, meters, facility, what was not metered, what is estimated, why energies are unknown, and each warning once."""
    lines: list[str] = []
    for name, text in _facts(remarks, meters, facility):
        lines += textwrap.wrap(f"{name}: {text}", width, subsequent_indent="  ", break_on_hyphens=False)
    return lines


def _facts(remarks: Remarks, meters: Sequence[MeterInfo], facility: Facility) -> Iterator[tuple[str, str]]:
    if not remarks.tests:
        yield "tests", "none was measured"
    if remarks.boundaries:
        yield "boundary", ", ".join(f"{name} ({counted(count, 'test')})" for name, count in remarks.boundaries.items())
    yield "meters", "; ".join(map(_meter, meters)) or "none"
    yield "facility", _pue(facility)
    yield from remarks.facts()


def _meter(meter: MeterInfo) -> str:
    period = f", every {si(meter.update_period_s, 's')}" if meter.update_period_s else ""
    name = meter.id if meter.id.endswith(meter.domain) else f"{meter.id} {meter.domain}"
    return plain(f"{name} ({meter.trust}{period})")


def _pue(facility: Facility) -> str:
    if facility.pue.value is None:
        return "PUE not declared, facility figures are unknown"
    category = f", {facility.pue.category}" if facility.pue.category not in (None, "unknown") else ""
    return f"PUE {number(facility.pue.value)} declared ({facility.pue.kind}{category})"
