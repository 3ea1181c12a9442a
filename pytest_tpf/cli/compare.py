"""``tpf compare A B``: is the run of report B worse than that of report A?"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterable

from pytest_tpf.cli._comparison import Comparison, compared
from pytest_tpf.cli._comparison_formats import MOST_ROWS, json_text, markdown_text, table_text
from pytest_tpf.cli.main import CHECK_FAILED, OK, fail
from pytest_tpf.judge.thresholds import DEFAULT, EXAMPLE, parse_thresholds
from pytest_tpf.report.errors import ReportError
from pytest_tpf.report.terminal import DEFAULT_WIDTH
from pytest_tpf.report.write import write_atomically

_FORMATS = ("table", "markdown", "json")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("references", nargs="+", metavar="A", help="a JSON report to compare with; several are runs of one reference")
    parser.add_argument("new", metavar="B", help="the JSON report that is compared")
    parser.add_argument("--fail", metavar="EXPR", help=f"changes that are regressions, e.g. {EXAMPLE} (default joules_per_token:5%%)")
    parser.add_argument("--across", action="store_true", help="compare although hardware, model or work differ, and say what does")
    parser.add_argument(
        "--gate", choices=("strict", "warn"), default="warn", help="strict: what could not be told is a failure, too (default warn)"
    )
    parser.add_argument("--format", choices=_FORMATS, default="table", help=f"{', '.join(_FORMATS)} (default table)")
    parser.add_argument("--rows", metavar="N", type=int, default=MOST_ROWS, help=f"rows of the table, 0 for all (default {MOST_ROWS})")
    parser.add_argument("-o", "--output", metavar="FILE", help="write to FILE instead (parent folders are made)")


def run(args: argparse.Namespace) -> int:
    """1 where a test regressed (strict: or something could not be told); 2 where a report can't be read or is invalid."""
    if args.rows < 0:
        return fail("compare", "--rows must be at least 0")
    try:
        thresholds = DEFAULT if args.fail is None else parse_thresholds(args.fail)
    except ValueError as error:
        return fail("compare", f"--fail: {error}")
    try:
        found = compared(args.references, args.new, thresholds, across=args.across)
        text = _text(found, args.format, args.rows)
        if args.output is None:
            sys.stdout.writelines(text)
        else:
            write_atomically(args.output, text)
    except ReportError as error:
        return fail("compare", error)
    is_red = found.verdict == "fail" or (found.verdict == "inconclusive" and args.gate == "strict")
    return CHECK_FAILED if is_red else OK


def _text(found: Comparison, how: str, rows: int) -> Iterable[str]:
    if how == "json":
        return json_text(found)
    if how == "markdown":
        return [markdown_text(found)]
    width = max(shutil.get_terminal_size((DEFAULT_WIDTH, 24)).columns, DEFAULT_WIDTH)
    return (f"{line}\n" for line in table_text(found, rows, width))
