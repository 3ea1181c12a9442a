"""The test process's end of the sampler: start the helper, mark windows by time alone, ask afterwards what happened around them.

A window costs two clock readings. The helper shares the clock (``time.perf_counter`` is CLOCK_MONOTONIC, one for all processes).
Nothing here hangs or raises because the helper died: what it can't tell any more comes back as a ``sampler_lost`` fault, and the next
``arm`` starts another.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import os
import sys
import threading
import time
from array import array
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from pytest_tpf.codec import from_dict
from pytest_tpf.measure.crosscheck import with_swing
from pytest_tpf.measure.helper import Helper, Lost
from pytest_tpf.measure.polled import first_seen
from pytest_tpf.measure.sharpen import sharpened
from pytest_tpf.measure.trace import Edge, Fault, PowerSample, Recording, Trace
from pytest_tpf.meters.protocol import BoardProcess, ChannelInfo, MeterOptions, Status
from pytest_tpf.records import Accelerator, MeterInfo, record

START_LIMIT_S = 30.0
"""NVML takes seconds to start where the driver isn't kept loaded; beyond this something is stuck."""

RESTARTS = 3
"""How often a lost helper is started again in one run: what goes wrong more often than that is not an accident."""

_ANSWER_LIMIT_S = 3.0  # beyond what the helper itself waits for
_FORKED = "this process was forked from the one that measures; it can't measure"


class SamplerUnavailable(Exception):
    """No meter can be read here. The text is one line for the user."""


@record
class SamplerInfo:
    """What the helper found. ``meters`` has one entry a metered domain, in the order of ``channels``."""

    meters: tuple[MeterInfo, ...]
    channels: tuple[ChannelInfo, ...]
    accelerators: tuple[Accelerator, ...]
    notes: tuple[str, ...]
    unmetered: tuple[str, ...]


