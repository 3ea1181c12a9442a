"""The meters of every node of an existing Ray cluster: ``--tpf-meter ray``.

One actor on each node samples that node with the meters that ``auto`` would open there, and keeps what it reads. When a window has ended,
each is asked what it read around it, in its own clock's times; round trips tell how far that clock is ahead of this machine's, and what
they leave open widens the time of every reading. A node that left, or doesn't answer, costs its own domains.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from array import array
from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from pytest_tpf.codec import from_dict
from pytest_tpf.meters._node_clock import NodeClock, quickest
from pytest_tpf.meters.protocol import Channel, ChannelInfo, History, MeterOptions, MeterUnavailable, Opened, ReadFault, Reading, Status
from pytest_tpf.records import Accelerator, record

if TYPE_CHECKING:
    from pytest_tpf.meters._ray_cluster import Remote

ON_NODES = ("auto",)
"""The meters that are opened on every node."""

_OPEN_LIMIT_S = 20.0  # for joining and all nodes together; the sampler waits half a minute for its meters
_LOOK_EVERY_S = 10.0
_ROUND_TRIPS = 5
_LOOK_LIMIT_S = 2.0
_ANSWER_LIMIT_S = 10.0
_LATE_LIMIT_S = 1.0  # for a node that was late the last time
_PATIENCE_S = _ANSWER_LIMIT_S + _ROUND_TRIPS * _LOOK_LIMIT_S + 2.0


@record
class _Answer:
    """What a node said of a window: a row for each of its channels, or the fault instead."""

    window: tuple[float, float]
    rows: Sequence[Any] = ()
    ahead_s: float = 0.0
    half_width_s: float = 0.0
    fault: ReadFault | None = None


class Node:
    """One node, asked for its clock and about windows. ``remote``: its actor."""

    def __init__(self, remote: Remote) -> None:
        self.remote = remote
        self.clock = NodeClock()
        self._lock = threading.Lock()
        self._last: _Answer | None = None
        self._is_late = False

    def look(self) -> None:
        """Look at the node's clock. Raises ReadFault."""
        with self._lock:
            self._look()

    def look_if_free(self) -> None:
        """The same, unless it is being asked something else just now, which would make the round trip long. Raises ReadFault."""
        if self._lock.acquire(blocking=False):
            try:
                self._look()
            finally:
                self._lock.release()

    def history(self, index: int, t0: float, t1: float) -> History:
        """What channel number ``index`` of the node read around a window, in times of this machine's. Raises ReadFault."""
        with self._lock:
            if self._last is None or self._last.window != (t0, t1):
                self._last = self._asked(t0, t1)
            answer = self._last
        if answer.fault is not None:
            raise answer.fault
        return in_our_time(answer.rows[index], answer.ahead_s, answer.half_width_s, self.remote.host)

    def _look(self) -> None:
        limit_s = _LATE_LIMIT_S if self._is_late else _LOOK_LIMIT_S
        self.clock.add(quickest([self._round_trip(limit_s) for _ in range(_ROUND_TRIPS)]))

    def _round_trip(self, limit_s: float) -> tuple[float, float, float]:
        asked = time.perf_counter()
        told: float = self.remote.ask("now_s", limit_s=limit_s)
        return asked, told, time.perf_counter()

    def _asked(self, t0: float, t1: float) -> _Answer:
        """All channels of the node share one question."""
        try:
            self._look()
            known = self.clock.during(t0, t1)
            limit_s = _LATE_LIMIT_S if self._is_late else _ANSWER_LIMIT_S
            rows = self.remote.ask("around", t0 + known.ahead_s, t1 + known.ahead_s, limit_s=limit_s)
        except ReadFault as fault:
            self._is_late = fault.code == "source_late"
            return _Answer(window=(t0, t1), fault=fault)
        self._is_late = False
        return _Answer(window=(t0, t1), rows=rows, ahead_s=known.ahead_s, half_width_s=known.half_width_s)


