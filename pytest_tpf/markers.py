"""``@pytest.mark.tpf(...)``: from keywords to a frozen ``Marker``, or every mistake in words that help.

One table of keywords drives the parser, ``pytest --markers`` and the reference page.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from pytest_tpf.records import Boundary
from pytest_tpf.usage import is_whole

CONSTRAINTS = ("compute", "memory_bandwidth", "power", "cooling", "operations", "undetermined")
BOUNDARIES = ("device", "it", "facility")


class Keyword(NamedTuple):
    """A marker keyword: its check (a sentence where the value is wrong, else None) and its meaning."""

    name: str
    check: Callable[[Any], str | None]
    meaning: str


class Limit(NamedTuple):
    """A budget: the figure it limits, in which direction, and whether the figure is an energy (taken at a boundary)."""

    keyword: str
    metric: str
    comparison: Literal["<=", ">="]
    is_energy: bool
    unit: str


def _a_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _positive(value: Any) -> str | None:
    return None if _a_number(value) and 0 < value < math.inf else f"needs a number above 0, not {value!r}"


def _fraction(value: Any) -> str | None:
    return None if _a_number(value) and 0 <= value <= 1 else f"needs a number from 0 to 1, not {value!r}"


def _open_fraction(value: Any) -> str | None:
    return None if _a_number(value) and 0 < value <= 1 else f"needs a number above 0 and up to 1, not {value!r}"


def _whole_from(least: int) -> Callable[[Any], str | None]:
    def check(value: Any) -> str | None:
        return None if is_whole(value, least) else f"needs a whole number of at least {least}, not {value!r}"

    return check


def _one_of(names: tuple[str, ...]) -> Callable[[Any], str | None]:
    def check(value: Any) -> str | None:
        return None if value in names else f"needs one of {', '.join(names)}, not {value!r}{_nearest(value, names)}"

    return check


def _constraints(value: Any) -> str | None:
    given = (value,) if isinstance(value, str) else value
    if not isinstance(given, tuple) or not given:
        return f"needs a constraint's name or a tuple of names, not {value!r}"
    wrong = [name for name in given if name not in CONSTRAINTS]
    return f"needs names out of {', '.join(CONSTRAINTS)}, not {wrong[0]!r}{_nearest(wrong[0], CONSTRAINTS)}" if wrong else None


def _text(value: Any) -> str | None:
    return None if isinstance(value, str) and value else f"needs a text, not {value!r}"


def _labels(value: Any) -> str | None:
    good = isinstance(value, dict) and all(isinstance(k, str) and isinstance(v, str) for k, v in value.items())
    return None if good else f"needs a dict of texts, not {value!r}"


def _thresholds(value: Any) -> str | None:
    from pytest_tpf.judge.thresholds import EXAMPLE, parse_thresholds

    if not isinstance(value, str):
        return f'needs a text such as "{EXAMPLE}", not {value!r}'
    try:
        parse_thresholds(value)
    except ValueError as error:
        return f"is not usable: {error}"
    return None


KEYWORDS: tuple[Keyword, ...] = (
    Keyword("max_joules_per_token", _positive, "energy budget (J per output token) at `boundary`"),
    Keyword("max_joules_per_accepted_token", _positive, "energy budget (J per output token of requests that met every target)"),
    Keyword("max_joules_per_request", _positive, "energy budget (J per request)"),
    Keyword("max_joules", _positive, "energy budget (J) for the counted window, per call"),
    Keyword("max_output_tokens", _positive, "token budget: mean output tokens per request"),
    Keyword("max_prompt_tokens", _positive, "token budget: mean prompt tokens per request"),
    Keyword("min_tokens_per_second", _positive, "service target: output tokens per second"),
    Keyword("max_ttft_s", _positive, "service target: 95th percentile of the time to first token (s)"),
    Keyword("max_tpot_s", _positive, "service target: 95th percentile of the time per output token after the first (s)"),
    Keyword("max_e2e_s", _positive, "service target: 95th percentile of the end-to-end time (s)"),
    Keyword("min_quality", _fraction, "quality target, 0..1"),
    Keyword("max_power_w", _positive, "mean IT power (W)"),
    Keyword("max_facility_power_w", _positive, "mean IT power times PUE (W)"),
    Keyword("binding", _constraints, "the constraint expected to bind: a name or a tuple of names"),
    Keyword("boundary", _one_of(BOUNDARIES), '"device", "it" (default) or "facility": where energy budgets are taken'),
    Keyword("max_regression", _thresholds, 'changes that are regressions of this test, e.g. "joules_per_token:3%", or "off"'),
    Keyword("rounds", _whole_from(1), "exactly this many rounds; on a marker-only test the body is repeated"),
    Keyword("warmup", _whole_from(0), "calls before the first round"),
    Keyword("max_time_s", _positive, "longest time to spend on rounds (s)"),
    Keyword("target_ci", _open_fraction, "stop when the 95 % interval of J/token is this narrow, relative"),
    Keyword("group", _text, "group in tables and reports"),
    Keyword("labels", _labels, "labels carried into the report (dict of texts)"),
    Keyword("model", _text, "the model's name, where no engine tells it"),
)

LIMITS: tuple[Limit, ...] = (
    Limit("max_joules_per_token", "joules_per_token", "<=", True, "J/token"),
    Limit("max_joules_per_accepted_token", "joules_per_accepted_token", "<=", True, "J/accepted token"),
    Limit("max_joules_per_request", "joules_per_request", "<=", True, "J/request"),
    Limit("max_joules", "joules", "<=", True, "J"),
    Limit("max_output_tokens", "output_tokens_per_request", "<=", False, "tokens/request"),
    Limit("max_prompt_tokens", "prompt_tokens_per_request", "<=", False, "tokens/request"),
    Limit("min_tokens_per_second", "tokens_per_second", ">=", False, "tokens/s"),
    Limit("max_ttft_s", "ttft_p95_s", "<=", False, "s"),
    Limit("max_tpot_s", "tpot_p95_s", "<=", False, "s"),
    Limit("max_e2e_s", "e2e_p95_s", "<=", False, "s"),
    Limit("min_quality", "quality", ">=", False, ""),
    Limit("max_power_w", "power_w", "<=", False, "W"),
    Limit("max_facility_power_w", "facility_power_w", "<=", False, "W"),
)


@dataclass(frozen=True)
class Marker:
    """What one test asked for. ``limits`` maps a keyword of LIMITS to its value; None means the run's setting holds."""

    limits: dict[str, float] = field(default_factory=dict)
    binding: tuple[str, ...] = ()
    boundary: Boundary = "it"
    rounds: int | None = None
    warmup: int | None = None
    max_time_s: float | None = None
    target_ci: float | None = None
    max_regression: str | None = None
    group: str | None = None
    labels: dict[str, str] = field(default_factory=dict)
    model: str | None = None