class Sampler:
    """A helper process, what it knows, and another one where it is lost. Usable from any thread; in a forked child it does nothing and
    says so.

    ``meters``: names for ``--tpf-meter``; ``linger_s``: how long sampling goes on after ``rest``, so that the next window finds it running.
    """

    def __init__(self, meters: Sequence[str], options: MeterOptions, linger_s: float = 1.0) -> None:
        self._order = (tuple(meters), dataclasses.asdict(options), linger_s, os.getpid())
        self._owner = os.getpid()
        self._helper: Helper | None = None
        self._origin: tuple[tuple[str, ...], dict[str, str]] | None = None
        self._restarts_left = RESTARTS
        self._restarted: tuple[Fault, ...] = ()
        self._info: SamplerInfo | None = None
        self._lock = threading.RLock()
        self._number = 0
        self._closed = False
        self.lost: str | None = None
        """Why nothing can be recorded at present, in one line; None while all is well."""

    @property
    def pid(self) -> int | None:
        """The helper's process id; None before it is launched."""
        return None if self._helper is None else self._helper.process.pid

    # --- life

    def launch(self) -> None:
        """Start the helper without waiting for its meters (``start`` does). Raises SamplerUnavailable."""
        self._refuse_fork()
        with self._lock:
            if self._helper is not None or self._closed:
                return
            # A helper that is started again finds what the first one found, whatever tests did to this process meanwhile.
            self._origin = self._origin or (tuple(sys.path), dict(os.environ))
            try:
                self._helper = Helper(*self._origin)
            except (OSError, ValueError) as error:
                raise SamplerUnavailable(f"the sampler can't be started: {error}") from None
            atexit.register(self.close)
            with contextlib.suppress(Lost):  # start() will say what happened
                self._helper.send(self._order)

    def start(self) -> SamplerInfo:
        """Start the helper and open the meters; what was found. Again: the same answer.

        Raises:
            SamplerUnavailable: no meter can be used, or the helper can't run; the text is one line that says why.
        """
        self._refuse_fork()
        with self._lock:
            if self._info is not None:
                return self._info
            if self._closed:
                raise SamplerUnavailable("the sampler is closed")
            try:
                self._info = self._opened()
            except SamplerUnavailable:
                self.close()
                raise
            return self._info

    def _opened(self) -> SamplerInfo:
        """What the helper found, launched if need be. Raises SamplerUnavailable."""
        self.launch()
        assert self._helper is not None
        try:
            answer, content = self._helper.receive(START_LIMIT_S)
        except Lost as lost:
            raise SamplerUnavailable(f"{lost}, while its meters were opened") from None
        if answer != "ready":
            raise SamplerUnavailable(str(content))
        return _info(content)

    def close(self) -> None:
        """End the helper, gently and then not; returns soon whatever happens. Harmless when repeated or in a forked child."""
        if self._forked():
            return
        with self._lock:
            if self._closed:
                return
            self._closed = True
            atexit.unregister(self.close)
            if self._helper is not None:
                if self.lost is None:
                    with contextlib.suppress(Lost):
                        self._helper.send((0, "stop"))
                self._helper.end()
            self.lost = self.lost or "the sampler is closed"

    def _revived(self) -> bool:
        """Whether another helper took the place of the lost one, with the same channels."""
        if self._forked() or self._info is None or self._closed or not self._restarts_left:
            return False
        with self._lock:
            self._restarts_left -= 1
            lost, self._helper = self.lost, None
            try:
                self._same_again(self._info)
            except SamplerUnavailable as unavailable:
                self.lost = f"{lost}; another one could not take its place: {unavailable}"
                return False
            self.lost = None
            self._restarted = (Fault(t=time.perf_counter(), code="sampler_lost", text=f"{lost}; another one took its place"),)
            return True

    def _same_again(self, before: SamplerInfo) -> None:
        """Start a helper whose channels are those of ``before``; raises SamplerUnavailable, with none running, where that can't be had."""
        try:
            if self._opened().channels != before.channels:
                raise SamplerUnavailable("it found other meters")
        except SamplerUnavailable:
            if self._helper is not None:
                self._helper.end()
            raise

    # --- sampling

    def arm(self) -> tuple[str, ...]:
        """Sample from now on; returns once every energy channel is bracketed, after about a second at most.

        The answer names the domains that aren't: their windows will be ``not_bracketed``. A lost helper is started again, ``RESTARTS``
        times at most.
        """
        self._restarted = ()
        missing = self._ask("arm", wait_s=1.0)
        if self.lost is not None and self._revived():
            missing = self._ask("arm", wait_s=1.0)
        return () if missing is None or self._info is None else tuple(self._info.channels[index].domain for index in missing)

    def rest(self) -> None:
        """Sampling may stop, ``linger_s`` from now."""
        self._tell("rest")

    def collect(self, t0: float, t1: float, edges_after: int = 2) -> Recording:
        """What happened around (``t0``, ``t1``): waits until every energy channel has ``edges_after`` edges after ``t1``, within bounds.

        One edge brackets the window. The second says how power went on after its end, which places a job's stop inside the last refresh.
        A lost helper gives traces without readings and with a ``sampler_lost`` fault; of one that was started again the fault lies before
        its first reading.
        """
        channels = self._info.channels if self._info is not None else ()
        patience_s = max((channel.patience_s for channel in channels), default=0.0)
        answer = self._ask("collect", t0, t1, edges_after, wait_s=2.0 + patience_s + max(0.0, t1 - time.perf_counter()))
        if answer is None:
            fault = Fault(t=t1, code="sampler_lost", text=self.lost or "the sampler was not started")
            return Recording(traces=tuple(Trace(channel=channel, faults=(fault,)) for channel in channels))
        rows, statuses = answer
        traces = tuple(trace_of(channel, *row) for channel, row in zip(channels, rows, strict=True))
        if self._restarted:
            traces = tuple(dataclasses.replace(trace, faults=(*self._restarted, *trace.faults)) for trace in traces)
        return Recording(traces=with_swing(traces), statuses=tuple(_status(*row) for row in statuses))

    def processes(self, since: float) -> tuple[BoardProcess, ...] | None:
        """Who is on the boards, and what each made of them since an instant; empty where no meter can tell, None without an answer."""
        rows = self._ask("processes", since, wait_s=1.0)
        return None if rows is None else tuple(from_dict(BoardProcess, row) for row in rows)

    def forget_before(self, t: float) -> None:
        """Windows that start before ``t`` will not be asked for any more."""
        self._tell("forget", t)

    def measured_periods(self) -> dict[str, float | None]:
        """For each meter's id its measured refresh period (s), None while unknown."""
        return {name: period for name, (period, _, _) in self._channel_stats().items()}

    def read_times(self) -> dict[str, float | None]:
        """For each meter's id how long one reading takes on average (s), None before the first."""
        return {name: read_s for name, (_, _, read_s) in self._channel_stats().items()}

    def _channel_stats(self) -> dict[str, tuple[float | None, float | None, float | None]]:
        answer = self._ask("stats", wait_s=0.0)
        channels = self._info.channels if self._info is not None else ()
        rows = [(None, None, None)] * len(channels) if answer is None else answer[2]
        return {meter_id(channel): row for channel, row in zip(channels, rows, strict=True) if channel.energy}

    def cpu_share(self) -> float | None:
        """The helper's own CPU seconds per second of sampling; None where it never sampled or can't say."""
        answer = self._ask("stats", wait_s=0.0)
        return None if answer is None or not answer[1] else float(answer[0] / answer[1])

    # --- talking

    def _tell(self, *command: Any) -> None:
        if self._forked():
            return
        with self._lock:
            if self._usable():
                self._talk(lambda helper: helper.send((0, *command)))

    def _ask(self, *command: Any, wait_s: float) -> Any:
        """The helper's answer, or None where it is lost (``lost`` then says why)."""
        if self._forked():
            return None
        with self._lock:
            return self._talk(lambda helper: self._answer(helper, command, wait_s + _ANSWER_LIMIT_S)) if self._usable() else None

    def _answer(self, helper: Helper, command: tuple[Any, ...], limit_s: float) -> Any:
        self._number += 1
        helper.send((self._number, *command))
        while True:
            number, value = helper.receive(limit_s)
            if number == self._number:  # an older number is the answer to a question that was interrupted
                return value

    def _talk(self, talk: Callable[[Helper], Any]) -> Any:
        assert self._helper is not None
        try:
            return talk(self._helper)
        except Lost as lost:
            more = "" if self._restarts_left else f"; it was started again {RESTARTS} times already"
            self.lost = f"{lost}{more}"
            return None

    def _usable(self) -> bool:
        return self._info is not None and self.lost is None

    def _forked(self) -> bool:
        """Asked before the lock is taken: in a forked child a thread that is gone may hold it for ever."""
        if os.getpid() == self._owner:
            return False
        self.lost = _FORKED
        return True

    def _refuse_fork(self) -> None:
        if self._forked():
            raise SamplerUnavailable(_FORKED)


