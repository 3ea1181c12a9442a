"""``tpf import FILE... -o REPORT``: other tools' benchmark results as a report, with energy from a power log or a Prometheus server."""

from __future__ import annotations

import argparse
import dataclasses
import math
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from pytest_tpf.cli.main import OK, fail
from pytest_tpf.evaluate.context import Context, IdlePower
from pytest_tpf.imported.clock import unix_s
from pytest_tpf.imported.energy import Keepers, Sources, opened
from pytest_tpf.imported.point import Placed, Point
from pytest_tpf.imported.read import read_points
from pytest_tpf.imported.rows import row
from pytest_tpf.meters._prom_config import PrometheusConfigError, load_prometheus
from pytest_tpf.meters.protocol import MeterUnavailable
from pytest_tpf.meters.wall_clock import wall_offset
from pytest_tpf.production.facility import FacilityError, load_facility, with_pue
from pytest_tpf.records import Facility, Report, Source, TestRecord
from pytest_tpf.report.build import build_report
from pytest_tpf.report.environment import describe_environment
from pytest_tpf.report.errors import ReportError
from pytest_tpf.report.text import counted, plain
from pytest_tpf.report.write import write_report
from pytest_tpf.settings import Settings

_NOT_WATCHED = "nobody watched the machine while it was idle"
_NO_METER = "no energy: neither --replay nor --prometheus was given"


class _Unusable(Exception):
    """What the user gave can't be used; one line."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="a result of AIPerf, vllm bench serve or GuideLLM, recognised by content")
    parser.add_argument("-o", "--output", required=True, metavar="REPORT", help="where the report goes (parent folders are made)")
    parser.add_argument("--replay", metavar="FILE", help="energy from this power log, recorded meanwhile")
    parser.add_argument("--replay-offset", metavar="S", type=float, default=0.0, help="add this to the log's times (default 0)")
    parser.add_argument(
        "--prometheus", metavar="URL_OR_FILE", help="energy from what this server scraped meanwhile: its URL, or a TOML file of queries"
    )
    parser.add_argument("--facility", metavar="FILE", help="TOML facility profile")
    parser.add_argument("--pue", metavar="X", type=float, help="the facility's PUE; overrides the profile's")
    parser.add_argument("--start", metavar="ISO", help="when the benchmark began, where its file doesn't say it exactly (one benchmark)")
    parser.add_argument("--end", metavar="ISO", help="when it ended; with one of the two, the other follows from its duration")


def run(args: argparse.Namespace) -> int:
    """One line on stdout; 2 where a file isn't a result that is known, a meter can't be opened, or REPORT can't be written."""
    try:
        points = _read(args.files, wall_offset().offset_s)
        facility = _facility(args)
        placed = _placed(points, args)
        with _keepers(_sources(args), placed) as keepers:
            rows = _rows(points, placed, facility, keepers)
            report = _report(rows, facility, keepers)
        write_report(args.output, report)
    except (_Unusable, ReportError, MeterUnavailable, FacilityError) as error:
        return fail("import", str(error).replace("\n", "; "))
    for note in keepers.notes if keepers is not None else ():
        print(plain(f"note: {note}"))
    print(plain(f"{args.output}: {counted(len(rows), 'row')} of {counted(len(args.files), 'file')} ({_trusts(rows)})"))
    return OK


def _read(files: Sequence[str], ahead_s: float) -> dict[str, Point]:
    """Every benchmark under the id of its row."""
    points: dict[str, Point] = {}
    for file in files:
        found = read_points(file, ahead_s)
        names = Counter(point.name for point in found)
        for number, point in enumerate(found):
            name = point.name if names[point.name] == 1 else f"{number} {point.name}".strip()
            nodeid = f"{file}::{point.tool}" + (f"[{name}]" if name else "")
            if nodeid in points:
                raise _Unusable(f"{file} is named twice")
            points[nodeid] = point
    return points


def _facility(args: argparse.Namespace) -> Facility:
    facility = load_facility(args.facility) if args.facility else Facility()
    return facility if args.pue is None else with_pue(facility, args.pue)


