"""``tpf meters``: what can be metered here, how fast each counter really refreshes, and how long a window has to be."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterable, Sequence

from pytest_tpf.cli.main import OK, fail
from pytest_tpf.measure.crosscheck import agreements
from pytest_tpf.measure.energy import energy_of_spans, shortest_window_s
from pytest_tpf.measure.gauge import refresh_s
from pytest_tpf.measure.sampler import Sampler, SamplerInfo, SamplerUnavailable, meter_id
from pytest_tpf.measure.trace import Trace
from pytest_tpf.meters.protocol import MeterOptions
from pytest_tpf.meters.registry import meter_names, name_errors, try_meter
from pytest_tpf.report.text import UNKNOWN, energy, plain, si

WANTED = 0.01
"""The relative uncertainty (95 %) that the shortest window is given for."""
_LONGEST_S = 60.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The verb's arguments."""
    parser.add_argument("--meter", metavar="LIST", default="auto", help="meters to open: auto (default) or a list such as nvml,rapl")
    parser.add_argument(
        "--prometheus", metavar="URL_OR_FILE", help="the server of the meter prometheus: its URL, or a TOML file of queries"
    )
    parser.add_argument("--ray", metavar="ADDRESS", help="the cluster of the meter ray: HOST:PORT of its head, or auto")
    parser.add_argument("--replay", metavar="FILE", help="the log of the meter replay")
    parser.add_argument("--replay-offset", metavar="S", type=float, default=0.0, help="add this to the log's times (default 0)")
    parser.add_argument("--seconds", metavar="S", type=float, default=2.0, help="how long to watch the counters (default 2)")


def run(args: argparse.Namespace) -> int:
    """Open the meters, watch their counters for a while and print what they do. 2 where a named meter can't be opened."""
    names = [name.strip() for name in args.meter.split(",") if name.strip()]
    wrong = name_errors(names)
    if wrong:
        return fail("meters", wrong[0])
    if not 0 < args.seconds <= _LONGEST_S:
        return fail("meters", f"--seconds must be above 0 and at most {_LONGEST_S:.0f}")
    if args.prometheus is not None and "prometheus" not in names:
        names.append("prometheus")
    if args.ray is not None and "ray" not in names:
        names.append("ray")
    if args.replay is not None and "replay" not in names:
        names.insert(0, "replay")
    options = MeterOptions(
        watched_pid=os.getpid(),
        prometheus=args.prometheus,
        ray=args.ray or (os.environ.get("RAY_ADDRESS") if "ray" in names else None),
        replay=args.replay,
        replay_offset_s=args.replay_offset,
    )
    sampler = Sampler(names, options)
    try:
        info = sampler.start()
        traces, span = _watch(sampler, args.seconds)
        read_times = sampler.read_times()
    except SamplerUnavailable as unavailable:
        return fail("meters", unavailable)
    finally:
        sampler.close()
    for line in [*_found(info, traces, span, read_times), *_agreement(traces), *_absent(info, options)]:
        print(plain(line))
    return OK


def _watch(sampler: Sampler, duration_s: float) -> tuple[tuple[Trace, ...], tuple[float, float]]:
    sampler.arm()
    start_s = time.perf_counter()
    time.sleep(duration_s)
    end_s = time.perf_counter()
    return sampler.collect(start_s, end_s).traces, (start_s, end_s)


def _found(info: SamplerInfo, traces: Iterable[Trace], span: tuple[float, float], read_times: dict[str, float | None]) -> list[str]:
    from tabulate import tabulate

    headings = ["meter", "domain", "trust", "refresh", "jitter", "read", "resolution", "now", "1 % from"]
    rows = [_row(trace, span, read_times.get(meter_id(trace.channel))) for trace in traces if trace.channel.energy]
    ruled = [headings, ["-" * max(map(len, cells)) for cells in zip(headings, *rows, strict=True)], *rows]
    align = ("left", "left", "left", "right", "right", "right", "right", "right", "right")
    table: str = tabulate(ruled, tablefmt="plain", colalign=align, disable_numparse=True)
    methods = dict.fromkeys(f"{meter.id}: {meter.method} ({meter.source})" for meter in info.meters)
    boards = [f"{board.domain}: {board.name}, {board.uuid}, limit {si(board.power_limit_w, 'W')}" for board in info.accelerators]
    opened = {channel.meter for channel in info.channels}  # why the others aren't is said below
    notes = [f"note: {note}" for note in info.notes if note.partition(":")[0] not in set(meter_names()) - opened]
    unmetered = [f"not metered: {', '.join(info.unmetered)}"] if info.unmetered else []
    explained = "1 % from: the shortest window whose energy is known within 1 % (95 %), power stepping from nothing to full load"
    return [*(line.rstrip() for line in table.splitlines()), explained, *methods, *boards, *unmetered, *notes]


def _agreement(traces: Sequence[Trace]) -> list[str]:
    """How the other sensors of a domain compare with its counter, and what was seen of their refresh."""
    refreshes = {(t.channel.domain, t.channel.method): refresh_s(t.powers) for t in traces if t.powers}
    judged = {True: "they disagree", False: "they agree", None: "too short or too unsteady to judge"}
    lines = []
    for found in agreements(traces):
        refresh = refreshes.get((found.domain, found.method))
        seen = "" if refresh is None else f"; {found.method} refreshes every {si(refresh, 's')}"
        lines.append(f"agreement: {found.text} ({judged[found.disagree]}){seen}")
    return lines


def _row(trace: Trace, span: tuple[float, float], read_s: float | None) -> list[str]:
    channel, joules = trace.channel, energy_of_spans(trace, [span]).joules
    watts = None if joules is None else joules / (span[1] - span[0])
    return [
        channel.meter,
        channel.domain,
        channel.trust,
        si(trace.period_s, "s"),
        si(trace.jitter_s, "s"),
        si(read_s, "s"),
        si(channel.resolution_j, "J"),
        energy(watts, channel.trust, "W"),
        UNKNOWN if channel.trust == "estimated" else si(shortest_window_s(trace, WANTED), "s"),
    ]


def _absent(info: SamplerInfo, options: MeterOptions) -> Sequence[str]:
    """Why the installed meters that weren't opened aren't available, or that nobody asked for them."""
    opened = {channel.meter for channel in info.channels}
    lines = []
    for name in meter_names():
        if name in opened:
            continue
        attempt = try_meter(name, options)
        if attempt.meter is not None:
            attempt.meter.close()
        lines.append(f"{name}: available, not used" if attempt.reason is None else f"{name}: not available: {attempt.reason}")
    return lines
