"""Which meters see the servers that generated: what the others read says nothing of these tokens. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

from pytest_tpf.measure.trace import Recording, Trace
from pytest_tpf.meters.protocol import Reach
from pytest_tpf.records import record

Place = Literal["ours", "machine", "elsewhere"]

_SEES: dict[Reach, tuple[Place, ...]] = {
    "processes": ("ours",),
    "machine": ("ours", "machine"),
    "anywhere": ("ours", "machine", "elsewhere"),
}


@record
class Server:
    """A server that generated, and where it is: among the processes that are the tests' own, elsewhere on this machine, or on another.

    ``pid``: who listens on this machine and isn't ours, where that can be seen.
    """

    endpoint: str
    place: Place
    pid: int | None = None


def sees(reach: Reach, server: Server) -> bool:
    """Whether a meter of that reach reads what the server uses."""
    return server.place in _SEES[reach]


def within_reach(recording: Recording, servers: Sequence[Server]) -> tuple[Recording, tuple[str, ...]]:
    """The recording without what doesn't see all of ``servers``, and one line for each server that wasn't seen, or only in part.

    Where no energy is left, its domains stay as ``unreached``, without readings.
    """
    traces = tuple(trace for trace in recording.traces if all(sees(trace.channel.reach, server) for server in servers))
    kept = {trace.channel.domain for trace in traces if trace.channel.energy}
    blind = [trace for trace in recording.traces if trace.channel.energy and trace.channel.domain not in kept]
    if not blind:
        return recording, ()
    domains = tuple(trace.channel.domain for trace in blind)
    notes = tuple(_note(server, blind, is_seen=bool(kept)) for server in servers if not all(sees(t.channel.reach, server) for t in blind))
    if not kept:
        return Recording(traces=tuple(Trace(channel=trace.channel) for trace in blind), unreached=domains), notes
    statuses = tuple(status for status in recording.statuses if status.domain in kept)
    return dataclasses.replace(recording, traces=traces, statuses=statuses), notes


def _note(server: Server, blind: Sequence[Trace], *, is_seen: bool) -> str:
    names = [trace.channel.domain for trace in blind if not sees(trace.channel.reach, server)]
    domains, are, do = ", ".join(names), *(("is", "doesn't") if len(names) == 1 else ("are", "don't"))
    if server.place == "elsewhere":
        own = f"{domains} {are} this machine's own, and left out"
        unknown = f"its energy is unknown ({own}); meter that machine with --tpf-meter prometheus or replay"
        return f"{server.endpoint} is on another machine: {own if is_seen else unknown}"
    who = "a process" if server.pid is None else f"process {server.pid}"
    unseen = f"{domains} {do} see it, {f'and {are} left out' if is_seen else 'so its energy is unknown'}"
    remedy = f"start it from a fixture, or add --tpf-watch {server.pid or 'PID'}"
    return f"{server.endpoint} is served by {who} of this machine, which this run didn't start: {unseen}; {remedy}"
