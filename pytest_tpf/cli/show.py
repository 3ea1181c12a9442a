"""``tpf show FILE``: a report's table, or its tests in full."""

from __future__ import annotations

import argparse
import itertools
import shutil
import sys
from collections.abc import Iterator

from pytest_tpf.cli.main import CHECK_FAILED, OK, fail
from pytest_tpf.codec import from_dict
from pytest_tpf.records import Report, TestRecord
from pytest_tpf.report.columns import COLUMNS, check_table_options
from pytest_tpf.report.detail import render_test
from pytest_tpf.report.errors import ReportError
from pytest_tpf.report.header import header_lines
from pytest_tpf.report.read import scan_report
from pytest_tpf.report.terminal import DEFAULT_WIDTH, gathered
from pytest_tpf.report.text import plain
from pytest_tpf.report.validate import Validation

_LEAST_WIDTH = 40


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("file", metavar="FILE", help="a JSON report, as --tpf-report writes it")
    parser.add_argument("--columns", metavar="LIST", default="", help=f"columns of the table: {', '.join(COLUMNS)}")
    parser.add_argument("--sort", metavar="COLUMN", help="sort by this column, the worse end first (-COLUMN: last); default: worst first")
    parser.add_argument("--group-by", metavar="KEY", help="one table per group, file, model, param:NAME or label:NAME")
    parser.add_argument("--rows", metavar="N", type=int, default=100, help="rows at most, 0 for all; more are counted (default 100)")
    parser.add_argument("--test", metavar="SUBSTRING", help="everything known of the tests whose id contains this")


def run(args: argparse.Namespace) -> int:
    """The report is validated first: 1 where it is invalid, or no test's id contains SUBSTRING; 2 where it can't be read."""
    if args.rows < 0:
        return fail("show", "--rows must be at least 0")
    columns = [key.strip() for key in args.columns.split(",") if key.strip()]
    validation = Validation()
    try:
        check_table_options(columns, args.sort, args.group_by)
        tests = (from_dict(TestRecord, test) for test in validation.tests(scan_report(args.file)))
        summary = gathered(tests, args.sort, args.rows)
        if validation.problems:
            for problem in validation.problems:
                print(f"{plain(args.file)}: {problem}", file=sys.stderr)
            return CHECK_FAILED
        report = from_dict(Report, validation.head)
        width = max(shutil.get_terminal_size((DEFAULT_WIDTH, 24)).columns, _LEAST_WIDTH)
        table = summary.lines(report.meters, report.facility, columns, args.group_by, width)
        body = _tests(args.file, args.test, width) if args.test else iter(table)
        first = next(body, None)
        if first is None:
            return fail("show", f"no test's id contains {args.test!r}", CHECK_FAILED)
        for line in itertools.chain(header_lines(report, width), ("", first), body):
            print(line)
    except ReportError as error:
        return fail("show", error)
    return OK


def _tests(file: str, substring: str, width: int) -> Iterator[str]:
    """Every test's lines as it goes by once more: what is valid needn't be held."""
    between: tuple[str, ...] = ()
    for key, value in scan_report(file):
        if isinstance(key, int) and substring in value["nodeid"]:
            yield from between
            yield from render_test(from_dict(TestRecord, value), width)
            between = ("",)
