"""Energy counters and power gauges that a Prometheus server has scraped: the only way to boards and machines that can't be read from here.

A server is asked afterwards what it scraped around a window. Raw samples come from an instant query with a range selector, which keeps
their timestamps; ``query_range`` would resample them. Only an expression, which has no samples of its own, is evaluated in steps (a
subquery), and its method says so. Times are the server's, turned into ours by asking it for its clock at each question.
"""

from __future__ import annotations

import dataclasses
import math
import threading
import time
from collections.abc import Iterable, Sequence
from functools import partial

from pytest_tpf.meters._prom_client import PromClient, PromError
from pytest_tpf.meters._prom_config import PrometheusConfig, PrometheusConfigError, Query, load_prometheus
from pytest_tpf.meters._prom_known import KNOWN, probe
from pytest_tpf.meters._prom_series import (
    Moment,
    Sample,
    Series,
    SeriesError,
    Target,
    fault,
    held_s,
    is_selector,
    merged,
    ranged,
    read_history,
    read_matrix,
    repeats,
    selectors,
    spacing_s,
    targets,
)
from pytest_tpf.meters.protocol import Channel, ChannelInfo, History, MeterOptions, MeterUnavailable, Opened, ReadFault, Status
from pytest_tpf.meters.wall_clock import ClockWatch, wall_offset
from pytest_tpf.records import Accelerator, record

_LOOKBACKS_S = (300.0, 3600.0)  # how far back scrapes are looked at when the meter opens: the second where the first shows too few
_ASSUMED_PERIOD_S = 60.0  # Prometheus' own default, until samples tell
_MARGIN_PERIODS = 6.0
_LEAST_MARGIN_S = 2.0
_PATIENCE_S = 3.0
_GIVE_UP_S = 1.0  # a server that has been failing this long fails further questions at once
_TOLD_OFF_S = 1.0
_UNKNOWN_SCRAPE_SHARE, _LONGEST_UNKNOWN_SCRAPE_S = 0.1, 1.0  # of the scrape interval, where Prometheus doesn't tell; our choice


class _Server:
    """The server and its clock."""

    def __init__(self, config: PrometheusConfig) -> None:
        self.client = PromClient(config.url, config.headers, config.timeout_s)
        self.watch = ClockWatch(self.client.clock)

    def series(self, query: Query, length_s: float, at_s: float | None = None) -> list[Series]:
        """The query's series over the ``length_s`` seconds before the server's time ``at_s`` (now where None). Raises PromError."""
        return read_matrix(self.client.query(ranged(query, length_s), at_s))

    def scrape_s(self, series: Iterable[Series], period_s: float, at_s: float | None) -> float:
        """How long the scrapes that brought ``series`` take at most (s), as far as Prometheus tells."""
        longest: list[float] = []
        for job, instance in {(one.labels.get("job", ""), one.labels.get("instance", "")) for one in series}:
            query = Query(domain="", query="scrape_duration_seconds", unit="J", labels={"job": job, "instance": instance})
            longest += [value for found in self.series(query, _LOOKBACKS_S[0], at_s) for _, value in found.samples if math.isfinite(value)]
        return max(longest) if longest else min(_UNKNOWN_SCRAPE_SHARE * period_s, _LONGEST_UNKNOWN_SCRAPE_S)


@record
class _Look:
    """An answer and which window it is about; ``at`` says when it was asked for (perf_counter s)."""

    window: tuple[float, float]
    at: float
    series: list[Series]
    moment: Moment


class _Feed:
    """One query, asked on behalf of all the domains it shows: their questions of one window share an answer."""

    def __init__(self, server: _Server, query: Query, found: Sequence[Series], until_s: float | None) -> None:
        self.query = query
        self.period_s = _median([_shown_every_s(query, one.samples) for one in found])  # None: too few samples to tell
        self.averaging_s = _averaging_s(query, found, self.period_s or _ASSUMED_PERIOD_S)
        self.poll_s = _rounded(min(max((self.period_s or _ASSUMED_PERIOD_S) / 4, 0.05), 1.0))
        self._server = server
        self._scrape_s = server.scrape_s(found, self.period_s or _ASSUMED_PERIOD_S, until_s)
        self._lock = threading.Lock()
        self._last: _Look | None = None
        self._failing_since: float | None = None

    def history(self, target: Target, t0: float, t1: float) -> History:
        """What the server has around the window for one domain. Raises ReadFault where asking again won't help."""
        with self._lock:
            try:
                look = self._look(t0, t1)
            except PromError as error:
                return self._failed(error, t1)
            self._failing_since = None
        if (step_s := self._server.watch.stepped_since(t0)) is not None:
            text = f"the clock of {self._server.client.name} stepped by {step_s:+.3f} s during the window: its samples can't be placed"
            raise ReadFault("clock_stepped", text)
        samples = merged(one for one in look.series if target.holds(one, self.query))
        return read_history(samples, self.query, look.moment, t0, t1, self.averaging_s)

    def _look(self, t0: float, t1: float) -> _Look:
        now = time.perf_counter()
        if self._last is not None and self._last.window == (t0, t1) and now - self._last.at < 0.9 * self.poll_s:
            return self._last
        clock = self._server.watch.look()
        server_s = time.perf_counter() + clock.offset_s
        margin_s = max(_MARGIN_PERIODS * (self.period_s or _ASSUMED_PERIOD_S), _LEAST_MARGIN_S) + self.averaging_s
        end_s = min(t1 + clock.offset_s + margin_s, server_s)
        series = self._server.series(self.query, end_s - (t0 + clock.offset_s - margin_s), end_s)
        self._last = _Look(window=(t0, t1), at=now, series=series, moment=Moment(clock=clock, server_s=server_s, scrape_s=self._scrape_s))
        return self._last

    def _failed(self, error: PromError, t1: float) -> History:
        now = time.perf_counter()
        self._failing_since = self._failing_since or now
        if not error.passing or now - self._failing_since > _GIVE_UP_S:
            raise ReadFault("source_failed", str(error))
        return History(faults=(fault("source_failed", t1, str(error)),), complete=False)