def in_our_time(row: Any, ahead_s: float, half_width_s: float, host: str) -> History:
    """A node's readings by this machine's clock, each as uncertain as its own bracket and what is known of the clocks make it."""
    columns = []
    for content in row[:3]:
        columns.append(array("d"))
        columns[-1].frombytes(content)
    told = tuple((t - ahead_s, code, f"node {host}: {text}") for t, code, text in row[3])
    return History(
        readings=tuple(
            Reading(t_lo=lo - ahead_s - half_width_s, t_hi=hi - ahead_s + half_width_s, value=value)
            for lo, hi, value in zip(*columns, strict=True)
        ),
        faults=told,
        complete=True,
        period_s=row[4],
    )


class RayMeter:
    """Every node's boards and processors, through one actor on each."""

    id = "ray"

    def __init__(self) -> None:
        self._nodes: list[Node] = []
        self._wanted, self._closed = threading.Event(), threading.Event()

    def open(self, options: MeterOptions) -> Opened:
        """The channels of every node that is alive now, domains named ``gpu:HOST/0``, ``cpu:HOST/0``.

        Raises:
            MeterUnavailable: ray isn't installed, no cluster is named or can be joined, or nothing can be read on any node.
        """
        if options.ray is None:
            raise MeterUnavailable("no cluster is named: --tpf-ray ADDRESS, or RAY_ADDRESS (HOST:PORT of its head, or auto)")
        try:
            from pytest_tpf.meters import _ray_cluster as cluster
        except ModuleNotFoundError as missing:
            raise MeterUnavailable(f"there is no module {missing.name}: pip install 'pytest-tpf[ray]', here and on every node") from None
        # What runs on the nodes is the sampler itself, which stands above the meters: nothing but its name is needed here.
        from pytest_tpf.measure.node import NodeMeters, machine

        began = time.perf_counter()
        cluster.connect(options.ray)
        remotes = [cluster.start(NodeMeters, node, ON_NODES, options.cpu_tdp_w) for node in cluster.alive_nodes()]
        self._nodes = [Node(remote) for remote in remotes]
        found = cluster.answers(
            [(remote, remote.begin("found")) for remote in remotes], max(began + _OPEN_LIMIT_S - time.perf_counter(), 1.0)
        )
        opened = merged(zip(self._nodes, found, strict=True), machine())
        threading.Thread(target=self._watch_clocks, name="ray clocks", daemon=True).start()
        return opened

    def status(self) -> Sequence[Status]:
        """None is fetched from the nodes; called when sampling begins, it has the clocks looked at."""
        self._wanted.set()
        return ()

    def close(self) -> None:
        """End the actors and leave the cluster."""
        self._closed.set()
        self._wanted.set()
        for node in self._nodes:
            node.remote.stop()
        if self._nodes:
            from pytest_tpf.meters import _ray_cluster as cluster

            cluster.disconnect()

    def _watch_clocks(self) -> None:
        while not self._closed.is_set():
            for node in self._nodes:
                try:
                    node.look_if_free()
                except Exception:  # whoever asks about the next window is told why
                    continue
            self._wanted.wait(_LOOK_EVERY_S)
            self._wanted.clear()


Readers = dict[tuple[str, str, str], str]
"""The node by which each sensor is read."""


def merged(found: Iterable[tuple[Node, Any]], here: str | None) -> Opened:
    """The channels of all nodes; what two nodes of one machine both read is counted once. ``here``: this machine (``measure.node``).

    Raises MeterUnavailable where there is none at all.
    """
    readers: Readers = {}
    parts = _measured_or_estimated([_of_node(node, about, here, readers) for node, about in found])
    channels = tuple(channel for part in parts for channel in part.channels)
    notes = tuple(note for part in parts for note in part.notes)
    if not channels:
        raise MeterUnavailable("; ".join(notes) or "the cluster has no node that is alive")
    return Opened(
        channels=channels,
        accelerators=tuple(board for part in parts for board in part.accelerators),
        notes=notes,
        unmetered=tuple(dict.fromkeys(domain for part in parts for domain in part.unmetered)),
    )


