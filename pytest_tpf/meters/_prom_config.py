"""What the user says about Prometheus: a server's URL alone, or a TOML file with the queries to read.

url = "https://prometheus.example:9090"
timeout_s = 5
headers = { Authorization = "Bearer $PROM_TOKEN" }     # $NAME is taken from the environment

[[channel]]
domain = "gpu:{gpu}"                  # {label} is the series' label
query = "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"
unit = "mJ"
uuid_label = "UUID"
labels = { Hostname = "node7" }
"""

from __future__ import annotations

import difflib
import math
import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pytest_tpf.records import record

TIMEOUT_S = 5.0

Quantity = Literal["energy", "power"]

UNITS: Mapping[str, tuple[Quantity, float]] = {
    "uJ": ("energy", 1e-6),
    "mJ": ("energy", 1e-3),
    "J": ("energy", 1.0),
    "kJ": ("energy", 1e3),
    "Wh": ("energy", 3600.0),
    "kWh": ("energy", 3.6e6),
    "mW": ("power", 1e-3),
    "W": ("power", 1.0),
    "kW": ("power", 1e3),
}
"""What a unit measures, and how many joules or watts it is."""

_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_DOMAIN = re.compile(r"[\w.:{}/-]+")
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_LABEL = re.compile(r"[a-zA-Z_]\w*")


class PrometheusConfigError(Exception):
    """The URL or the file can't be used; the text names every problem in one line and never holds a secret."""


@record
class Query:
    """One ``[[channel]]``: a PromQL query and what its series are.

    ``domain`` may hold ``{label}``. ``labels``: only series with these. ``uuid_label``: the label that names the board, whatever else
    differs. ``gain``: relative standard uncertainty of the sensor's scale. ``refresh_s``: how often the exporter looks at the sensor, 0 =
    at every scrape; None = not known, which for one that ``caches`` means at least once a scrape. ``averaging_s``: over which a power is
    a mean. ``step_s``: how often an expression is evaluated, as only plain selectors have samples of their own.
    """

    domain: str
    query: str
    unit: str
    labels: Mapping[str, str] = field(default_factory=dict)
    uuid_label: str | None = None
    gain: float | None = None
    resolution_j: float | None = None
    refresh_s: float | None = None
    averaging_s: float | None = None
    step_s: float = 1.0
    caches: bool = False

    @property
    def quantity(self) -> Quantity:
        """Whether the query gives a cumulative energy or a power."""
        return UNITS[self.unit][0]

    @property
    def scale(self) -> float:
        """Joules or watts in a unit of the query."""
        return UNITS[self.unit][1]


@record
class PrometheusConfig:
    """A server and what to ask it; without ``queries`` known exporters are looked for."""

    url: str
    timeout_s: float = TIMEOUT_S
    headers: Mapping[str, str] = field(default_factory=dict)
    queries: tuple[Query, ...] = ()


def load_prometheus(url_or_file: str, environ: Mapping[str, str] = os.environ) -> PrometheusConfig:
    """The configuration that ``--tpf-prometheus`` names.

    Raises:
        PrometheusConfigError: no such file, not TOML, or it says something impossible; all problems are in the one message.
    """
    if "://" in url_or_file:
        problem = _url(url_or_file)
        if problem:
            raise PrometheusConfigError(f"the URL {problem}")
        return PrometheusConfig(url=url_or_file)
    try:
        data = tomllib.loads(Path(url_or_file).read_text(encoding="utf-8"))
    except OSError as error:
        why = f"{url_or_file}: {error.strerror or error}"
        raise PrometheusConfigError(f"{why} (give a TOML file, or a URL that begins with http:// or https://)") from None
    except (ValueError, RecursionError) as error:  # no TOML, no UTF-8, an integer of thousands of digits
        raise PrometheusConfigError(f"{url_or_file}: not valid TOML: {error}") from None
    try:
        return read_prometheus(data, environ)
    except PrometheusConfigError as error:
        raise PrometheusConfigError(f"{url_or_file}: {error}") from None


def read_prometheus(data: Mapping[str, Any], environ: Mapping[str, str]) -> PrometheusConfig:
    """The configuration that the mapping ``data`` declares. Raises PrometheusConfigError with all problems."""
    expanded, problems = _expanded(data, environ)
    problems += _problems(expanded, _SERVER, needed=("url",))
    channels = expanded.get("channel", [])
    tables = [table for table in channels if isinstance(table, dict)] if isinstance(channels, list) else []
    for number, table in enumerate(tables, 1):
        problems += [f"channel {number}: {problem}" for problem in (*_problems(table, _CHANNEL, _NEEDED), *_contradictions(table))]
    if problems:
        raise PrometheusConfigError("; ".join(problems))
    return PrometheusConfig(
        url=expanded["url"],
        timeout_s=float(expanded.get("timeout_s", TIMEOUT_S)),
        headers=dict(expanded.get("headers", {})),
        queries=tuple(_query(table) for table in tables),
    )


def _query(table: Mapping[str, Any]) -> Query:
    fields: dict[str, Any] = {key: float(value) if key in _NUMBERS else value for key, value in table.items() if key != "quantity"}
    # NVIDIA's exporter shows what it last collected (every 30 s unless told otherwise), not what the board says at the scrape.
    return Query(caches="refresh_s" not in table and "DCGM_" in table["query"], **fields)


