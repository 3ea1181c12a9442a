"""From what Prometheus answers to readings of one counter or gauge: which series is which domain, duplicates, brackets, faults. Pure.

A sample's timestamp is when its scrape began, in the server's time. An exporter that looks at its sensor at every scrape took the value
within the scrape's duration. One that caches shows the same value at several scrapes and then another one: that value was taken at some
instant between the last scrape that showed the old one and the first that showed the new one, and says nothing at the scrapes between.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pytest_tpf.meters._prom_client import PromError
from pytest_tpf.meters._prom_config import Query
from pytest_tpf.meters.protocol import History, Reading
from pytest_tpf.meters.wall_clock import Offset
from pytest_tpf.records import record

GAP_PERIODS = 3.0
"""A pause between samples that is longer than this many scrape intervals is a gap."""

_ALIGNED_S = 0.002  # Prometheus moves timestamps by up to this onto a regular grid (scrape.ScrapeTimestampTolerance)
_FUTURE_S = 1.0
_SHOWN_VALUES = 4

_STRING = r'"(?:\\.|[^"\\])*"' + "|" + r"'(?:\\.|[^'\\])*'" + "|`[^`]*`"
_SELECTOR = re.compile(rf"\s*(?P<name>[a-zA-Z_:][\w:]*)?\s*(?:\{{(?P<matchers>(?:[^{{}}\"'`]|{_STRING})*)\}})?\s*")
_TOKEN = re.compile(
    rf"{_STRING}|\[[^\]]*\]|\d[\w.]*|(?P<word>[a-zA-Z_:][\w:]*)?\s*(?P<matchers>\{{(?:[^{{}}\"'`]|{_STRING})*\}})|(?P<name>[a-zA-Z_:][\w:]*)"
)
_CALL = re.compile(r"\(|(by|without)\b", re.IGNORECASE)  # what follows the name of a function or an aggregation
_LABEL_LISTS = {"by", "without", "on", "ignoring", "group_left", "group_right"}
_WORDS = {"and", "or", "unless", "bool", "offset", "atan2", "inf", "nan", "start", "end"}
_PLACE = re.compile(r"\{(\w+)\}")

Sample = tuple[float, float]


@record
class Series:
    """One series: its labels, and (server time in s, value) in the order of time."""

    labels: dict[str, str]
    samples: tuple[Sample, ...]


@record
class Target:
    """The series that are one domain: those of the board ``uuid``, or, where that is None, the one with exactly these ``labels``."""

    domain: str
    uuid: str | None
    labels: dict[str, str]

    def holds(self, series: Series, query: Query) -> bool:
        """Whether ``series`` belongs to this target, under whatever job, pod or slice it is found."""
        if self.uuid is not None:
            return series.labels.get(query.uuid_label or "") == self.uuid
        return series.labels == self.labels


class SeriesError(Exception):
    """The query's series don't tell which domain each is. The text is one line that says how to select."""


# --- asking ---------------------------------------------------------------------------------------------------------------


def is_selector(expression: str) -> bool:
    """Whether a query is a plain selector, so that its series have samples of their own."""
    match = _SELECTOR.fullmatch(expression)
    return match is not None and bool(match["name"] or match["matchers"])


def selectors(expression: str) -> list[str]:
    """The plain selectors inside an expression, in their order."""
    found: list[str] = []
    end_of_labels = 0
    for token in _TOKEN.finditer(expression):
        rest = expression[token.end() :].lstrip()
        name = token["name"]
        if token.start() < end_of_labels:
            continue
        if name is not None and name.lower() in _LABEL_LISTS:
            end_of_labels = expression.find(")", token.end()) if rest.startswith("(") else 0
        elif token["matchers"] is not None or (name is not None and not _CALL.match(rest) and name.lower() not in _WORDS):
            is_operator = (token["word"] or "").lower() in _WORDS
            found.append(token["matchers"] if is_operator else token[0])
    return list(dict.fromkeys(found))


def ranged(query: Query, length_s: float) -> str:
    """The query over the last ``length_s`` seconds: raw samples of a selector, an expression's value every ``step_s``."""
    if not is_selector(query.query):
        return f"({query.query})[{_duration(length_s)}:{_duration(query.step_s)}]"
    return f"{_selector(query.query, query.labels)}[{_duration(length_s)}]"


def _selector(expression: str, labels: Mapping[str, str]) -> str:
    match = _SELECTOR.fullmatch(expression)
    assert match is not None
    matchers = [text] if (text := (match["matchers"] or "").strip().rstrip(",")) else []
    matchers += [f"{name}={_quoted(value)}" for name, value in labels.items()]
    return f"{match['name'] or ''}{{{', '.join(matchers)}}}"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _duration(length_s: float) -> str:
    return f"{max(math.ceil(length_s * 1000), 1)}ms"


def read_matrix(data: Any) -> list[Series]:
    """The series of an answer. Raises PromError for anything that isn't a range of float samples."""
    try:
        if data["resultType"] != "matrix":
            raise PromError(f"the query gives a {data['resultType']!s:.20}, not series of samples")
        return [_series(row) for row in data["result"]]
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError):
        raise PromError("the answer holds something that is no series of float samples") from None