def _measured_or_estimated(parts: Sequence[Opened]) -> Sequence[Opened]:
    """As on one machine: nothing is estimated where anything is measured. What is left out is listed."""
    if not any(channel.info.trust == "measured" for part in parts for channel in part.channels):
        return parts
    return [_without_estimates(part) if any(c.info.trust == "estimated" for c in part.channels) else part for part in parts]


def _without_estimates(part: Opened) -> Opened:
    left_out = tuple(channel.info.domain for channel in part.channels)
    notes = tuple(f"{domain}: nothing measures it, and it is not estimated beside nodes that are measured" for domain in left_out)
    return dataclasses.replace(part, channels=(), notes=notes, unmetered=(*left_out, *part.unmetered))


def _of_node(node: Node, about: Any, here: str | None, readers: Readers) -> Opened:
    host = node.remote.host
    if (why := _why_not(node, about)) is not None:
        return Opened(channels=(), notes=(f"node {host} is not metered: {why}",), unmetered=(f"node:{host}",))
    is_here = about["machine"] is not None and about["machine"] == here
    notes = [f"node {host}: {note}" for note in about["notes"]]
    channels: dict[str, list[Channel]] = {}
    for index, row in enumerate(about["channels"]):
        theirs = from_dict(ChannelInfo, row)
        if (reader := readers.setdefault(_sensor(theirs, about["machine"], host), host)) != host:
            notes.append(f"node {host}: its {theirs.domain} is read on node {reader} already and counted once ({theirs.method})")
            continue
        info = _info(theirs, host, is_here=is_here)
        channels.setdefault(theirs.domain, []).append(Channel(info, history=partial(node.history, index)))
    boards = [from_dict(Accelerator, row) for row in about["accelerators"]]
    return Opened(
        channels=tuple(channel for group in channels.values() for channel in group),
        accelerators=tuple(dataclasses.replace(b, domain=channels[b.domain][0].info.domain) for b in boards if b.domain in channels),
        notes=tuple(notes),
        unmetered=tuple(_domain(name, host, is_here=is_here) for name in about["unmetered"]),
    )


def _why_not(node: Node, about: Any) -> str | None:
    """Why a node can't be metered, in one line. Looks at its clock for the first time."""
    from pytest_tpf import __version__

    if isinstance(about, ReadFault):
        return str(about)
    if about["version"] != __version__:
        return f"it has pytest-tpf {about['version']}, this is {__version__}: install the same version"
    try:
        node.look()
    except ReadFault as fault:
        return str(fault)
    why: str | None = about.get("unavailable")
    return why


def _sensor(info: ChannelInfo, machine: str | None, host: str) -> tuple[str, str, str]:
    """A board is known by its UUID, anything else by the machine; the estimate sees its own node's processes only."""
    place = info.device or f"{host if info.reach == 'processes' else machine or host} {info.domain}"
    return place, info.quantity, info.method


def _domain(domain: str, host: str, *, is_here: bool) -> str:
    """This machine's own is called what its own meters call it, so that one of them counts it; boards are told by their UUID anyway."""
    kind, _, number = domain.partition(":")
    return domain if is_here else f"{kind}:{host}/{number}" if number else f"{kind}:{host}"


def _info(theirs: ChannelInfo, host: str, *, is_here: bool) -> ChannelInfo:
    """The node has found the edges already: for us they are readings, with brackets."""
    return dataclasses.replace(
        theirs,
        meter=RayMeter.id,
        domain=_domain(theirs.domain, host, is_here=is_here and theirs.device is None and theirs.reach != "processes"),
        source=f"node {host}, {theirs.meter}: {theirs.source}"[:1000],
        stepped=False,
        poll_s=1.0,
        reach="anywhere",
        age_s=0.0,
        patience_s=_PATIENCE_S,
        wall_clock=False,
    )
