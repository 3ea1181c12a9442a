"""A run for whoever reviews it, in Markdown: the verdict first, then what is wrong, the mandated figures, and the rest folded away.

Pure but for the two functions that write it.
"""

from __future__ import annotations

import collections
import os
from collections.abc import Iterator, Sequence

from pytest_tpf.records import Report, TestRecord
from pytest_tpf.report.broken import budget_lines, is_expected
from pytest_tpf.report.columns import sorted_tests
from pytest_tpf.report.errors import ReportError
from pytest_tpf.report.header import header_lines
from pytest_tpf.report.markdown_cells import HEADINGS, cells
from pytest_tpf.report.markup import code, fitting, folded, items, preformatted, row, size, table, words
from pytest_tpf.report.regressions import regression_lines, standing
from pytest_tpf.report.remarks import Remarks
from pytest_tpf.report.terminal import footer
from pytest_tpf.report.text import counted, plain, short_names, si
from pytest_tpf.report.wording import printable
from pytest_tpf.report.write import write_atomically

MOST_BYTES = 1_000_000
"""GitHub takes 1 MiB as the summary of a step, and refuses what is longer."""

_STEP_BYTES = 2**20
_FEWEST_ROWS, _MOST_ROWS = 10, 50  # of the table that isn't folded
_MOST_LINES = 30  # of what is wrong
_WIDTH = 120


def render_markdown(report: Report, problems: Sequence[str] = (), most_bytes: int = MOST_BYTES) -> str:
    """The summary, of at most ``most_bytes`` (at least some 100,000): what doesn't fit is counted, and is in the report.

    ``problems``: what only the whole run knows, one line each: tests that vanished, that nothing was measured.
    """
    ordered = sorted_tests(report.tests)
    shown = max(_FEWEST_ROWS, min(sum(map(needs_a_look, ordered)), _MOST_ROWS))
    rows = list(map(cells, ordered, short_names([test.nodeid for test in ordered])))
    lines, remarks = list(_problems(ordered, problems)), Remarks()
    collections.deque(remarks.noted(report.tests), maxlen=0)
    top = [f"### tpf: {verdict(report.tests, len(problems))}", _facts(report, remarks.comparisons.references)]
    top += [items(_first(lines))] if lines else []
    top += [table(HEADINGS, rows[:shown])] if rows else []
    end = [folded("Environment", preformatted(header_lines(report, 1000)[:_MOST_LINES]))]
    end += [
        folded("What was metered, and how to read it", preformatted(_first(footer(remarks, report.meters, report.facility, _WIDTH), 100)))
    ]
    rest = rows[shown:]
    room = most_bytes - sum(size(block) + 2 for block in (*top, *end)) - 1000
    return "\n\n".join([*top, *([_others(rest, room)] if rest else []), *end]) + "\n"


def verdict(tests: Sequence[TestRecord], problems: int = 0) -> str:
    """``passed``, or how many tests regressed, how many budgets are broken, and what could not be told."""
    judged = [test for test in tests if not is_expected(test)]
    broken = sum(budget.verdict == "fail" for test in judged for budget in test.budgets)
    undecided = sum(test.verdict == "inconclusive" or standing(test) in ("inconclusive", "not compared") for test in judged)
    counts = {
        "regressed": sum(standing(test) == "regressed" for test in tests),
        "budget broken" if broken == 1 else "budgets broken": broken,
        "otherwise failed": sum(_failed_otherwise(test) for test in tests),
        "problem of the whole run" if problems == 1 else "problems of the whole run": problems,
        "not measured": sum(test.verdict == "not_measured" for test in judged),
        "inconclusive": undecided,
    }
    found = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    return found or (f"passed, {counted(len(tests), 'test')}" if tests else "nothing was measured")


def needs_a_look(test: TestRecord) -> bool:
    """Whether there is more to say of a test than that it passed."""
    return test.verdict != "pass" or standing(test) not in ("no worse", "new", "told") or _failed_otherwise(test)


def _failed_otherwise(test: TestRecord) -> bool:
    reasons = test.verdict == "fail" or standing(test) == "regressed"
    return test.outcome in ("failed", "error") and not reasons


def _facts(report: Report, references: str) -> str:
    trusts = [test.energy.trust if test.energy.it_j is not None else None for test in report.tests]
    kinds = {"measured": "measured", "replayed": "replayed", "estimated": "estimated", None: "without energy"}
    told = ", ".join(f"{trusts.count(trust)} {name}" for trust, name in kinds.items() if trust in trusts)
    boards = ", ".join(dict.fromkeys(board.name for board in report.environment.accelerators))
    where = boards or report.environment.host.cpu.model or "an unknown processor"
    commit = f", commit {code(report.environment.source.commit[:12])}" if report.environment.source.commit else ""
    against = f"; compared with {code(references)}" if references else ""
    total = si(report.summary.total_it_j, "J")
    estimated = " (partly estimated)" if "estimated" in trusts and report.summary.total_it_j is not None else ""
    line = f"{counted(len(report.tests), 'test')} ({told or 'none'}), {report.summary.total_output_tokens} output tokens, "
    return f"<p>{line}{words(total)}{estimated} on {code(where)}{commit}{against}</p>"


def _problems(ordered: Sequence[TestRecord], problems: Sequence[str]) -> Iterator[str]:
    """What is wrong, the worst first. ``problems`` that a test tells, too, stand once."""
    told = {line for test in ordered for line in regression_lines(test)}
    yield from (code(problem, 1000) for problem in problems if plain(problem) not in told)
    for test in ordered:
        yield from regression_lines(test, code)
        yield from budget_lines(test, code)


def _first(lines: Sequence[str], most: int = _MOST_LINES) -> list[str]:
    more = len(lines) - most
    return [*lines[:most], *([f"... and {more} more; all of them are in the report"] if more > 0 else [])]


def _others(rows: Sequence[Sequence[str]], room: int) -> str:
    head = table(HEADINGS, ()).removesuffix("</table>")
    taken = fitting(map(row, rows), room - size(head))
    left = len(rows) - len(taken)
    cut = f"<p>... and {counted(left, 'more test')}, for which there is no room here; all of them are in the report</p>"
    return folded(f"The other tests ({len(rows)})", head + "\n".join([*taken, "</table>", *([cut] if left else [])]))


# --- onto the disk ----------------------------------------------------------------------------------------------------


def write_markdown(path: str | os.PathLike[str], text: str) -> None:
    """``text`` as the whole content of ``path``; missing parent folders are made.

    Raises:
        ReportError: it can't be written; what stood there is untouched.
    """
    write_atomically(path, text)


def append_summary(path: str | os.PathLike[str], text: str) -> None:
    """``text`` at the end of a step's summary (``$GITHUB_STEP_SUMMARY``), where other tools may have written before.

    Raises:
        ReportError: it can't be written, or there would be more than GitHub takes, which then shows nothing of the step.
    """
    where = printable(os.fspath(path))
    content = ("\n" + text).encode("utf-8", "backslashreplace")
    try:
        with open(path, "ab") as file:
            if file.seek(0, os.SEEK_END) + len(content) > _STEP_BYTES:
                raise ReportError(f"{where}: nothing added: a step's summary is limited to 1 MiB, and {file.tell()} bytes are in it")
            file.write(content)
    except (OSError, ValueError) as error:
        raise ReportError(f"{where}: can't be written: {getattr(error, 'strerror', None) or error}") from None
