"""``tpf history ACTION``: what is in the history, as a table or in full; less of it; out of it and into it."""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_tpf.cli.main import CHECK_FAILED, OK, fail
from pytest_tpf.codec import as_dict, from_dict
from pytest_tpf.history.errors import HistoryError
from pytest_tpf.history.runs import RunFilter, RunInfo
from pytest_tpf.history.storage import DEFAULT_FILE, DEFAULT_URL, nearest_folder, open_store
from pytest_tpf.records import Report
from pytest_tpf.report.errors import ReportError
from pytest_tpf.report.header import header_lines
from pytest_tpf.report.terminal import DEFAULT_WIDTH, gathered
from pytest_tpf.report.text import UNKNOWN, counted, plain, shortened, si
from pytest_tpf.report.write import json_line, report_text, write_atomically

if TYPE_CHECKING:
    from pytest_tpf.history.store import Store

_HEX = re.compile(r"[0-9a-f][0-9a-f-]{6,}")
_AGE = re.compile(r"(\d{1,6})([hdw])")
_UNITS = {"h": "hours", "d": "days", "w": "weeks"}
_WIDEST, _LEAST_WIDTH = 28, 40


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's actions and their arguments."""
    common = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    where = f"sqlite:///FILE or postgresql://...; default: the nearest {DEFAULT_FILE}, from here upwards"
    common.add_argument("--storage", metavar="URL", help=where)
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    def action(name: str, text: str) -> argparse.ArgumentParser:
        return actions.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.", parents=[common], allow_abbrev=False)

    _list_arguments(action("list", "runs, newest first"))
    _show_arguments(action("show", "one run: where it ran and its table"))
    _prune_arguments(action("prune", "delete old runs, whole ones, and give their room back"))
    _export_arguments(action("export", "write runs to a file, oldest first"))
    _import_arguments(action("import", "save reports, or an exported history"))


def _list_arguments(parser: argparse.ArgumentParser) -> None:
    _add_filter(parser)
    parser.add_argument("--rows", metavar="N", type=_whole, default=30, help="runs at most, 0 for all (default 30)")
    parser.add_argument("--json", action="store_true", help="a JSON array instead of the table")


def _show_arguments(parser: argparse.ArgumentParser) -> None:
    meaning = "latest (default), a saved name, a commit, a branch (its newest run), or the beginning of a report's id"
    parser.add_argument("ref", metavar="REF", nargs="?", default="latest", help=meaning)
    parser.add_argument("--rows", metavar="N", type=_whole, default=100, help="rows of the table at most, 0 for all (default 100)")
    parser.add_argument("--json", action="store_true", help="the report itself, as it was saved")


def _prune_arguments(parser: argparse.ArgumentParser) -> None:
    kept = "keep runs in which a test is among the newest N of that test on its hardware and branch"
    parser.add_argument("--keep", metavar="N", type=_whole, help=kept)
    parser.add_argument(
        "--older-than", metavar="AGE", type=_moment, help="delete only runs older than this: 36h, 90d, 12w, or a date; with --keep: both"
    )
    parser.add_argument("--named", action="store_true", help="also runs that were saved under a name; else they stay")
    parser.add_argument("--dry-run", action="store_true", help="delete nothing, say what would go")


def _export_arguments(parser: argparse.ArgumentParser) -> None:
    _add_filter(parser)
    target = "FILE.jsonl (everything, for import), FILE.parquet (figures, for analysis), or - for JSON lines on stdout"
    parser.add_argument("-o", "--output", required=True, metavar="OUT", help=target)


def _import_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", nargs="+", metavar="FILE", help="a JSON report, or FILE.jsonl as export writes it")
    parser.add_argument("--name", metavar="NAME", help="save them under this name")