class MarkerError(ValueError):
    """Every mistake in one marker, one line each."""


def parse_marker(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Marker:
    """The marker's meaning. Raises MarkerError naming each mistake and, for an unknown keyword, the nearest valid one."""
    mistakes = _mistakes(args, kwargs)
    if mistakes:
        raise MarkerError("\n".join(mistakes))
    limits = {limit.keyword: float(kwargs[limit.keyword]) for limit in LIMITS if limit.keyword in kwargs}
    rest = {key: value for key, value in kwargs.items() if key not in limits}
    if "binding" in rest:
        rest["binding"] = (rest["binding"],) if isinstance(rest["binding"], str) else rest["binding"]
    return Marker(limits=limits, **rest)


def _mistakes(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[str]:
    checks = {keyword.name: keyword.check for keyword in KEYWORDS}
    mistakes = ["takes keywords only, e.g. tpf(max_joules_per_token=0.5)"] if args else []
    for name, value in kwargs.items():
        if name not in checks:
            mistakes.append(f"unknown keyword {name!r}{_nearest(name, tuple(checks))}")
        elif complaint := checks[name](value):
            mistakes.append(f"{name} {complaint}")
    return mistakes or _contradictions(kwargs)


def _contradictions(kwargs: Mapping[str, Any]) -> list[str]:
    found = []
    if "rounds" in kwargs and "target_ci" in kwargs:
        found.append("rounds fixes the number of rounds and target_ci adapts it: keep one of them")
    whole_s = kwargs.get("max_e2e_s", math.inf)
    found += [
        f"{part}={kwargs[part]:g} is longer than the whole request may take (max_e2e_s={whole_s:g})"
        for part in ("max_ttft_s", "max_tpot_s")
        if kwargs.get(part, 0) > whole_s
    ]
    accepted, every = kwargs.get("max_joules_per_accepted_token"), kwargs.get("max_joules_per_token")
    if accepted is not None and every is not None and accepted < every:
        found.append("max_joules_per_accepted_token is below max_joules_per_token, but an accepted token never costs less than a token")
    return found


def _nearest(name: Any, names: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.4)
    return f" (did you mean {near[0]!r}?)" if near else ""