class PrometheusMeter:
    """What a Prometheus server scrapes: known exporters, or the queries of a TOML file."""

    id = "prometheus"

    def open(self, options: MeterOptions) -> Opened:
        """A channel for every domain that the queries show.

        Raises:
            MeterUnavailable: no server is named, it can't be asked, or its series don't tell which domain each is.
        """
        if options.prometheus is None:
            raise MeterUnavailable("no server is named: --tpf-prometheus URL, or a TOML file with url and [[channel]] tables")
        try:
            config = load_prometheus(options.prometheus)
            server = _Server(config)
            clock = server.watch.look()
            until_s = None if options.past_until_s is None else options.past_until_s + clock.offset_s - wall_offset().offset_s
            queries = config.queries or _known(server, until_s)
            found = [_opened(server, query, until_s, clock.offset_s + time.perf_counter()) for query in _counters_first(queries)]
            return _assembled(server, found, config.timeout_s)
        except PromError as error:
            remedy = ": start it, or correct --tpf-prometheus" if error.passing else ""
            raise MeterUnavailable(f"{error}{remedy}") from None
        except (PrometheusConfigError, SeriesError) as error:
            raise MeterUnavailable(str(error)) from None

    def status(self) -> Sequence[Status]:
        """Nothing: a server knows no more than its samples."""
        return ()

    def close(self) -> None:
        """There is nothing to let go of: connections end with their answers."""


@record
class _Found:
    """A query that was opened: its feed, its domains, their series when it was opened, and notes."""

    feed: _Feed
    targets: tuple[Target, ...]
    series: tuple[Series, ...]
    notes: tuple[str, ...]


def _counters_first(queries: Sequence[Query]) -> list[Query]:
    return sorted(queries, key=lambda query: query.quantity != "energy")


def _known(server: _Server, until_s: float | None) -> tuple[Query, ...]:
    """Of each group of known exporters the first that the server has."""
    every = [query for group in KNOWN for query in group]
    try:
        there = {every[int(row["metric"]["n"])].query for row in server.client.query(probe(every), until_s)["result"]}
    except (KeyError, TypeError, ValueError, IndexError):
        raise PromError(f"{server.client.name} does not say which metrics it has: name the queries in a TOML file") from None
    found = [next((query for query in group if query.query in there), None) for group in KNOWN]
    if not any(found):
        names = "DCGM, Kepler or node_exporter's RAPL"
        raise SeriesError(f"{server.client.name} scrapes no exporter that is known ({names}): name the queries in a TOML file")
    return tuple(query for query in found if query is not None)


def _opened(server: _Server, query: Query, until_s: float | None, now_s: float) -> _Found:
    """A query's series as they were at ``until_s`` of the server's clock; None: as they are, at ``now_s``."""
    query = _aged(server, query, until_s)
    series: list[Series] = []
    for lookback_s in _LOOKBACKS_S:
        series = server.series(query, lookback_s, until_s)
        if any(len(one.samples) > 2 for one in series):
            break
    found, notes = targets(query, series, now_s if until_s is None else until_s)
    shown = tuple(Series(labels=t.labels, samples=merged(one for one in series if t.holds(one, query))) for t in found)
    return _Found(feed=_Feed(server, query, shown, until_s), targets=tuple(found), series=shown, notes=tuple(notes))


def _aged(server: _Server, query: Query, until_s: float | None) -> Query:
    """An expression over several series, which are scraped at different times: some of what it shows is up to a scrape interval old."""
    if is_selector(query.query) or query.refresh_s is not None:
        return query
    inside = [
        one
        for selector in selectors(query.query)
        for one in server.series(dataclasses.replace(query, query=selector, labels={}), _LOOKBACKS_S[0], until_s)
        if one.samples
    ]
    period_s = max((spacing_s([t for t, _ in one.samples]) or 0.0 for one in inside), default=0.0)
    return dataclasses.replace(query, refresh_s=_rounded(period_s)) if len(inside) > 1 and period_s > 0 else query


