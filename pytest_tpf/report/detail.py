"""Everything known of one test, in blocks a person can read. Text from records; pure."""

from __future__ import annotations

import dataclasses
import json
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from pytest_tpf.records import BudgetResult, Ceiling, Conditions, DeviceState, Distribution, Fit, Goodput, Load, TestRecord
from pytest_tpf.report.regressions import full_lines
from pytest_tpf.report.text import UNKNOWN, energy, number, percent, plain, shortened, si

_LABEL = 40
# the unit is in a figure's name: the first that fits
_UNITS = (
    ("joules_per_", "J"),
    ("tokens_per_second", "tok/s"),
    ("requests_per_second", "req/s"),
    ("flops_per_token", "FLOP"),
    ("bytes_per_token", "B"),
)
_SUFFIXES = {"_j": "J", "_w": "W", "_s": "s", "_g": "g", "_l": "L"}
_FROM_ENERGY = {"carbon_g", "water_l", "cost", "intelligence_per_watt", "intelligence_per_joule", "headroom"}
_DECLARED = {"limit_w"}  # what a driver says is no estimate
_SECTIONS = ("mandated", "workload", "service", "energy", "power", "production", "derived")


def render_test(test: TestRecord, width: int = 80) -> list[str]:
    """Every figure of ``test``, its ceilings, budgets and rounds, as lines of at most ``width`` columns without line ends."""
    lines = [plain(test.nodeid), f"outcome {test.outcome}, verdict {test.verdict}"]
    lines += [_line("", "group", test.group)] if test.group else []
    lines += [_line("", f"label {name}", value) for name, value in test.labels.items()]
    lines += [_line("", f"param {name}", value) for name, value in test.params.items()]
    for name in _SECTIONS:
        lines += ["", name, *_record(getattr(test, name), test.energy.trust, "  ")]
    if test.fit is not None:
        lines += _block("fit", list(_fit(test.fit, test.energy.trust)))
    lines += _block("conditions", list(_conditions(test.conditions)))
    lines += _block("budgets", [_budget(budget, test.energy.trust) for budget in test.budgets])
    lines += _block("regression", full_lines(test))
    lines += _block("rounds", _rounds(test))
    lines += _block("warnings", list(test.warnings))
    lines += _block("extra", [f"{name}: {json.dumps(value)[:1000]}" for name, value in test.extra.items()])
    return [row for line in lines for row in _wrapped(plain(line), width)]


def _fit(found: Fit, trust: str | None) -> Iterator[str]:
    """Joules per token, F by prompt length, how well the model fits, and the points as they were measured."""

    def joules(value: float | None) -> str:
        return energy(value, trust, "J")

    yield _line("", "boundary", found.boundary)
    if found.reason is not None:
        yield _line("", "no fit", found.reason)
    ci95 = found.joules_per_output_token_ci95
    interval = f" [{si(ci95[0], 'J')}, {si(ci95[1], 'J')}]" if ci95 else ""
    yield _line("", "joules_per_output_token", joules(found.joules_per_output_token) + interval)
    yield _line("", "joules_per_prompt_token", joules(found.joules_per_prompt_token))
    for each in found.prompts:
        yield _line("", f"F({each.prompt_tokens:.4g})", joules(each.joules))
    yield _line("", "r2", UNKNOWN if found.r2 is None else f"{found.r2:.5f}")
    yield _line("", "worst_relative_error", percent(found.worst_relative_error))
    for point in found.points:
        measured = "energy unknown" if point.joules is None else joules(point.joules)
        fitted = "" if point.fitted_j is None else f", fitted {si(point.fitted_j, 'J')}"
        name = f"{point.prompt_tokens:.4g} prompt, {point.output_tokens:.4g} output tokens"
        yield _line("", name, f"{measured}{fitted}, n={point.requests}")


