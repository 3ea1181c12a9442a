"""From the rounds of a grid to the report's ``fit``: energy per prompt token and per output token. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pytest_tpf.evaluate.context import Context
from pytest_tpf.evaluate.energy import Measured, pue_at, window_joules
from pytest_tpf.evaluate.requests import Tally, requests_of, tally
from pytest_tpf.judge.fit import NoFit, Point, Solution, fit
from pytest_tpf.judge.statistics import ratio_uncertainty
from pytest_tpf.measure.window import ACCELERATOR_PREFIXES, WindowEnergy
from pytest_tpf.observation import GridPoint, MeasuredRound, Observation
from pytest_tpf.records import Boundary, Facility, Fit, FitPoint, PromptEnergy, record
from pytest_tpf.uncertainty import Spread, total


@record
class Described:
    """``fit`` as reported, and its ``warnings``."""

    fit: Fit | None
    warnings: tuple[str, ...] = ()


@record
class _Visited:
    """A point of the grid: its requests, and their mean as far as energy is known; ``why``: where it isn't."""

    at: GridPoint
    counts: Tally
    mean: Point | None
    why: str | None


def describe_fit(observation: Observation, boundary: Boundary, context: Context, measured: Measured) -> Described:
    """The fit over the rounds that were taken at points of a grid; None where none was.

    Only rounds whose energy is known count, where a point has any: a board that was lost costs what came after.
    """
    pairs = list(zip(observation.rounds, measured.windows, strict=True))
    points = sorted({one.point for one in observation.rounds if one.point is not None}, key=lambda p: (p.prompt_tokens, p.output_tokens))
    if not points:
        return Described(fit=None)
    visited = [_visit(at, [(one, window) for one, window in pairs if one.point == at], boundary, context.facility) for at in points]
    try:
        solution, reason = fit([each.mean for each in visited if each.mean is not None]), None
    except NoFit as error:
        solution, reason = None, "; ".join([str(error), *[each.why for each in visited if each.why is not None][:1]])
    return Described(fit=_as_record(visited, boundary, solution, reason), warnings=tuple(_warnings(visited, solution, observation.rounds)))


def _visit(at: GridPoint, pairs: Sequence[tuple[MeasuredRound, WindowEnergy]], boundary: Boundary, facility: Facility) -> _Visited:
    energies = [(one, window, *window_joules(boundary, window, facility)) for one, window in pairs]
    known = [(one, window, joules) for one, window, joules, _ in energies if joules is not None]
    counts = tally([one for one, *_ in known or energies])
    why = next((reason for *_, reason in energies if reason is not None), None) if not known else None
    why = why or _why_uncounted(at, counts)
    if why is not None:
        return _Visited(at=at, counts=counts, mean=None, why=why)
    requests = [float(tally([one]).requests) for one, *_ in known]
    joules = [energy for *_, energy in known]
    prompt_tokens, output_tokens = _lengths(at, counts)
    point = Point(
        group=at.prompt_tokens,
        prompt_tokens=prompt_tokens,
        output_tokens=output_tokens,
        joules=sum(joules) / counts.requests,
        scatter_j=ratio_uncertainty(joules, requests),
        rounds=len(known),
        spread=_spread([window for _, window, _ in known], boundary, pue_at(boundary, facility) / counts.requests),
    )
    return _Visited(at=at, counts=counts, mean=point, why=None)


def _why_uncounted(at: GridPoint, counts: Tally) -> str | None:
    if not counts.requests:
        return "no request was seen or counted: tpf.count(output_tokens=..., prompt_tokens=...) inside fn does it"
    return f"requests for {at.output_tokens} output tokens made fewer than one each" if counts.output_tokens < counts.requests else None


def _lengths(at: GridPoint, counts: Tally) -> tuple[float, float]:
    """Mean prompt and output tokens of a request; the prompt's are those asked for where nobody told others."""
    if not counts.requests:
        return float(at.prompt_tokens), 0.0
    prompt_tokens = at.prompt_tokens if counts.prompt_tokens is None else counts.prompt_tokens / counts.requests
    return float(prompt_tokens), counts.output_tokens / counts.requests


def _spread(windows: Sequence[WindowEnergy], boundary: Boundary, factor: float) -> Spread:
    """What the meter can't tell of the mean request."""
    return total(w.within(ACCELERATOR_PREFIXES).spread if boundary == "device" else w.spread for w in windows).scaled(factor)


def _as_record(visited: Sequence[_Visited], boundary: Boundary, solution: Solution | None, reason: str | None) -> Fit:
    points = tuple(_table_row(each, solution) for each in visited)
    if solution is None:
        return Fit(boundary=boundary, points=points, reason=reason)
    beta_j, half_width_j = solution.beta_j, solution.half_width_j
    return Fit(
        boundary=boundary,
        points=points,
        prompts=tuple(PromptEnergy(prompt_tokens=length, joules=joules) for length, joules in solution.prompts.values()),
        joules_per_output_token=beta_j,
        joules_per_output_token_ci95=None if half_width_j is None else (beta_j - half_width_j, beta_j + half_width_j),
        joules_per_prompt_token=solution.slope_j,
        r2=solution.r2,
        worst_relative_error=solution.worst_relative_error,
    )


def _table_row(each: _Visited, solution: Solution | None) -> FitPoint:
    prompt_tokens, output_tokens = _lengths(each.at, each.counts)
    return FitPoint(
        prompt_tokens=prompt_tokens,
        output_tokens=output_tokens,
        requests=each.counts.requests,
        joules=None if each.mean is None else each.mean.joules,
        fitted_j=None if solution is None or not each.counts.requests else solution.joules(each.at.prompt_tokens, output_tokens),
    )


def _warnings(visited: Sequence[_Visited], solution: Solution | None, rounds: Sequence[MeasuredRound]) -> Iterator[str]:
    """What limits the fit, one line each."""
    if any(each.counts.requests and each.counts.prompt_tokens is None for each in visited):
        yield "tpf.fit: prompt tokens were not told by the engine or by count(prompt_tokens=...): those asked for are taken"
    cached = sum(request.cached_tokens or 0 for request in requests_of(rounds))
    if cached:
        yield f"tpf.fit: {cached} prompt tokens came from the server's cache and cost next to nothing: give each call a prompt of its own"
    if solution is None:
        return
    left_out = [each for each in visited if each.mean is None]
    if left_out:
        yield f"tpf.fit: {len(left_out)} of {len(visited)} points are left out: {left_out[0].why}"
    if solution.r2 is None:
        yield "tpf.fit: there are no more points than unknowns, so nothing tells how well they fit: add an output length"
    for length, joules in solution.prompts.values():
        if joules < 0:
            yield f"tpf.fit: F({length:.4g}) is negative ({joules:.3g} J), which no energy is: shorter outputs in the grid tell F better"
    if solution.beta_j < 0:
        yield f"tpf.fit: an output token's energy is negative ({solution.beta_j:.3g} J), which no energy is: the outputs differ too little"