def _add_filter(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--branch", metavar="NAME", help="runs of this branch")
    parser.add_argument("--commit", metavar="HEX", type=str.lower, help="runs of this commit, or of those that begin so")
    parser.add_argument("--hardware", metavar="HEX", help="runs on hardware with this fingerprint")
    parser.add_argument("--name", metavar="NAME", help="runs saved under this name")
    parser.add_argument("--since", metavar="TIME", type=_moment, help="runs from then on: 36h, 90d or 12w ago, or a date or time (UTC)")
    parser.add_argument("--until", metavar="TIME", type=_moment, help="runs before then")
    parser.add_argument("--label", metavar="NAME=VALUE", type=_label, help="runs of which a test has this label")
    parser.add_argument("--test", metavar="PATTERN", help="runs of which a test's id fits; * and ? stand for anything, case is the same")


def _moment(text: str) -> str:
    """An age or a date as a report has times: UTC."""
    try:
        age = _AGE.fullmatch(text)
        then = datetime.now(UTC) - timedelta(**{_UNITS[age[2]]: int(age[1])}) if age else datetime.fromisoformat(text)
        utc = then.astimezone(UTC) if then.tzinfo else then.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f"{ascii(text)[:60]} is no time: 36h, 90d, 12w, 2026-01-31 or 2026-01-31T12:00Z") from None
    return f"{utc.replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


