"""The row of a test in Markdown: the mandated figures, each with its unit, its trust, or why it is unknown. Pure."""

from __future__ import annotations

from pytest_tpf.records import TestRecord
from pytest_tpf.report.markup import code, words
from pytest_tpf.report.regressions import amount, headline_change, is_energy, short_id, standing
from pytest_tpf.report.text import number, percent, si

HEADINGS = ("test", "verdict", "change", "J/token", "binding", "power x PUE", "tokens/s x utilization", "quality", "TTFT / TPOT / E2E p95")
_UNKNOWN = "-"
_VERDICTS = {"fail": "<b>budget broken</b>", "not_measured": "not measured", "inconclusive": "inconclusive"}
_LONGEST_REASON = 60


def cells(test: TestRecord, name: str) -> list[str]:
    """The cells under ``HEADINGS``; ``name`` is the test's among the others."""
    return [
        code(short_id(name)),
        _verdict(test),
        _change(test),
        _joules_per_token(test),
        _binding(test),
        _power(test),
        _output(test),
        _quality(test),
        _latency(test),
    ]


def _verdict(test: TestRecord) -> str:
    found = standing(test)
    told: list[str] = ["<b>regressed</b>" if found == "regressed" else found] if found not in ("new", "no worse", "told") else []
    if test.verdict != "pass":
        is_expected = test.outcome == "xfailed" and test.verdict == "fail"
        told.append("budget broken, as expected" if is_expected else _VERDICTS[test.verdict])
    return ", ".join(dict.fromkeys(told)) or "pass"


def _change(test: TestRecord) -> str:
    """The worst one; where there is more to say of it, its interval is in the list of what is wrong."""
    change = headline_change(test.regression) if test.regression else None
    if change is None or change.change is None:
        return _UNKNOWN
    metric = "" if change.metric == "joules_per_token" else f"{code(change.metric, 40)} "
    return f"{metric}{_together(amount(change, change.change))}{_label(test) if is_energy(change.metric) else ''}"


def _joules_per_token(test: TestRecord) -> str:
    figure = test.mandated.joules_per_token
    if figure.value is None:
        return _why(figure.reason)
    half = f" ±{percent((figure.ci95[1] - figure.ci95[0]) / 2 / figure.value)}" if figure.ci95 and figure.value else ""
    where = "" if figure.boundary == "it" else f", {figure.boundary}"
    return words(f"{_together(si(figure.value, 'J'))}{half} {figure.trust or 'of unknown trust'}{where}")


def _binding(test: TestRecord) -> str:
    found = test.mandated.binding_constraint
    if found.value == "undetermined":
        return f"undetermined: {code(found.reason, _LONGEST_REASON)}"
    return words(found.value.replace("_", " ") + (f" ({percent(found.attainment)})" if found.attainment is not None else ""))


def _power(test: TestRecord) -> str:
    found = test.mandated.pue_adjusted_power_w
    if found.value is not None:
        remark = f", {code(found.reason, _LONGEST_REASON)}" if found.reason else ""  # a lower bound
        return f"{_together(si(found.value, 'W'))}{_label(test)}{remark}"
    it_power = "" if found.it_power_w is None else f"; {_together(si(found.it_power_w, 'W'))}{_label(test)} at IT"
    return f"{_why(found.reason)}{words(it_power)}"


def _output(test: TestRecord) -> str:
    found = test.mandated.utilization_adjusted_tokens_per_second
    if found.value is None:
        return _UNKNOWN
    source = f" {found.utilization_source}" if found.utilization_source else ""
    return words(f"{si(found.value)} ({percent(found.utilization)}{source})")


def _quality(test: TestRecord) -> str:
    found = test.mandated.accuracy
    if found.value is None:
        return _UNKNOWN
    return f"{number(found.value)}{f' {code(found.metric, 40)}' if found.metric else ''}"


def _latency(test: TestRecord) -> str:
    found = test.mandated.latency
    times = (found.ttft_p95_s, found.tpot_p95_s, found.e2e_p95_s)
    told = _UNKNOWN if times == (None, None, None) else words(" / ".join(_together(si(value, "s")) for value in times))
    return f"{told}{_load(test)}"


def _load(test: TestRecord) -> str:
    """Where a load sent the requests: how many were good, or that the client kept it from being known."""
    load, goodput = test.service.load, test.service.goodput
    if load is None:
        return ""
    if load.is_late:
        return "; the client was late"
    return f"; {goodput.good} of {goodput.attempted} good, {_together(si(goodput.requests_per_second, 'req/s'))}" if goodput else ""


def _label(test: TestRecord) -> str:
    """An energy that isn't measured is called what it is."""
    return "" if test.energy.trust in (None, "measured") else f" {test.energy.trust}"


def _together(figure: str) -> str:
    """A number and its unit on one line."""
    return figure.replace(" ", "\u00a0")


def _why(reason: str | None) -> str:
    return f"unknown: {code(reason, _LONGEST_REASON)}" if reason else _UNKNOWN
