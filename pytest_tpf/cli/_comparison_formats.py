"""A comparison of reports as a table, as Markdown and as JSON. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pytest_tpf import __version__
from pytest_tpf.cli._comparison import Comparison
from pytest_tpf.codec import as_dict
from pytest_tpf.records import Change, TestRecord
from pytest_tpf.report.comparisons import summary_lines
from pytest_tpf.report.markup import code, fitting, folded, items, preformatted, row, size, table, words
from pytest_tpf.report.regressions import amount, figure, is_energy, regression_lines, severity, short_id, standing, word
from pytest_tpf.report.text import counted, display_width, plain, short_names, shortened

COMPARE_VERSION = "1.0.0"
MOST_ROWS = 100
_MOST_DIFFERENCES = 20
_HEADINGS = ("test", "figure", "was", "is", "change", "95 % interval", "verdict")
_LEFT = ("test", "figure", "verdict")
_LEAST_NAME = 12
_MOST_TESTS, _MOST_BYTES = 20, 60_000  # a comment on GitHub takes 65,536 characters


def table_text(found: Comparison, rows: int = MOST_ROWS, width: int = 80) -> Iterator[str]:
    """Lines: what was compared, the verdict and its reasons, and a row for each figure, the worst tests first. Only names are shortened."""
    yield from _headers(found)
    yield ""
    yield from _verdict_lines(found)
    cells = list(_rows(found))
    if cells:
        yield ""
        yield from _aligned(cells[:rows] if rows else cells, width)
    if rows and len(cells) > rows:
        yield f"... and {counted(len(cells) - rows, 'more figure')}; --rows 0 shows all of them"


def _aligned(rows: Sequence[Sequence[str]], width: int) -> Iterator[str]:
    """By columns of the terminal, which tabulate doesn't count; the first column takes what the others leave."""
    widths = [max(map(display_width, (heading, *texts))) for heading, *texts in zip(_HEADINGS, *rows, strict=True)]
    widths[0] = min(widths[0], max(width - sum(widths[1:]) - 2 * (len(widths) - 1), _LEAST_NAME))
    for cells in (_HEADINGS, ["-" * each for each in widths], *rows):
        fitting_cells = (shortened(cells[0], widths[0]), *cells[1:])
        blanks = [" " * (each - display_width(text)) for each, text in zip(widths, fitting_cells, strict=True)]
        padded = [
            text + blank if name in _LEFT else blank + text for name, text, blank in zip(_HEADINGS, fitting_cells, blanks, strict=True)
        ]
        yield "  ".join(padded).rstrip()


def _verdict_lines(found: Comparison) -> list[str]:
    return [*(summary_lines(found.tests) or [_nothing(found)]), *_vanished(found), *_trust(found.tests)]


def _nothing(found: Comparison) -> str:
    return f"nothing was compared: {'no test is in both' if found.tests else 'the new report has no tests'}"


def _vanished(found: Comparison) -> list[str]:
    if not found.vanished:
        return []
    more = f" and {len(found.vanished) - 5} more" if len(found.vanished) > 5 else ""
    return [f"vanished: only the reference has {', '.join(map(short_id, found.vanished[:5]))}{more}"]


def _trust(tests: Sequence[TestRecord]) -> list[str]:
    estimated = sum(test.energy.trust == "estimated" for test in tests if test.regression)
    compared = sum(test.regression is not None for test in tests)
    return (
        [f"estimated: the energy of {estimated} of {counted(compared, 'test')}: a model of the hardware, not a measurement"]
        if estimated
        else []
    )


def _headers(found: Comparison) -> Iterator[str]:
    for file, head in found.references:
        yield f"reference: {_report(file, head)}"
    yield f"new: {_report(*found.new)}"
    yield from (f"differs: {text}" for text in found.differences[:_MOST_DIFFERENCES])
    if more := len(found.differences) - _MOST_DIFFERENCES:
        yield from [f"differs: {more} more"] if more > 0 else []


def _report(file: str, head: Mapping[str, Any]) -> str:
    source = head["environment"]["source"]
    commit = f", commit {source['commit'][:12]}" if source["commit"] else ""
    branch = f" ({source['branch']})" if source["branch"] else ""
    tests = counted(head["summary"]["tests"], "test")
    return plain(f"{file}: {head['created_at']}{commit}{branch}, {tests}, hardware {head['environment']['hardware_fingerprint']}")


