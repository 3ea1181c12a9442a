"""``tpf baseline FILE``: what was accepted, on which hardware, when and why; ``--drop`` removes entries nobody needs."""

from __future__ import annotations

import argparse
import dataclasses
import fnmatch
from collections.abc import Iterator

from pytest_tpf.cli.main import CHECK_FAILED, OK, fail
from pytest_tpf.history.baseline import read_baseline, write_baseline
from pytest_tpf.history.entries import BaselineFile, Entry
from pytest_tpf.report.errors import ReportError
from pytest_tpf.report.text import counted, plain


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("file", metavar="FILE", help="a baseline, as --tpf-baseline and --tpf-accept make it")
    parser.add_argument(
        "--drop", action="append", default=[], metavar="KEY", help="remove the entries of this test (* and ? stand for more)"
    )
    parser.add_argument("--hardware", metavar="FINGERPRINT", help="list or drop entries of this hardware only (a beginning will do)")


def run(args: argparse.Namespace) -> int:
    """The entries as a list, or what was dropped; 1 where nothing fits, 2 where the file can't be read or written."""
    try:
        baseline = read_baseline(args.file)
        if baseline is None:
            return fail("baseline", f"{args.file}: no such file")
        chosen = [place for place in _places(baseline, args.hardware) if not args.drop or _fits(place[1], args.drop)]
        if not chosen:
            return fail("baseline", f"{args.file}: no entry fits" if args.drop or args.hardware else f"{args.file}: is empty", CHECK_FAILED)
        if not args.drop:
            _list(baseline, chosen)
            return OK
        write_baseline(args.file, _without(baseline, {place[:2] for place in chosen}))
    except ReportError as error:
        return fail("baseline", error)
    for _, key, _ in chosen:
        print(f"dropped {plain(key)}")
    return OK


Place = tuple[str, str, Entry]


def _places(baseline: BaselineFile, hardware: str | None) -> Iterator[Place]:
    for fingerprint, machine in sorted(baseline.hardware.items()):
        if fingerprint.startswith(hardware or ""):
            yield from ((fingerprint, key, entry) for key, entry in sorted(machine.tests.items()))


def _fits(key: str, patterns: list[str]) -> bool:
    """A key has brackets where its test has parameters, so it fits itself before anything is a pattern."""
    return any(key == pattern or fnmatch.fnmatchcase(key, pattern.replace("[", "[[]")) for pattern in patterns)


def _list(baseline: BaselineFile, places: list[Place]) -> None:
    from tabulate import tabulate

    for fingerprint in dict.fromkeys(place[0] for place in places):
        rows = [_row(key, entry) for each, key, entry in places if each == fingerprint]
        print(f"{plain(fingerprint)}: {plain(baseline.hardware[fingerprint].description)}, {counted(len(rows), 'test')}")
        print(tabulate(rows, headers=("test", "J/token", "rounds", "accepted", "commit", "reason"), disable_numparse=True), end="\n\n")


def _row(key: str, entry: Entry) -> tuple[str, ...]:
    rounds = [each for run in entry.runs for each in run.rounds]
    joules, tokens = sum(each.it_j or 0.0 for each in rounds), sum(each.output_tokens for each in rounds if each.it_j)
    figure = f"{joules / tokens:.4g}{' est.' if entry.trust == 'estimated' else ''}" if joules and tokens else "-"
    accepted = entry.accepted
    return plain(key), figure, str(len(rounds)), plain(accepted.at[:10]), plain((accepted.commit or "-")[:7]), plain(accepted.reason)


def _without(baseline: BaselineFile, dropped: set[tuple[str, str]]) -> BaselineFile:
    kept = {
        fingerprint: dataclasses.replace(
            machine, tests={key: entry for key, entry in machine.tests.items() if (fingerprint, key) not in dropped}
        )
        for fingerprint, machine in baseline.hardware.items()
    }
    return dataclasses.replace(baseline, hardware={fingerprint: machine for fingerprint, machine in kept.items() if machine.tests})