def _sources(args: argparse.Namespace) -> Sources:
    if not math.isfinite(args.replay_offset):
        raise _Unusable("--replay-offset must be a number of seconds")
    if args.prometheus is not None:
        try:
            load_prometheus(args.prometheus)
        except PrometheusConfigError as error:
            raise _Unusable(f"--prometheus: {error}") from None
    return Sources(replay=args.replay, replay_offset_s=args.replay_offset, prometheus=args.prometheus)


# --- when they ran ----------------------------------------------------------------------------------------------------


def _placed(points: dict[str, Point], args: argparse.Namespace) -> dict[str, Placed]:
    """When each of them ran, as its file says or the user."""
    start_s, end_s = (_time(args, name) for name in ("start", "end"))
    if start_s is None and end_s is None:
        return {nodeid: _said(nodeid, point, has_meter=bool(_sources(args).names)) for nodeid, point in points.items()}
    if len(points) > 1:
        raise _Unusable(f"--start and --end are those of one benchmark, and there are {len(points)}: import them one by one")
    ((nodeid, point),) = points.items()
    if start_s is None:
        start_s = (end_s or 0.0) - point.duration_s
    if end_s is None:
        end_s = start_s + point.duration_s
    if end_s <= start_s:
        raise _Unusable("--end is not after --start")
    return {nodeid: Placed(start_s=start_s, end_s=end_s)}


def _time(args: argparse.Namespace, name: str) -> float | None:
    text = getattr(args, name)
    at_s = None if text is None else unix_s(text)
    if text is not None and at_s is None:
        raise _Unusable(f"--{name} {text[:60]!r} is not a time such as 2026-01-31T23:59:59.5+01:00")
    return at_s


def _said(nodeid: str, point: Point, *, has_meter: bool) -> Placed:
    if point.placed is not None:
        return point.placed
    if has_meter:
        raise _Unusable(f"{nodeid}: the file doesn't say when it ran: give --start, --end or both")
    now_s = time.time()
    return Placed(start_s=now_s - point.duration_s, end_s=now_s)  # only the length matters


# --- rows -------------------------------------------------------------------------------------------------------------


@contextmanager
def _keepers(sources: Sources, placed: dict[str, Placed]) -> Iterator[Keepers | None]:
    """The meters, opened for the whole time from the first benchmark to the last; None where no meter is named."""
    if not sources.names:
        yield None
        return
    first_s = min(each.start_s - each.misplaced_s for each in placed.values())
    last_s = max(each.end_s + each.misplaced_s for each in placed.values())
    with opened(sources, (first_s, last_s)) as keepers:
        yield keepers


def _rows(points: dict[str, Point], placed: dict[str, Placed], facility: Facility, keepers: Keepers | None) -> list[TestRecord]:
    rows = []
    for nodeid, point in points.items():
        ahead_s = wall_offset().offset_s
        when = placed[nodeid]
        window = (when.start_s - ahead_s, when.end_s - ahead_s)
        recording = None if keepers is None else keepers.recording(window, when.misplaced_s)
        context = Context(
            facility=facility,
            idle=IdlePower(total_w=None, reason=_NOT_WATCHED if keepers else None),
            unmetered=keepers.unmetered if keepers else (),
            accelerators=keepers.accelerators if keepers else (),
            calibrations={},
            operations_threshold=Settings().operations_threshold,
            recording=recording,
            no_meter=None if keepers else _NO_METER,
            misplaced_s=when.misplaced_s,
        )
        rows.append(row(point, when, nodeid, context, ahead_s))
    return rows


def _report(rows: Sequence[TestRecord], facility: Facility, keepers: Keepers | None) -> Report:
    """The environment is that of this machine, where nothing was tested: its checkout and its CI say nothing of the benchmarks."""
    environment = describe_environment(keepers.accelerators if keepers else ())
    environment = dataclasses.replace(environment, source=Source(), ci=None)
    return build_report(rows, environment, facility, keepers.measured_meters() if keepers else ())


def _trusts(rows: Sequence[TestRecord]) -> str:
    kinds = Counter(test.energy.trust or "without energy" if test.energy.it_j is not None else "without energy" for test in rows)
    return ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