def _conditions(found: Conditions) -> Iterator[str]:
    """What makes the figures comparable, or not."""
    yield _line("", "flags", ", ".join(found.flags) or "none")
    yield _line("", "dropped_rounds", str(found.dropped_rounds))
    drifts = (found.joules_per_token_drift, found.joules_per_token_drift_ci95), (found.duration_drift, found.duration_drift_ci95)
    for name, (change, ci95) in zip(("joules_per_token_drift", "duration_drift"), drifts, strict=True):
        yield _line("", name, f"{percent(change)} [{percent(ci95[0])}, {percent(ci95[1])}]" if ci95 else percent(change))
    for device in found.devices:
        yield from _device(device)
    for each in found.foreign_processes:
        used = f", {percent(each.sm_utilization)} of its time" if each.sm_utilization is not None else ""
        yield f"foreign process {each.name or UNKNOWN} (pid {each.pid}) on {each.device}: {si(each.used_memory_bytes, 'B')}{used}"


def _device(state: DeviceState) -> Iterator[str]:
    clocks = f"{number(state.sm_clock_start_mhz)} to {number(state.sm_clock_end_mhz)} MHz, mean {number(state.sm_clock_mean_mhz)}"
    held = f"heat {percent(state.thermal_fraction)}, brake {percent(state.power_brake_fraction)}, limit {percent(state.power_cap_fraction)}"
    yield _line("", f"{state.domain} temperature", f"{number(state.temperature_start_c)} to {number(state.temperature_end_c)} degrees C")
    yield _line("", f"{state.domain} clock", f"{clocks}; memory {number(state.memory_clock_mean_mhz)}")
    yield _line("", f"{state.domain} held back by", f"{held}" + (f" ({state.source})" if state.source else ""))


