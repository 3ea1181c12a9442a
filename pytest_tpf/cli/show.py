"""``tpf show FILE``: a report's table, or its tests in full."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence

from pytest_tpf.cli.main import CHECK_FAILED, OK, fail
from pytest_tpf.codec import from_dict
from pytest_tpf.records import Environment, Report
from pytest_tpf.report.columns import COLUMNS
from pytest_tpf.report.detail import render_test
from pytest_tpf.report.errors import ReportError
from pytest_tpf.report.read import read_report
from pytest_tpf.report.terminal import DEFAULT_WIDTH, render_summary
from pytest_tpf.report.text import UNKNOWN, plain, shortened, si
from pytest_tpf.report.validate import validate

_LEAST_WIDTH = 40


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("file", metavar="FILE", help="a JSON report, as --tpf-report writes it")
    parser.add_argument("--columns", metavar="LIST", default="", help=f"columns of the table: {', '.join(COLUMNS)}")
    parser.add_argument("--sort", metavar="COLUMN", help="sort by this column, the worse end first (-COLUMN: last); default: worst first")
    parser.add_argument("--group-by", metavar="KEY", help="one table per group, file, model, param:NAME or label:NAME")
    parser.add_argument("--test", metavar="SUBSTRING", help="everything known of the tests whose id contains this")


def run(args: argparse.Namespace) -> int:
    """The report is validated first: 1 where it is invalid, or no test's id contains SUBSTRING; 2 where it can't be read."""
    try:
        data = read_report(args.file)
        problems = validate(data)
        if problems:
            for problem in problems:
                print(f"{plain(args.file)}: {problem}", file=sys.stderr)
            return CHECK_FAILED
        report = from_dict(Report, data)
        width = max(shutil.get_terminal_size((DEFAULT_WIDTH, 24)).columns, _LEAST_WIDTH)
        columns = [key.strip() for key in args.columns.split(",") if key.strip()]
        body = _tests(report, args.test, width) if args.test else render_summary(report, columns, args.sort, args.group_by, width)
    except ReportError as error:
        return fail("show", error)
    if not body:
        return fail("show", f"no test's id contains {args.test!r}", CHECK_FAILED)
    for line in [*_header(report, width), "", *body]:
        print(line)
    return OK


def _tests(report: Report, substring: str, width: int) -> list[str]:
    lines: list[str] = []
    for test in report.tests:
        if substring in test.nodeid:
            lines += ([""] if lines else []) + render_test(test, width)
    return lines


def _header(report: Report, width: int) -> list[str]:
    environment = report.environment
    lines = [
        f"tpf-report {report.schema_version} of {report.created_at} by {report.generator.name} {report.generator.version}",
        f"host: {environment.host.os}, {environment.host.python}, {environment.host.cpu.model or 'unknown processor'}, "
        f"{environment.host.cpu.logical_cores} cores, {si(environment.host.memory_bytes, 'B')}",
        *_accelerators(environment),
        f"software: {', '.join(f'{name} {version}' for name, version in environment.software.items())}",
        f"source: {_source(environment)}",
        f"hardware fingerprint: {environment.hardware_fingerprint}",
    ]
    return [shortened(plain(line), width) for line in lines]


def _accelerators(environment: Environment) -> Sequence[str]:
    return [
        f"{board.domain}: {board.name}, {si(board.memory_bytes, 'B')}, limit {si(board.power_limit_w, 'W')}, "
        f"driver {board.driver_version or UNKNOWN}"
        for board in environment.accelerators
    ]


def _source(environment: Environment) -> str:
    source, ci = environment.source, environment.ci
    if source.commit is None:
        return "unknown"
    dirty = {True: ", with changes", False: "", None: ""}[source.dirty]
    where = f", {ci.provider}" + (f" run {ci.run_id}" if ci.run_id else "") if ci else ""
    return f"{source.commit[:12]}{f' ({source.branch})' if source.branch else ''}{dirty}{where}"