def _assembled(server: _Server, found: Sequence[_Found], timeout_s: float) -> Opened:
    channels: list[Channel] = []
    boards: dict[str, Accelerator] = {}
    domains: set[str] = set()
    notes = [_server_note(server, [one.feed.period_s for one in found])]
    for one in found:
        notes += one.notes
        for target, series in zip(one.targets, one.series, strict=True):
            known_as = next((board.domain for board in boards.values() if board.uuid == target.uuid), target.domain)
            if known_as != target.domain:
                notes.append(f"{target.domain} is left out: {one.feed.query.query} shows board {target.uuid}, which is {known_as} already")
                continue
            info = _info(server, one.feed, target, timeout_s, energy=target.domain not in domains)
            channels.append(Channel(info, history=partial(one.feed.history, target)))
            domains.add(target.domain)
            notes += _remarks(one.feed, target, series.samples)
            if target.uuid is not None and target.domain.startswith("gpu:"):
                boards.setdefault(target.domain, _accelerator(target))
    return Opened(channels=tuple(channels), accelerators=tuple(boards.values()), notes=tuple(f"prometheus: {note}" for note in notes))


def _info(server: _Server, feed: _Feed, target: Target, timeout_s: float, *, energy: bool) -> ChannelInfo:
    query = feed.query
    is_counter = query.quantity == "energy"
    return ChannelInfo(
        meter=PrometheusMeter.id,
        domain=target.domain,
        device=target.uuid,
        quantity="energy_j" if is_counter else "power_w",
        method=f"prometheus_{'counter' if is_counter else 'gauge'}{'' if is_selector(query.query) else '_subquery'}",
        source=f"{server.client.name} {query.query}"[:1000],
        trust="measured",
        stepped=False,
        poll_s=feed.poll_s,
        energy=energy,
        reach="anywhere",
        resolution_j=query.resolution_j if query.resolution_j is not None else query.scale if query.unit in ("mJ", "uJ") else None,
        gain=query.gain,
        averaging_s=feed.averaging_s or None,
        patience_s=_rounded(_PATIENCE_S + timeout_s + 2 * (feed.period_s or _ASSUMED_PERIOD_S) + feed.averaging_s),
    )


def _accelerator(target: Target) -> Accelerator:
    index = target.domain.partition(":")[2]
    return Accelerator(
        domain=target.domain,
        name=target.labels.get("modelName") or "unknown",
        uuid=target.uuid or "",
        index=int(index) if index.isdecimal() else None,
        driver_version=target.labels.get("DCGM_FI_DRIVER_VERSION"),
    )


def _server_note(server: _Server, periods_s: Sequence[float | None]) -> str:
    """Whom is asked, how often it looks, and how far its clock is from this machine's."""
    clock = server.watch.look()
    off_s = clock.offset_s - (time.time() - time.perf_counter())
    every = ", ".join(dict.fromkeys(f"news every {period_s:.2g} s" if period_s else "too few samples yet" for period_s in periods_s))
    known = f"{server.client.name}: {every}; its clock is {off_s:+.3f} s from this machine's (within {clock.half_width_s:.3f} s)"
    return known if abs(off_s) < _TOLD_OFF_S else f"{known}, which is allowed for; better synchronise the clocks"


def _remarks(feed: _Feed, target: Target, samples: Sequence[Sample]) -> Iterable[str]:
    query = feed.query
    if not is_selector(query.query):
        age = f"what it shows may be {query.refresh_s:g} s old" if query.refresh_s else "when it was scraped is not known"
        yield f"{target.domain}: {query.query} is an expression, evaluated every {query.step_s:g} s: {age}"
    elif query.quantity == "energy" and repeats(samples):
        every_s = spacing_s([t for t, _ in samples]) or 0.0
        yield (
            f"{target.domain}: its exporter shows new values every {held_s(samples) or 0.0:.2g} s and is scraped every {every_s:.2g} s: "
            f"a value was taken at some time between the last scrape of the old one and the first of the new one"
        )
    if "GPU_I_ID" in target.labels:
        yield f"{target.domain}: the board is in MIG mode; its energy is that of all its slices, not of yours"


def _averaging_s(query: Query, found: Sequence[Series], period_s: float) -> float:
    """Over which a gauge's reading is a mean (s). One that is cached shows what was measured up to a refresh before."""
    if query.quantity == "energy":
        return 0.0
    is_cached = query.caches or not is_selector(query.query)
    held = _median([held_s(one.samples) for one in found]) or period_s if is_cached else 0.0
    return _rounded((query.averaging_s or 0.0) + (held if query.refresh_s is None else query.refresh_s))


def _shown_every_s(query: Query, samples: Sequence[Sample]) -> float | None:
    """How often something new is known (s)."""
    period_s = spacing_s([t for t, _ in samples])
    if query.quantity == "energy" and (repeats(samples) or not is_selector(query.query)):
        period_s = held_s(samples) or period_s
    return period_s


def _median(values: Sequence[float | None]) -> float | None:
    known = sorted(value for value in values if value is not None)
    return known[len(known) // 2] if known else None


def _rounded(value: float) -> float:
    """Two significant digits: what is measured anew each time must come out the same."""
    return float(f"{value:.2g}")
