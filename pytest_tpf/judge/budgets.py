"""Budgets judged: a figure with its interval against a limit, and the message a person can act on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pytest_tpf.markers import LIMITS, Limit, Marker
from pytest_tpf.records import BindingConstraint, BudgetResult, TestRecord, Verdict, record


@record
class Figure:
    """A measured figure: None with the reason where it isn't known, and its 95 % interval where it has one."""

    value: float | None
    ci95: tuple[float, float] | None = None
    reason: str | None = None


def judge(
    marker: Marker, figures: Mapping[str, Figure], binding: BindingConstraint, upper_bound: str | None = None
) -> tuple[BudgetResult, ...]:
    """Every budget of the marker, judged. ``figures`` maps the metric names of ``markers.LIMITS``.

    ``upper_bound``: why energies are only upper bounds (somebody else's joules are in them), None where they aren't. A pass is a pass all
    the same; a fail is marginal, with that reason.
    """
    results = [
        _judge_limit(limit, marker.limits[limit.keyword], figures[limit.metric], marker, upper_bound if limit.is_energy else None)
        for limit in LIMITS
        if limit.keyword in marker.limits
    ]
    if marker.binding:
        results.append(_judge_binding(marker.binding, binding))
    return tuple(results)


def verdict_on(comparison: str, limit: float, figure: Figure) -> tuple[Verdict, bool]:
    """(verdict, marginal): the whole interval decides; where the limit lies inside it, the point estimate does, marginally."""
    if figure.value is None:
        return "not_measured", False
    low, high = figure.ci95 or (figure.value, figure.value)
    if comparison == ">=":
        return verdict_on("<=", -limit, Figure(value=-figure.value, ci95=(-high, -low)))
    if high <= limit:
        return "pass", False
    if low > limit:
        return "fail", False
    return ("pass" if figure.value <= limit else "fail"), True


def is_undecided(budget: BudgetResult) -> bool:
    """Whether more rounds would decide it: the limit lies inside the interval, and that is the only doubt."""
    return budget.marginal and budget.reason is None


def _judge_limit(limit: Limit, value: float, figure: Figure, marker: Marker, upper_bound: str | None) -> BudgetResult:
    verdict, marginal = verdict_on(limit.comparison, value, figure)
    is_doubtful = verdict == "fail" and upper_bound is not None
    return BudgetResult(
        metric=limit.metric,
        limit=value,
        comparison=limit.comparison,
        actual=figure.value,
        ci95=figure.ci95,
        boundary=marker.boundary if limit.is_energy else None,
        verdict=verdict,
        marginal=marginal or is_doubtful,
        reason=upper_bound if is_doubtful else figure.reason,
    )


def _judge_binding(expected: tuple[str, ...], found: BindingConstraint) -> BudgetResult:
    verdict: Verdict = "pass" if found.value in expected else "inconclusive" if found.value == "undetermined" else "fail"
    return BudgetResult(
        metric="binding",
        limit=expected,
        comparison="in",
        actual=found.value,
        ci95=None,
        boundary=None,
        verdict=verdict,
        reason=found.reason,
    )


def failure_message(test: TestRecord, strict: bool) -> str | None:
    """What to tell the person whose test broke a budget; None where nothing did.

    ``strict``: verdicts that could not be reached are failures too.
    """
    red: tuple[Verdict, ...] = ("fail", "not_measured", "inconclusive") if strict else ("fail",)
    broken = [budget for budget in test.budgets if budget.verdict in red]
    if not broken:
        return None
    lines = [_describe(budget, test.energy.trust, test.attempt) for budget in broken]
    return "\n".join([*lines, *_context(test, broken)])


_UNITS = {limit.metric: limit.unit for limit in LIMITS}
_POWERS = ("power_w", "facility_power_w")
_KEYWORDS = {limit.metric: limit.keyword for limit in LIMITS}


def _describe(budget: BudgetResult, trust: str | None, attempts: int) -> str:
    keyword = _KEYWORDS.get(budget.metric, budget.metric)
    where = f" at boundary {budget.boundary}" if budget.boundary else ""
    if budget.verdict in ("not_measured", "inconclusive"):
        word = "could not be judged" if budget.verdict == "inconclusive" else "was not measured"
        return f"tpf: {keyword}={_text(budget.limit)} {word}{where}: {budget.reason or 'no figure'}"
    if isinstance(budget.actual, float) and isinstance(budget.limit, float):
        return f"{_excess(budget, budget.actual, budget.limit, trust)}{where}{_interval(budget)}{_attempt(budget, attempts)}"
    return f"tpf: binding constraint is {budget.actual}, expected {_text(budget.limit)}: {budget.reason}"


def _excess(budget: BudgetResult, actual: float, limit: float, trust: str | None) -> str:
    label = f" ({trust})" if (budget.boundary or budget.metric in _POWERS) and trust not in ("measured", None) else ""
    sign, side = (">", "over") if budget.comparison == "<=" else ("<", "under")
    measured = f"{budget.metric} {actual:.4g} {_UNITS.get(budget.metric, '')}".rstrip()
    return f"tpf: {measured}{label} {sign} {limit:.4g}: {_distance(actual / limit)} {side} {_KEYWORDS.get(budget.metric)}={limit:.4g}"


def _distance(ratio: float) -> str:
    return f"{ratio:.3g} times" if ratio > 10 else f"{abs(ratio - 1):.1%}"


def _interval(budget: BudgetResult) -> str:
    interval = f", 95 % interval {budget.ci95[0]:.4g} to {budget.ci95[1]:.4g}" if budget.ci95 else ""
    return interval + (f", marginal: {budget.reason or 'the limit lies inside the interval'}" if budget.marginal else "")


def _attempt(budget: BudgetResult, attempts: int) -> str:
    if budget.attempt is None:
        return ""
    return f", in its {'first attempt' if budget.attempt == 1 else f'attempt {budget.attempt}'} (of {attempts})"


def _text(limit: float | str | Sequence[str]) -> str:
    if isinstance(limit, float):
        return f"{limit:.4g}"
    return limit if isinstance(limit, str) else " or ".join(limit)


def _context(test: TestRecord, broken: Sequence[BudgetResult]) -> list[str]:
    """What a person needs next: where the joules went, over how many tokens, and what holds the rate back."""
    lines = []
    if any(budget.boundary for budget in broken if budget.attempt is None):  # an earlier attempt has told of its own
        split = ", ".join(f"{name} {joules:.4g} J" for name, joules in test.energy.domains.items() if joules is not None)
        missing = f"; not metered: {', '.join(test.energy.unmetered)}" if test.energy.unmetered else ""
        work = test.workload
        lines.append(
            f"     {split or 'no energy'} over {work.output_tokens} output tokens, {work.requests} requests, {work.rounds} rounds{missing}"
        )
        lines.append(f"     binding constraint: {test.mandated.binding_constraint.value} ({test.mandated.binding_constraint.reason})")
    if any(is_undecided(budget) for budget in broken if budget.attempt is None):
        lines.append("     to decide it: more rounds (--tpf-rounds N, or a longer --tpf-max-time)")
    return lines
