"""``tpf merge FILE... -o OUT``: the reports of a run's shards as one."""

from __future__ import annotations

import argparse

from pytest_tpf.cli.main import OK, fail
from pytest_tpf.report.errors import ReportError
from pytest_tpf.report.merge import merge_reports
from pytest_tpf.report.text import counted, plain


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="a JSON report, as --tpf-report writes it")
    parser.add_argument("-o", "--output", required=True, metavar="OUT", help="where the merged report goes (parent folders are made)")


def run(args: argparse.Namespace) -> int:
    """One line on stdout; 2 where a report can't be read, is invalid or contradicts another, or OUT can't be written."""
    try:
        merged = merge_reports(args.files, args.output)
    except ReportError as error:
        return fail("merge", error)
    reports, tests = counted(len(args.files), "report"), counted(merged.tests, "test")
    repeated = f", {merged.repeated} of them in several and counted once" if merged.repeated else ""
    print(f"{plain(args.output)}: {tests} of {reports}{repeated}")
    return OK