def _rows(found: Comparison) -> Iterator[tuple[str, ...]]:
    """A row for each figure, or one that says why there is none."""
    names = dict(zip((test.nodeid for test in found.tests), short_names([test.nodeid for test in found.tests]), strict=True))
    for test in sorted(found.tests, key=severity):
        name = short_id(names[test.nodeid])
        changes = test.regression.changes if test.regression else ()
        yield from ((name, *_cells(test, change)) for change in changes)
        if not changes:
            yield (name, *[""] * 5, standing(test))


def _cells(test: TestRecord, change: Change) -> tuple[str, ...]:
    estimated = " est." if test.energy.trust == "estimated" and is_energy(change.metric) else ""
    was, now = ("" if value is None else f"{figure(value)}{estimated}" for value in (change.reference, change.actual))
    told = "" if change.change is None else amount(change, change.change)
    interval = f"{amount(change, change.ci95[0])} to {amount(change, change.ci95[1])}" if change.ci95 else ""
    return change.metric, was, now, told, interval, word(change)


# --- for a pull request -----------------------------------------------------------------------------------------------


def markdown_text(found: Comparison) -> str:
    """Small enough for a comment: the verdict, what to look at, and folded away all figures and what differs in the environment."""
    verdict, *_ = _verdict_lines(found)
    worst = [test for test in sorted(found.tests, key=severity) if regression_lines(test)]
    told = [line for test in worst[:_MOST_TESTS] for line in regression_lines(test, code)]
    told += [f"... and {counted(len(worst) - _MOST_TESTS, 'more test')}"] if len(worst) > _MOST_TESTS else []
    told += [code(line, 1000) for line in (*_vanished(found), *_trust(found.tests))]
    blocks = [f"### tpf compare: {_VERDICTS[found.verdict]}", f"<p>{code(verdict, 1000)}</p>", *([items(told)] if told else [])]
    blocks.append(folded("Reports", preformatted(_headers(found))))
    rows = [row([code(cell) if place < 2 and cell else words(cell) for place, cell in enumerate(cells)]) for cells in _rows(found)]
    taken = fitting(rows, _MOST_BYTES - sum(map(size, blocks)) - 1000)
    left = len(rows) - len(taken)
    head = table(_HEADINGS, ()).removesuffix("</table>")
    cut = [f"<p>... and {counted(left, 'more figure')}, for which there is no room here</p>"] if left else []
    return "\n\n".join([*blocks, folded(f"All figures ({len(rows)})", head + "\n".join([*taken, "</table>", *cut]))]) + "\n"


_VERDICTS = {"fail": "regressed", "inconclusive": "inconclusive", "pass": "passed"}


# --- for programs -----------------------------------------------------------------------------------------------------


def json_text(found: Comparison) -> Iterator[str]:
    """One object; each test on a line of its own. ``compare_version`` is raised as a report's ``schema_version`` is."""
    counts: dict[str, int] = {}
    for test in found.tests:
        counts[standing(test)] = counts.get(standing(test), 0) + 1
    head = {
        "compare_version": COMPARE_VERSION,
        "generator": {"name": "pytest-tpf", "version": __version__},
        "verdict": found.verdict,
        "counts": counts,
        "references": [_described(*each) for each in found.references],
        "new": _described(*found.new),
        "thresholds": [as_dict(each) for each in found.thresholds],
        "differences": list(found.differences),
        "vanished": list(found.vanished),
    }
    yield json.dumps(head, indent=1)[:-2] + ',\n "tests": ['
    comma = ""
    for test in found.tests:
        yield f"{comma}\n  {json.dumps(_test(test))}"
        comma = ","
    yield "\n ]\n}\n"


def _described(file: str, head: Mapping[str, Any]) -> dict[str, Any]:
    environment = head["environment"]
    return {
        "file": file,
        "report_id": head["report_id"],
        "created_at": head["created_at"],
        "commit": environment["source"]["commit"],
        "hardware_fingerprint": environment["hardware_fingerprint"],
    }


def _test(test: TestRecord) -> dict[str, Any]:
    return {
        "nodeid": test.nodeid,
        "standing": standing(test),
        "trust": test.energy.trust,
        "regression": as_dict(test.regression) if test.regression else None,
    }