def meter_id(channel: ChannelInfo) -> str:
    """The name of a metered domain in the report: ``nvml:gpu:0``."""
    return f"{channel.meter}:{channel.domain}"


def meter_infos(channels: Iterable[ChannelInfo]) -> tuple[MeterInfo, ...]:
    """The report's entry for each energy channel; the refresh period isn't known before sampling."""
    return tuple(
        MeterInfo(
            id=meter_id(channel),
            source=channel.source,
            domain=channel.domain,
            device=channel.device,
            method=channel.method,
            trust=channel.trust,
            resolution_j=channel.resolution_j,
        )
        for channel in channels
        if channel.energy
    )


def _info(content: dict[str, Any]) -> SamplerInfo:
    channels = tuple(from_dict(ChannelInfo, row) for row in content["channels"])
    return SamplerInfo(
        meters=meter_infos(channels),
        channels=channels,
        accelerators=tuple(from_dict(Accelerator, row) for row in content["accelerators"]),
        notes=tuple(content["notes"]),
        unmetered=tuple(content["unmetered"]),
    )


def trace_of(
    channel: ChannelInfo, lo: bytes, hi: bytes, values: bytes, faults: Iterable[Any], period_s: float | None, jitter_s: float | None
) -> Trace:
    """A channel's trace from its readings as raw doubles, as the helper lays them out."""
    rows = zip(array("d", lo), array("d", hi), array("d", values), strict=True)
    is_counter = channel.quantity == "energy_j"
    powers = () if is_counter else tuple(PowerSample(t=0.5 * (a + b), watts=v) for a, b, v in rows)
    edges = tuple(Edge(t_lo=a, t_hi=b, joules=v) for a, b, v in rows) if is_counter else ()
    edges = sharpened(edges, period_s) if channel.stepped else first_seen(edges, channel.age_s)
    return Trace(
        channel=channel,
        edges=edges,
        powers=powers,
        faults=tuple(Fault(t=t, code=code, text=text) for t, code, text in faults),
        period_s=period_s,
        jitter_s=jitter_s,
    )


def _status(*row: Any) -> Status:
    return Status(**dict(zip(Status.__dataclass_fields__, row, strict=True)))