def _wrapped(line: str, width: int) -> list[str]:
    """A long line goes on below its text, which starts behind the label where it has one."""
    has_label = line[_LABEL - 1 : _LABEL] == " " != line[_LABEL : _LABEL + 1]
    indent = min(_LABEL if has_label else len(line) - len(line.lstrip()) + 4, width // 2)
    return textwrap.wrap(line, width, subsequent_indent=" " * indent, break_on_hyphens=False) or [""]


def _block(title: str, lines: list[str]) -> list[str]:
    return ["", title, *(f"  {line}" for line in lines)] if lines else []


def _line(indent: str, name: str, text: str) -> str:
    room = _LABEL - len(indent) - 1
    return f"{indent}{shortened(plain(name), room):<{room}} {text}"


def _record(value: Any, trust: str | None, indent: str, quantity: str = "") -> Iterator[str]:
    """The fields of a record that are known, and the names of those that aren't. ``quantity``: what its ``value`` is."""
    fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    for name, item in fields.items():
        if isinstance(item, Mapping):
            yield from _mapping(name, item, trust, indent)
        elif isinstance(item, Load):
            yield from _load(item, indent)
        elif dataclasses.is_dataclass(item) and not isinstance(item, (Distribution, Goodput)):
            yield f"{indent}{name}"
            yield from _record(item, trust, f"{indent}  ", quantity=name)
        elif item is not None:
            yield _line(indent, name, _text(quantity if name == "value" else name, item, trust))
    unknown = [name for name, item in fields.items() if item is None and name not in ("reason", "load")]
    if unknown:
        yield _line(indent, "not known", ", ".join(unknown))


def _load(load: Load, indent: str) -> Iterator[str]:
    """How the requests were sent; a test that sent them itself has none."""
    facts = [
        (f"{load.mode}", True),
        (f"{load.concurrency} at a time", load.mode == "closed" and load.concurrency is not None),
        (f"{load.arrival} arrivals", load.arrival is not None),
        (f"seed {load.seed}", load.seed is not None),
        (f"{load.requests} requests, {load.failed} failed", True),
        (f"at most {load.peak_concurrency} at a time", load.peak_concurrency is not None),
        (f"{load.concurrency} allowed", load.mode == "open" and load.concurrency is not None),
    ]
    rates = {"offered": load.offered_requests_per_second, "achieved": load.achieved_requests_per_second}
    yield _line(indent, "load", ", ".join(fact for fact, is_known in facts if is_known))
    yield _line(f"{indent}  ", "rate", ", ".join(f"{si(rate, 'req/s')} {name}" for name, rate in rates.items() if rate is not None))
    if load.lateness_s is not None:
        late = "; too late: times and goodput are not the server's, and left out" if load.is_late else ""
        yield _line(f"{indent}  ", "the client's lateness", f"{_distribution(load.lateness_s)}{late}")


def _mapping(name: str, items: Mapping[str, Any], trust: str | None, indent: str) -> Iterator[str]:
    yield f"{indent}{name}" if items else _line(indent, name, "none")
    for key, item in items.items():
        if isinstance(item, Ceiling):
            text = _ceiling(item) + (" est." if trust == "estimated" and key in ("power", "cooling") and item.tokens_per_second else "")
        elif name == "domains":
            text = energy(item, trust, "J")
        else:
            text = percent(item) if isinstance(item, (int, float)) else str(item)
        yield _line(f"{indent}  ", key, text)


def _text(name: str, value: Any, trust: str | None) -> str:
    if isinstance(value, Distribution):
        return _distribution(value)
    if isinstance(value, Goodput):
        return f"{si(value.requests_per_second, 'req/s')} ({value.good} of {value.attempted} good)"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(number(item) if isinstance(item, float) else str(item) for item in value) or "none"
    if not isinstance(value, (int, float)):
        return str(value)
    unit = _unit(name)
    if name in _FROM_ENERGY and trust == "estimated":
        return f"~{si(value, unit) if unit else number(value)} est."
    if unit in ("J", "W") and name not in _DECLARED:
        return energy(value, trust, unit)
    return si(value, unit) if unit else number(value) if isinstance(value, float) else str(value)


def _unit(name: str) -> str:
    by_name = next((unit for part, unit in _UNITS if part in name), None)
    return by_name or next((unit for suffix, unit in _SUFFIXES.items() if name.endswith(suffix)), "")


def _distribution(times: Distribution) -> str:
    return f"p50 {si(times.p50, 's')}, p95 {si(times.p95, 's')}, p99 {si(times.p99, 's')}, max {si(times.max, 's')}, n={times.count}"


def _ceiling(ceiling: Ceiling) -> str:
    if ceiling.tokens_per_second is None:
        return f"unknown: {ceiling.reason}"
    source = f"{si(ceiling.numerator)} / {si(ceiling.denominator)}, {ceiling.provenance}"
    return f"{si(ceiling.tokens_per_second, 'tok/s')} = {source}"


def _budget(budget: BudgetResult, trust: str | None) -> str:
    limit = ", ".join(budget.limit) if isinstance(budget.limit, tuple) else _figure(budget.limit)
    interval = f" [{number(budget.ci95[0])}, {number(budget.ci95[1])}]" if budget.ci95 else ""
    where = f" at {budget.boundary}" if budget.boundary else ""
    estimated = " est." if trust == "estimated" and budget.actual is not None and _is_energy(budget) else ""
    remarks = estimated + (", marginal" if budget.marginal else "") + (f": {budget.reason}" if budget.reason else "")
    return f"{budget.verdict}: {budget.metric}{where} {_figure(budget.actual)}{interval} {budget.comparison} {limit}{remarks}"


def _is_energy(budget: BudgetResult) -> bool:
    return budget.boundary is not None or budget.metric.endswith("power_w")


def _figure(value: float | str | None) -> str:
    return value if isinstance(value, str) else number(value)


def _rounds(test: TestRecord) -> list[str]:
    return [
        f"{place}: {si(each.duration_s, 's')}, {each.output_tokens} output tokens, {each.requests} requests, "
        f"{energy(each.it_j, test.energy.trust, 'J') if each.it_j is not None else 'energy unknown'}"
        for place, each in enumerate(test.rounds, 1)
    ]