def _label(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{ascii(text)[:60]} is no NAME=VALUE")
    return name, value


def _whole(text: str) -> int:
    if not re.fullmatch(r"\d{1,9}", text):
        raise argparse.ArgumentTypeError(f"{ascii(text)[:60]} is no whole number from 0 on")
    return int(text)


def run(args: argparse.Namespace) -> int:
    """2 where the history or a file can't be used, 1 where nothing was found to list, show or export."""
    actions = {"list": _list, "show": _show, "prune": _prune, "export": _export, "import": _import}
    folder, url = (Path.cwd(), args.storage) if args.storage else (nearest_folder(Path.cwd()), DEFAULT_URL)
    try:
        with open_store(url, folder, create=args.action == "import") as store:
            return actions[args.action](store, args)
    except (HistoryError, ReportError) as error:
        return fail("history", error)


def _filter(args: argparse.Namespace) -> RunFilter:
    same = {name: getattr(args, name) for name in ("branch", "commit", "name", "since", "until", "label", "test")}
    return RunFilter(**same, fingerprint=args.hardware)


# --- list and show ----------------------------------------------------------------------------------------------------


def _list(store: Store, args: argparse.Namespace) -> int:
    runs = store.runs(_filter(args), args.rows + 1 if args.rows else None)
    shown = runs[: args.rows] if args.rows else runs
    if args.json:
        print(json.dumps([{name: value for name, value in as_dict(run).items() if name != "id"} for run in shown], indent=1))
        return OK
    if not shown:
        return fail("history", f"{store.where}: no such run", CHECK_FAILED)
    for line in _table(store, shown):
        print(line)
    if len(runs) > len(shown):
        print(f"... and more; --rows 0 shows all of them, --rows {args.rows * 10} the newest {args.rows * 10}")
    return OK


def _table(store: Store, runs: Sequence[RunInfo]) -> Iterator[str]:
    from tabulate import tabulate

    rows = [[_cell(text) for text in _row(run, store.head(run)["summary"])] for run in runs]
    headings = ["time (UTC)", "report", "saved as", "branch", "commit", "hardware", "tests", "J", "regressed"]
    yield from tabulate(rows, headings, tablefmt="simple", disable_numparse=True, colalign=["left"] * 6 + ["right"] * 3).splitlines()
    if any(run.dirty for run in runs):
        yield "commit+: with changes that were not committed"


def _row(run: RunInfo, summary: Mapping[str, Any]) -> list[str | None]:
    commit = f"{run.commit[:9]}{'+' if run.dirty else ''}" if run.commit else None
    energy, regressions = si(summary["total_it_j"]), str(summary["regressions"] or "")
    time = run.created_at[:16].replace("T", " ")
    return [time, run.report_id[:8], run.name, run.branch, commit, run.fingerprint[:8], str(run.tests), energy, regressions]


def _cell(text: str | None) -> str:
    return UNKNOWN if text is None else shortened(plain(text), _WIDEST)


def _show(store: Store, args: argparse.Namespace) -> int:
    run = _meant(store, args.ref)
    if run is None:
        return fail("history", f"{store.where}: no run is meant by {args.ref!r}; tpf history list shows what there is", CHECK_FAILED)
    head = store.head(run)
    if args.json:
        return _emit(report_text(head, (json_line(test.data) for test in store.tests_of(run))))
    report = from_dict(Report, head)
    width = max(shutil.get_terminal_size((DEFAULT_WIDTH, 24)).columns, _LEAST_WIDTH)
    summary = gathered((stored.test for stored in store.tests_of(run)), rows=args.rows)
    for line in (*header_lines(report, width), "", *summary.lines(report.meters, report.facility, width=width)):
        print(line)
    return OK


def _meant(store: Store, ref: str) -> RunInfo | None:
    """As for --tpf-compare; besides, every run can be seen by its report's id, or by a commit that it had changes to."""
    if found := store.find(ref, None, 1):
        return found.runs[0]
    others = (RunFilter(report_id=ref), RunFilter(commit=ref)) if _HEX.fullmatch(ref) else ()
    return next((run for wanted in others for run in store.runs(wanted, 1)), None)


def _emit(pieces: Iterable[str]) -> int:
    """JSON to stdout, as it would be in a file, whatever the terminal's encoding."""
    sys.stdout.buffer.writelines(piece.encode("utf-8", "backslashreplace") for piece in pieces)
    return OK


# --- less of it -------------------------------------------------------------------------------------------------------


def _prune(store: Store, args: argparse.Namespace) -> int:
    if args.keep is None and args.older_than is None:
        return fail("history", "prune deletes nothing unasked: give --keep N, --older-than AGE or both (and try --dry-run)")
    gone = store.prune(keep=args.keep, before=args.older_than, named=args.named, dry_run=args.dry_run)
    if gone and args.dry_run:
        for line in _table(store, gone):
            print(line)
    done = "would go" if args.dry_run else "deleted"
    print(f"{store.where}: {counted(len(gone), 'run')} {done}, {counted(sum(run.tests for run in gone), 'test')}")
    return OK


# --- out of it and into it --------------------------------------------------------------------------------------------


def _export(store: Store, args: argparse.Namespace) -> int:
    from pytest_tpf.history import archive, parquet

    runs = store.runs(_filter(args))[::-1]
    if not runs:
        return fail("history", f"{store.where}: no such run", CHECK_FAILED)
    if args.output == "-":
        return _emit(archive.archive_lines(store, runs))
    if args.output.endswith(archive.SUFFIX):
        write_atomically(args.output, archive.archive_lines(store, runs))
    elif args.output.endswith(parquet.SUFFIX):
        parquet.write_parquet(store, runs, args.output)
    else:
        return fail("history", f"{args.output}: what to write is told by the name: FILE{archive.SUFFIX} or FILE{parquet.SUFFIX}")
    print(f"{plain(args.output)}: {counted(len(runs), 'run')}, {counted(sum(run.tests for run in runs), 'test')}")
    return OK


def _import(store: Store, args: argparse.Namespace) -> int:
    from pytest_tpf.history.archive import import_file

    saved, known = [], 0
    try:
        for file in args.files:
            for one in import_file(store, file, args.name):
                saved += [one.tests] if one.is_new else []
                known += not one.is_new
    except (HistoryError, ReportError) as error:
        so_far = f" ({counted(len(saved), 'run')} before it {'is' if len(saved) == 1 else 'are'} saved)" if saved else ""
        return fail("history", f"{error}{so_far}")
    again = f"; {counted(known, 'run')} already there" if known else ""
    print(f"{store.where}: {counted(len(saved), 'run')} saved, {counted(sum(saved), 'test')}{again}")
    return OK
