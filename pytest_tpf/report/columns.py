"""The columns of the terminal table, its orders and its groups: tables that say what can be asked for; pure."""

from __future__ import annotations

import difflib
import heapq
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal

from pytest_tpf.records import Distribution, Goodput, TestRecord, record
from pytest_tpf.report.errors import ReportError
from pytest_tpf.report.regressions import amount, badness, headline_change, is_energy, severity, standing
from pytest_tpf.report.text import UNKNOWN, energy, number, percent, plain, shortened, si


@record
class Column:
    """A column: its cell, the value it is sorted by, and which end of that is the worse one."""

    key: str
    heading: str
    help: str
    cell: Callable[[TestRecord], str]
    value: Callable[[TestRecord], Any]
    worst: Literal["high", "low"] = "high"


_VERDICT_RANK = {"fail": 0, "not_measured": 1, "inconclusive": 2, "pass": 3}
_VERDICT_TEXT = {"fail": "FAIL", "not_measured": "not meas.", "inconclusive": "inconcl.", "pass": "pass"}
_BINDING_TEXT = {"memory_bandwidth": "memory", "undetermined": "unclear"}


def _joules_per_token(test: TestRecord) -> str:
    figure = test.mandated.joules_per_token
    return energy(figure.value, figure.trust, "J", figure.ci95)


def _energy(heading: str, key: str, help: str, unit: str, value: Callable[[TestRecord], float | None]) -> Column:
    return Column(key=key, heading=heading, help=help, cell=lambda test: energy(value(test), test.energy.trust, unit), value=value)


def _figure(
    heading: str,
    key: str,
    help: str,
    text: Callable[[float | None], str],
    value: Callable[[TestRecord], float | None],
    worst: Literal["high", "low"] = "high",
) -> Column:
    return Column(key=key, heading=heading, help=help, cell=lambda test: text(value(test)), value=value, worst=worst)


def _words(heading: str, key: str, help: str, value: Callable[[TestRecord], str | None]) -> Column:
    return Column(
        key=key, heading=heading, help=help, cell=lambda test: shortened(plain(value(test) or UNKNOWN), 24), value=value, worst="low"
    )


def _seconds(value: float | None) -> str:
    return si(value, "s")


def _expected_to_fail(test: TestRecord) -> bool:
    return test.outcome == "xfailed" and test.verdict == "fail"


def _rank(test: TestRecord) -> int:
    """Worst first; a failure that the test expects is none."""
    return _VERDICT_RANK["pass" if _expected_to_fail(test) else test.verdict]


def _regression_rank(test: TestRecord) -> int:
    return _VERDICT_RANK[test.regression.verdict if test.regression else "pass"]


def _change(test: TestRecord) -> str:
    """The change that stands for the test: ``+12% !`` regressed, ``+4.0% ?`` inconclusive, ``-3.0%`` no worse; ``?`` not compared."""
    if test.regression is None:
        return UNKNOWN
    mark = {"regressed": " !", "inconclusive": " ?"}.get(standing(test), "")
    change = headline_change(test.regression)
    if change is None or change.change is None:
        return mark.strip() or "?"
    estimated = " est." if test.energy.trust == "estimated" and is_energy(change.metric) else ""
    return f"{amount(change, change.change, short=True)}{mark}{estimated}"


def _change_value(test: TestRecord) -> float | None:
    change = headline_change(test.regression) if test.regression else None
    return None if change is None or change.change is None else badness(change)


def _p95(distribution: Distribution | None) -> float | None:
    return distribution.p95 if distribution else None


def _goodput(found: Goodput | None) -> str:
    return f"{si(found.requests_per_second)} ({percent(found.good / found.attempted)})" if found and found.attempted else UNKNOWN