def _expanded(data: Mapping[str, Any], environ: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """``data`` with ``$NAME`` in the URL and the headers replaced, and what is missing for that."""
    problems: list[str] = []

    def expand(where: str, value: Any) -> Any:
        def variable(match: re.Match[str]) -> str:
            name = match[1] or match[2]
            if name not in environ:
                problems.append(f"{where} names the environment variable ${name}, which is not set")
            return environ.get(name, "")

        return _VARIABLE.sub(variable, value) if isinstance(value, str) else value

    expanded = dict(data)
    if "url" in data:
        expanded["url"] = expand("url", data["url"])
    if isinstance(data.get("headers"), dict):
        expanded["headers"] = {name: expand(f"headers.{name}", value) for name, value in data["headers"].items()}
    return expanded, problems


# --- checks: each returns what is wrong, or None; secrets (url, headers) are never shown --------------------------------


def _problems(data: Mapping[str, Any], checks: Mapping[str, Callable[[Any], str | None]], needed: tuple[str, ...]) -> Iterator[str]:
    yield from (_unknown(key, checks) for key in data if key not in checks)
    yield from (f"{key} is missing" for key in needed if key not in data)
    yield from (f"{key} {problem}" for key, check in checks.items() if key in data and (problem := check(data[key])))


def _unknown(key: str, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(key, known, n=1)
    return f"unknown key {key!r}" + (f", did you mean {near[0]!r}?" if near else f"; known keys are {', '.join(known)}")


def _contradictions(table: Mapping[str, Any]) -> Iterator[str]:
    quantity, unit = table.get("quantity"), table.get("unit")
    if isinstance(unit, str) and unit in UNITS and quantity in ("energy", "power") and UNITS[unit][0] != quantity:
        yield f"unit {unit} is one of {UNITS[unit][0]}, but quantity is {quantity!r}"


def _url(value: object) -> str | None:
    if not isinstance(value, str):
        return "is not a text"
    try:
        parts = urlsplit(value)
        parts.port  # noqa: B018  raises where the port is no number
    except ValueError:
        return "can't be read: expected http://host:port or https://host:port"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return "must begin with http:// or https:// and name a host"
    if any(character.isspace() or not character.isprintable() for character in value):
        return "holds a blank"
    return None


def _headers(value: object) -> str | None:
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        return 'must be a table of texts, such as { Authorization = "Bearer $TOKEN" }'
    wrong = [name for name, text in value.items() if not _HEADER.fullmatch(name) or not text.isascii() or not text.isprintable()]
    return f"{wrong[0]!r} can't be sent: printable ASCII only" if wrong else None


def _number(low: float, *, low_is_in: bool) -> Callable[[Any], str | None]:
    def check(value: Any) -> str | None:
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            return f"is {value!r:.40}, not a number"
        inside = (value >= low if low_is_in else value > low) and value < 1e6 and not math.isnan(value)
        return None if inside else f"is {value!r:.40}, must be {'at least' if low_is_in else 'above'} {low:g} and less than a million"

    return check


def _text(value: object) -> str | None:
    return None if isinstance(value, str) and value.strip() else f"is {value!r:.40}, not a text"


def _domain(value: Any) -> str | None:
    return _text(value) or (
        None if _DOMAIN.fullmatch(value) else f"is {value!r:.40}: expected a name such as gpu:0, cpu:0, node or gpu:{{gpu}}"
    )


def _label(value: Any) -> str | None:
    return _text(value) or (None if _LABEL.fullmatch(value) else f"is {value!r:.40}, not the name of a label")


def _labels(value: object) -> str | None:
    is_table = isinstance(value, dict) and all(_LABEL.fullmatch(k) and isinstance(v, str) for k, v in value.items())
    return None if is_table else 'must be a table of labels and texts, such as { Hostname = "node7" }'


def _one_of(allowed: tuple[str, ...]) -> Callable[[Any], str | None]:
    return lambda value: None if isinstance(value, str) and value in allowed else f"is {value!r:.40}, must be one of {', '.join(allowed)}"


def _tables(value: object) -> str | None:
    is_list = isinstance(value, list) and all(isinstance(table, dict) for table in value)
    return None if is_list else "must be written as [[channel]] tables"


_positive, _not_negative = _number(0, low_is_in=False), _number(0, low_is_in=True)
_NEEDED = ("domain", "query", "unit")
_NUMBERS = ("gain", "resolution_j", "refresh_s", "averaging_s", "step_s")
_SERVER: Mapping[str, Callable[[Any], str | None]] = {
    "url": _url,
    "timeout_s": _positive,
    "headers": _headers,
    "channel": _tables,
}
_CHANNEL: Mapping[str, Callable[[Any], str | None]] = {
    "domain": _domain,
    "query": _text,
    "quantity": _one_of(("energy", "power")),
    "unit": _one_of(tuple(UNITS)),
    "labels": _labels,
    "uuid_label": _label,
    "gain": _not_negative,
    "resolution_j": _not_negative,
    "refresh_s": _not_negative,
    "averaging_s": _not_negative,
    "step_s": _positive,
}