def _series(row: Any) -> Series:
    if "values" not in row:
        raise PromError("the query gives histograms, not numbers")
    by_time = {float(t): float(text) for t, text in row["values"]}
    if not all(map(math.isfinite, by_time)):
        raise ValueError
    return Series(labels={str(k): str(v) for k, v in row["metric"].items()}, samples=tuple(sorted(by_time.items())))


# --- which series is which domain -----------------------------------------------------------------------------------------


def spacing_s(times: Sequence[float]) -> float | None:
    """The median time between neighbours (s); None for fewer than three."""
    gaps = sorted(b - a for a, b in itertools.pairwise(times))
    return gaps[len(gaps) // 2] if len(gaps) >= 2 else None


def targets(query: Query, series: Sequence[Series], now_s: float) -> tuple[list[Target], list[str]]:
    """The domains that a query's series are, and notes on duplicates. ``now_s``: the server's time.

    Raises:
        SeriesError: no series, none that is fresh, a label that the domain's name needs is missing, or several for one domain.
    """
    chosen = [one for one in series if one.samples and all(one.labels.get(k) == v for k, v in query.labels.items())]
    if not chosen:
        where = f" with the labels {_listed(query.labels)}" if query.labels else ""
        raise SeriesError(f"the query {query.query} finds nothing{where}")
    fresh = [one for one in chosen if now_s - one.samples[-1][0] <= _fresh_for_s(one)]
    if not fresh:
        age_s = now_s - max(one.samples[-1][0] for one in chosen)
        raise SeriesError(f"the query {query.query} has had no sample for {age_s:.0f} s: is its exporter scraped?")
    by_domain: dict[str, list[Series]] = {}
    for one in fresh:
        by_domain.setdefault(_domain(query, one), []).append(one)
    found = [_target(query, domain, by_domain[domain]) for domain in sorted(by_domain, key=_in_order)]
    notes = [
        f"{domain}: {len(by_domain[domain])} series show board {t.uuid} ({_differing(by_domain[domain])}): it counts once, the freshest"
        for t in found
        if len(by_domain[domain := t.domain]) > 1
    ]
    return found, notes


def _in_order(domain: str) -> tuple[str, int, str]:
    """gpu:2 before gpu:10."""
    return domain.partition(":")[0], len(domain), domain


def _fresh_for_s(series: Series) -> float:
    period_s = spacing_s([t for t, _ in series.samples]) or 60.0
    return GAP_PERIODS * period_s + 5.0


def _domain(query: Query, series: Series) -> str:
    def label(match: re.Match[str]) -> str:
        if not series.labels.get(match[1]):
            known = ", ".join(sorted(series.labels)) or "none"
            raise SeriesError(
                f"the domain {query.domain} needs the label {match[1]!r}, which a series of {query.query} lacks (it has {known})"
            )
        return series.labels[match[1]]

    return _PLACE.sub(label, query.domain)


def _target(query: Query, domain: str, series: Sequence[Series]) -> Target:
    identities = {_identity(query, one) for one in series}
    if len(identities) > 1:
        raise SeriesError(
            f"{len(identities)} different series of {query.query} are {domain} (they differ in {_differing(series)}): "
            f"select one in a TOML file with labels = {{ ... }}, or tell them apart in domain"
        )
    uuid = series[0].labels.get(query.uuid_label or "")
    return Target(domain=domain, uuid=uuid or None, labels=series[0].labels)


def _identity(query: Query, series: Series) -> str:
    return series.labels.get(query.uuid_label or "") or repr(sorted(series.labels.items()))


def _differing(series: Sequence[Series]) -> str:
    names = sorted({name for one in series for name in one.labels})
    values = {name: sorted({one.labels.get(name, "") for one in series}) for name in names}
    texts = (f"{name}: {', '.join(v or '(none)' for v in found[:_SHOWN_VALUES])}" for name, found in values.items() if len(found) > 1)
    return "; ".join(texts) or "nothing"


def _listed(labels: Mapping[str, str]) -> str:
    return ", ".join(f"{name}={_quoted(value)}" for name, value in labels.items())


def merged(series: Iterable[Series]) -> tuple[Sample, ...]:
    """One series from several of the same board: the freshest, and before it began those that it took over from."""
    ordered = sorted((one for one in series if one.samples), key=lambda one: (one.samples[-1][0], len(one.samples)), reverse=True)
    samples: tuple[Sample, ...] = ()
    for one in ordered:
        samples = (*(sample for sample in one.samples if not samples or sample[0] < samples[0][0]), *samples)
    return samples


# --- readings -------------------------------------------------------------------------------------------------------------


@record
class Moment:
    """How the server's time becomes ours: its ``clock`` (server minus perf_counter), its time now, and how long a scrape takes (s)."""

    clock: Offset
    server_s: float
    scrape_s: float


def repeats(samples: Sequence[Sample]) -> bool:
    """Whether a counter that moves shows a value at more than one scrape: its exporter caches."""
    return len({value for _, value in samples}) > 1 and any(a[1] == b[1] for a, b in itertools.pairwise(samples))


def read_history(samples: Sequence[Sample], query: Query, moment: Moment, t0: float, t1: float, averaging_s: float = 0.0) -> History:
    """The readings of ``samples`` around the window (``t0``, ``t1``), in perf_counter seconds and joules or watts.

    ``averaging_s``: over which a gauge's reading is a mean, its age included.
    """
    faults, usable = _checked(samples, query, moment, t1)
    period_s = spacing_s([t for t, _ in usable])
    readings = _counter(usable, query, moment) if query.quantity == "energy" else _gauge(usable, query, moment)
    readings = [r for r in readings if math.isfinite(r.value)]
    is_counter = query.quantity == "energy"
    shown_every_s = spacing_s([r.t_hi for r in readings]) if is_counter else _gauge_period_s(usable, query)
    # A gauge tells what was before: its reading belongs to the middle of what it averages, up to a refresh ago.
    lag_s = 0.0 if is_counter else averaging_s + (shown_every_s or 0.0)
    faults += _gaps(usable, query, moment, period_s, (t0, t1))
    return History(
        readings=tuple(readings),
        faults=tuple(faults),
        complete=any(r.t_lo >= t1 + lag_s for r in readings),
        period_s=shown_every_s,
    )


def fault(code: str, t: float, text: str) -> tuple[float, str, str]:
    """A fault of a history: what happened, when, and in one line what is known of it."""
    return t, code, text


def _checked(samples: Sequence[Sample], query: Query, moment: Moment, t1: float) -> tuple[list[tuple[float, str, str]], list[Sample]]:
    offset_s, faults = moment.clock.offset_s, []
    future = [t for t, _ in samples if t > moment.server_s + _FUTURE_S]
    if future:
        text = f"{query.query}: samples lie up to {max(future) - moment.server_s:.1f} s in the server's future"
        faults.append(fault("clock_disagrees", t1, text))
    for t, value in samples:
        if not math.isfinite(value) and t not in future:
            faults.append(fault("counter_unreadable", t - offset_s, f"{query.query} gave {value}"))
    return faults, [(t, value) for t, value in samples if t <= moment.server_s + _FUTURE_S and math.isfinite(value)]


def _counter(samples: Sequence[Sample], query: Query, moment: Moment) -> list[Reading]:
    if not (repeats(samples) or query.caches or query.refresh_s or not is_selector(query.query)):
        return [_reading(t, t, value, query, moment) for t, value in samples]
    changes = [(a, b) for a, b in itertools.pairwise(samples) if a[1] != b[1]]
    if not is_selector(query.query) and query.refresh_s:  # of several series one is new when the value changes, others are older
        return [_reading(b[0] - query.refresh_s, b[0], b[1], query, moment) for _, b in changes]
    # A value is no older than the scrape before, which showed another one, and than the exporter's refresh where that is known.
    oldest_s = query.refresh_s or math.inf
    return [_reading(max(a[0], b[0] - oldest_s), b[0], b[1], query, moment) for a, b in changes]


def _gauge(samples: Sequence[Sample], query: Query, moment: Moment) -> list[Reading]:
    return [_reading(t, t, value, query, moment) for t, value in samples]


def _gauge_period_s(samples: Sequence[Sample], query: Query) -> float | None:
    """An expression is evaluated more often than anything new is known: its values change when something was scraped."""
    period_s = spacing_s([t for t, _ in samples])
    return period_s if is_selector(query.query) else held_s(samples) or period_s


def held_s(samples: Sequence[Sample]) -> float | None:
    """How long a value is shown until another one takes its place (s, median); None while that isn't known."""
    return spacing_s([b[0] for a, b in itertools.pairwise(samples) if a[1] != b[1]])


def _reading(lo_s: float, hi_s: float, value: float, query: Query, moment: Moment) -> Reading:
    """A value taken between the scrapes that began at ``lo_s`` and ``hi_s``, widened by what isn't known of either."""
    about_s, clock = _ALIGNED_S + moment.clock.half_width_s, moment.clock
    return Reading(t_lo=lo_s - clock.offset_s - about_s, t_hi=hi_s - clock.offset_s + moment.scrape_s + about_s, value=value * query.scale)


def _gaps(
    samples: Sequence[Sample], query: Query, moment: Moment, period_s: float | None, window: tuple[float, float]
) -> list[tuple[float, str, str]]:
    """A fault for every gap that touches the window: a counter may have begun anew in it, and a gauge isn't known there."""
    faults = []
    for (a, _), (b, _) in itertools.pairwise(samples):
        start, end = a - moment.clock.offset_s, b - moment.clock.offset_s
        if period_s is not None and b - a > GAP_PERIODS * period_s and start < window[1] and end > window[0]:
            inside = 0.5 * (max(start, window[0]) + min(end, window[1]))
            faults.append(fault("sampling_gap", inside, f"{query.query}: no sample for {b - a:.1f} s, usually every {period_s:.2g} s"))
    return faults
