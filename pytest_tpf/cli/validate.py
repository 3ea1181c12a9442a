"""``tpf validate FILE...``: is each a report that follows its schema?"""

from __future__ import annotations

import argparse
import sys

from pytest_tpf.cli.main import CHECK_FAILED, OK, UNUSABLE, fail
from pytest_tpf.report.errors import ReportError
from pytest_tpf.report.read import scan_report
from pytest_tpf.report.text import counted, plain
from pytest_tpf.report.validate import checked

_ORDER = ("measured", "replayed", "estimated", "without energy")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="a JSON report, as --tpf-report writes it")


def run(args: argparse.Namespace) -> int:
    """One line a valid file on stdout; problems on stderr. 2 where a file can't be read, else 1 where one is invalid."""
    return max(_validate(file) for file in args.files)


def _validate(file: str) -> int:
    try:
        report = checked(scan_report(file))
    except ReportError as error:
        return fail("validate", error, UNUSABLE)
    for problem in report.problems:
        print(f"{plain(file)}: {problem}", file=sys.stderr)
    if report.problems:
        return CHECK_FAILED
    trusts = {trust or "without energy": count for trust, count in report.tally.trusts.items()}
    kinds = ", ".join(f"{count} {trust}" for trust, count in sorted(trusts.items(), key=lambda item: _ORDER.index(item[0])))
    tests = counted(report.head["summary"]["tests"], "test")
    print(f"{plain(file)}: valid tpf-report {report.head['schema_version']}, {tests}{f' ({kinds})' if kinds else ''}")
    return OK