_COLUMNS = (
    _words("test", "name", "the test", lambda test: test.nodeid),
    Column(
        key="joules_per_token",
        heading="J/token",
        help="energy per output token at the test's boundary, with its 95 % interval",
        cell=_joules_per_token,
        value=lambda test: test.joules_per_token,
    ),
    _figure("tok/s", "tokens_per_second", "output tokens per second", si, lambda test: test.tokens_per_second, "low"),
    Column(
        key="binding",
        heading="binding",
        help="the binding constraint",
        cell=lambda test: _BINDING_TEXT.get(test.binding, test.binding),
        value=lambda test: test.binding,
        worst="low",
    ),
    _figure("qual.", "quality", "the test's score", number, lambda test: test.mandated.accuracy.value, "low"),
    _words("trust", "trust", "measured, replayed or estimated", lambda test: test.energy.trust),
    Column(
        key="verdict",
        heading="verdict",
        help="the worst verdict among the budgets",
        cell=lambda test: "xfail" if _expected_to_fail(test) else _VERDICT_TEXT[test.verdict],
        value=_rank,
        worst="low",
    ),
    Column(
        key="change",
        heading="change",
        help="the worst change against the reference: ! regressed, ? inconclusive; sorted in multiples of its threshold",
        cell=_change,
        value=_change_value,
    ),
    _energy("J", "joules", "energy of the counted window at the IT boundary", "J", lambda test: test.energy.it_j),
    _energy("J (net)", "net_joules", "the same without idle power", "J", lambda test: test.energy.net_j),
    _energy("J/request", "joules_per_request", "energy per request", "J", lambda test: test.derived.joules_per_request),
    _energy("J/accepted", "joules_per_accepted_token", "all energy per accepted token", "J", lambda t: t.derived.joules_per_accepted_token),
    _energy("J/all tok", "joules_per_total_token", "energy per prompt and output token", "J", lambda t: t.derived.joules_per_total_token),
    _energy("power", "power_w", "mean IT power", "W", lambda test: test.power.mean_w),
    _energy("x PUE", "facility_power_w", "mean IT power times PUE", "W", lambda test: test.mandated.pue_adjusted_power_w.value),
    _figure("headroom", "headroom", "1 - mean power / limit", percent, lambda test: test.power.headroom, "low"),
    _figure("attained", "attainment", "achieved rate / lowest ceiling", number, lambda t: t.mandated.binding_constraint.attainment, "low"),
    _figure("margin", "margin", "second-lowest ceiling / lowest", number, lambda test: test.mandated.binding_constraint.margin, "low"),
    _figure(
        "busy tok/s x U",
        "utilization_adjusted_tokens_per_second",
        "output tokens per second while busy, times utilization",
        si,
        lambda test: test.mandated.utilization_adjusted_tokens_per_second.value,
        "low",
    ),
    _figure(
        "util.",
        "utilization",
        "fraction of the time in which the system works",
        percent,
        lambda test: test.mandated.utilization_adjusted_tokens_per_second.utilization,
        "low",
    ),
    _figure("TTFT p95", "ttft_s", "time to the first token, 95th percentile", _seconds, lambda test: _p95(test.service.ttft_s)),
    _figure("TPOT p95", "tpot_s", "time per further token, 95th percentile", _seconds, lambda test: _p95(test.service.tpot_s)),
    _figure("E2E p95", "e2e_s", "time from request to end, 95th percentile", _seconds, lambda test: _p95(test.service.e2e_s)),
    Column(
        key="goodput",
        heading="goodput",
        help="requests per second that met every limit, and their share of those attempted",
        cell=lambda test: _goodput(test.service.goodput),
        value=lambda test: test.service.goodput.requests_per_second if test.service.goodput else None,
        worst="low",
    ),
    _figure("duration", "duration_s", "length of the counted window", _seconds, lambda test: test.service.duration_s),
    _figure("tokens", "output_tokens", "output tokens", si, lambda test: test.workload.output_tokens),
    _figure("requests", "requests", "requests", si, lambda test: test.workload.requests),
    _figure("rounds", "rounds", "measured rounds", number, lambda test: test.workload.rounds),
    _energy("g CO2e", "carbon_g", "carbon of the facility energy", "g", lambda test: test.derived.carbon_g),
    _words("boundary", "boundary", "where J/token is taken", lambda test: test.mandated.joules_per_token.boundary),
    _words("model", "model", "the model", lambda test: test.workload.model.name),
    _words("engine", "engine", "the engine", lambda test: test.workload.engine),
    _words("group", "group", "the marker's group", lambda test: test.group),
    _words("outcome", "outcome", "what became of the test", lambda test: test.outcome),
)
COLUMNS = {column.key: column for column in _COLUMNS}
DEFAULT_COLUMNS = ("name", "joules_per_token", "tokens_per_second", "binding", "quality", "trust", "verdict")
COMPARED_COLUMNS = ("name", "joules_per_token", "tokens_per_second", "binding", "quality", "change", "verdict")
"""The default where tests were compared: trust makes room for the change, for what is no measurement says so beside its energy."""
WORST_FIRST = "worst"


def chosen_columns(keys: Sequence[str] = (), *, compared: bool = False) -> tuple[Column, ...]:
    """The columns with these keys, in this order; the default ones where none are named.

    Raises:
        ReportError: a key that no column has, with the nearest one.
    """
    return tuple(COLUMNS[_known(key, COLUMNS, "column")] for key in (keys or (COMPARED_COLUMNS if compared else DEFAULT_COLUMNS)))


def sorted_tests(tests: Iterable[TestRecord], sort: str | None = None, most: int = 0) -> list[TestRecord]:
    """Worst first; by ``sort``, a column's key, its worse end comes first, with ``-`` before the key last. Unknown values close.

    At most the first ``most`` in that order, where it isn't 0; then no more than these are held.

    Raises:
        ReportError: a key that no column has, with the nearest one.
    """
    order = _order(sort)
    return heapq.nsmallest(most, tests, key=order) if most else sorted(tests, key=order)


def _order(sort: str | None) -> Callable[[TestRecord], Any]:
    """What tests are sorted by, the least first."""
    if sort in (None, WORST_FIRST):
        by_energy = _order("joules_per_token")
        return lambda test: (min(_rank(test), _regression_rank(test)), severity(test), by_energy(test))
    column = COLUMNS[_known(sort.removeprefix("-"), [*COLUMNS, WORST_FIRST], "column to sort by")]
    step = -1 if (column.worst == "high") != sort.startswith("-") else 1

    def order(test: TestRecord) -> tuple[bool, Any]:
        value = column.value(test)
        return value is None, _backwards(value) if step < 0 and isinstance(value, str) else value and step * value

    return order


def _backwards(text: str) -> tuple[int, ...]:
    """What sorts the other way round than ``text``; the end counts as more than any character."""
    return (*(-ord(char) for char in text), 1)


_GROUPS: dict[str, Callable[[TestRecord], str | None]] = {
    "group": lambda test: test.group,
    "file": lambda test: test.nodeid.partition("::")[0],
    "model": lambda test: test.workload.model.name,
}
_NAMED_GROUPS: dict[str, Callable[[TestRecord, str], str | None]] = {
    "param": lambda test, name: test.params.get(name),
    "label": lambda test, name: test.labels.get(name),
}


def grouped_tests(tests: Iterable[TestRecord], group_by: str | None) -> dict[str, list[TestRecord]]:
    """Tests by the text of their group, in the order in which groups appear; one group "" without ``group_by``.

    Raises:
        ReportError: ``group_by`` is none of group, file, model, param:NAME, label:NAME.
    """
    if not group_by:
        return {"": list(tests)}
    kind, colon, name = group_by.partition(":")
    if not colon:
        key = _GROUPS[_known(kind, [*_GROUPS, "param:NAME", "label:NAME"], "group")]
    elif kind in _NAMED_GROUPS and name:
        key = lambda test: _NAMED_GROUPS[kind](test, name)  # noqa: E731 - a partial would hide the argument's name
    else:
        raise ReportError(f"unknown group {plain(group_by)!r}: known are {', '.join([*_GROUPS, 'param:NAME', 'label:NAME'])}")
    groups: dict[str, list[TestRecord]] = {}
    for test in tests:
        groups.setdefault(f"{group_by}: {key(test) or '(none)'}", []).append(test)
    return groups


def check_table_options(columns: Sequence[str] = (), sort: str | None = None, group_by: str | None = None) -> None:
    """Whether a table can be made of these, before anything is measured for it.

    Raises:
        ReportError: an unknown column, sort key or group.
    """
    chosen_columns(columns)
    _order(sort)
    grouped_tests((), group_by)


def _known(key: str, known: Iterable[str], what: str) -> str:
    names = list(known)
    if key in names and "NAME" not in key:
        return key
    near = difflib.get_close_matches(key, names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ReportError(f"unknown {what} {plain(key)[:60]!r}: {hint}known are {', '.join(names)}")
