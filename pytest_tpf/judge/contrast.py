"""How much worse is a figure than it was, and how well is that known? Pure.

A figure is the ratio of two sums over rounds. Logarithms of such ratios are compared: their difference has a standard uncertainty from the
rounds of either side, from the meter, and from the scatter of runs, where there are enough of them to know it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import TypeGuard

from pytest_tpf.judge.distributions import f_tail
from pytest_tpf.judge.sample import Sample
from pytest_tpf.judge.statistics import ratio_uncertainty, t_quantile
from pytest_tpf.judge.thresholds import DEVICE, METRICS, Metric
from pytest_tpf.records import Round, record
from pytest_tpf.uncertainty import COVERAGE_95

_LEAST, _MOST = 1e-100, 1e100  # amounts beyond can't be squared, and no round has them
_CLEARLY_SCATTERED = 0.0001  # chance of one test's runs scattering so where they are like the others'
_ENOUGH_NOISE = 4.0  # degrees of freedom from which on the runs' scatter counts as known


@record
class Estimate:
    """The logarithm of a ratio of two sums over rounds, with its variance; ``value``: the ratio itself."""

    log: float
    value: float
    variance: float
    degrees_of_freedom: float
    rounds: int


@record
class RunNoise:
    """How much a figure differs from run to run beyond what its rounds explain: variance of its logarithm, and how well that is known."""

    variance: float = 0.0
    degrees_of_freedom: float = 0.0


UNKNOWN_NOISE = RunNoise()


@record
class Contrast:
    """How much worse the new figure is, as a logarithm of the ratio (above zero is worse), with its standard uncertainty."""

    worse: float
    standard: float
    degrees_of_freedom: float
    new: Estimate
    old: Estimate
    runs: int

    def quantile(self, probability: float) -> float:
        """Student's t times the standard uncertainty; infinite where the scatter isn't known at all."""
        if self.degrees_of_freedom < 1:
            return math.inf
        return t_quantile(probability, self.degrees_of_freedom) * self.standard if self.standard else 0.0


def contrast(what: Metric, rounds: Sequence[Round], new: Sample, old: Sequence[Sample], noise: RunNoise) -> Contrast | str:
    """The contrast, or why there is none."""
    latest = _estimate(what, rounds, new)
    runs = [run for sample in old if (run := _estimate(what, sample.rounds, sample))]
    if not latest or not runs:
        which, sample = ("now", new) if not latest else ("then", old[0])
        return f"unknown {which}: {', '.join(sample.reasons) if what.is_energy and sample.reasons else 'no round has it'}"
    earlier, scatter = _together(runs)
    if latest.rounds == 1:  # it has no scatter of its own: that of the earlier ones holds for it too
        latest = dataclasses.replace(latest, variance=earlier.variance * earlier.rounds, degrees_of_freedom=earlier.degrees_of_freedom)
    parts = [(latest.variance, latest.degrees_of_freedom), (earlier.variance, earlier.degrees_of_freedom)]
    if not scatter.is_counted:
        parts.append(scatter.beyond(noise))
    return Contrast(
        worse=(latest.log - earlier.log) * (1.0 if what.better == "lower" else -1.0),
        standard=math.sqrt(math.fsum(variance for variance, _ in parts)),
        degrees_of_freedom=_welch_satterthwaite(parts),
        new=latest,
        old=earlier,
        runs=len(runs),
    )


def _estimate(what: Metric, rounds: Sequence[Round], sample: Sample) -> Estimate | None:
    """One run's figure; None where no round has it.

    Its variance is that of the rounds, or the meter's own where that is the wider one: ``sample.uncertainty`` holds both (see
    ``statistics.expanded_uncertainty``).
    """
    pairs = [what.amounts(each) for each in rounds] if what.amounts else []
    known = [(a, b) for a, b in pairs if _is_amount(a) and _is_amount(b)]
    if not known:
        return None
    numerators, denominators = [a for a, _ in known], [b for _, b in known]
    value, degrees = math.fsum(numerators) / math.fsum(denominators), len(known) - 1.0
    scatter = (ratio_uncertainty(numerators, denominators) or 0.0) / value
    meter = (sample.uncertainty or 0.0) if what.is_energy else 0.0
    by_rounds = t_quantile(0.975, degrees) * scatter if degrees >= 1 else 0.0
    standard = scatter if by_rounds >= meter * (1 - 1e-9) else max(scatter, meter / COVERAGE_95)
    return Estimate(log=math.log(value), value=value, variance=standard**2, degrees_of_freedom=degrees, rounds=len(known))


def figure(metric: str, sample: Sample) -> float | None:
    """The metric of one run; None where no round has it."""
    found = _estimate(metric_of(metric, sample), sample.rounds, sample)
    return None if found is None else found.value


def by_themselves(what: Metric, sample: Sample, last: int) -> Sample:
    """The run's ``last`` rounds as a run of their own.

    An energy's uncertainty that comes from how all rounds scatter says nothing of these alone; the meter's own holds for fewer rounds, too,
    and is wider for them.
    """
    rounds, whole, uncertainty = sample.rounds[-last:], _estimate(what, sample.rounds, sample), sample.uncertainty
    if whole is None or uncertainty is None:
        return dataclasses.replace(sample, rounds=rounds)
    is_meters = math.sqrt(whole.variance) * COVERAGE_95 >= uncertainty * (1 - 1e-9)  # scatter is expanded by Student's t, which is more
    own = uncertainty * math.sqrt(whole.rounds / len(rounds)) if is_meters else None
    return dataclasses.replace(sample, rounds=rounds, uncertainty=own)


def _is_amount(value: float | None) -> TypeGuard[float]:
    return value is not None and _LEAST < value < _MOST


def _together(runs: Sequence[Estimate]) -> tuple[Estimate, Scatter]:
    """The reference from its runs, and how they scatter."""
    total, outer = sum(run.rounds for run in runs), len(runs) - 1
    log = math.fsum(run.rounds * run.log for run in runs) / total
    inner = math.fsum(run.degrees_of_freedom for run in runs)
    variance = math.fsum(run.rounds**2 * run.variance for run in runs) / total**2
    squares = math.fsum(run.rounds**2 for run in runs) / total
    square = math.fsum(run.rounds * (run.log - log) ** 2 for run in runs) / outer if outer else 0.0
    is_counted = bool(outer) and not inner  # one round a run: each run is one observation, and so is the new one
    pooled = Estimate(log=log, value=math.exp(log), variance=variance, degrees_of_freedom=inner, rounds=total)
    if is_counted:
        pooled = dataclasses.replace(pooled, variance=max(square / total, variance), degrees_of_freedom=outer)
    scatter = Scatter(
        square=square,
        per_round=variance * total,
        typical=(total - squares) / outer if outer else 0.0,
        weight=1 + squares / total,
        outer=outer,
        inner=inner,
        is_counted=is_counted,
    )
    return pooled, scatter


@record
class Scatter:
    """How a reference's runs scatter: one-way analysis of variance (Searle, Casella, McCulloch, "Variance Components", 3.6).

    ``square``: mean square between runs; ``per_round``: variance of one round within them; ``typical``: rounds a run; ``outer``, ``inner``:
    degrees of freedom between and within runs; ``weight``: of the runs' variance in a contrast with one new run. ``is_counted``: the
    estimate's variance is that between runs already.
    """

    square: float
    per_round: float
    typical: float
    weight: float
    outer: int
    inner: float
    is_counted: bool

    @property
    def between(self) -> float:
        """The variance of runs beyond what their rounds explain; below zero where they explain more than there is."""
        return (self.square - self.per_round) / self.typical

    def beyond(self, noise: RunNoise) -> tuple[float, float]:
        """(variance, degrees of freedom) to add to a contrast: the other tests' scatter, or this one's own where it is clearly larger."""
        expected = self.per_round + noise.variance * self.typical
        if self.outer and expected > 0 and f_tail(self.square / expected, self.outer, self.inner) < _CLEARLY_SCATTERED:
            return self.between * self.weight, self.outer
        is_known = noise.degrees_of_freedom >= _ENOUGH_NOISE
        return (noise.variance * self.weight, noise.degrees_of_freedom) if is_known else (0.0, math.inf)


def run_noise(tests: Iterable[Sequence[Sample]], metric: str) -> RunNoise:
    """What runs scatter beyond their rounds, from the earlier runs of all tests on one machine; each test has too few to know it alone.

    Where few runs lie far out, as on a busy machine, a variance tells too little: the degrees of freedom are those of the t distribution
    whose tails are as heavy.
    """
    total = degrees = 0.0
    distances: list[float] = []
    for samples in tests:
        runs = [run for sample in samples if (run := _estimate(metric_of(metric, sample), sample.rounds, sample))]
        pooled, scatter = _together(runs) if len(runs) > 1 else (None, None)
        if pooled and scatter and not scatter.is_counted:
            total, degrees = total + scatter.outer * scatter.between, degrees + scatter.outer
            distances += [math.sqrt(run.rounds * len(runs) / scatter.outer) * (run.log - pooled.log) for run in runs]
    return RunNoise(variance=max(0.0, total / degrees), degrees_of_freedom=min(degrees, _tails(distances))) if degrees else UNKNOWN_NOISE


def _tails(distances: Sequence[float]) -> float:
    """Degrees of freedom of Student's t with this kurtosis, which is 6 / (degrees - 4) more than a normal's 3."""
    squares = math.fsum(each**2 for each in distances)
    excess = len(distances) * math.fsum(each**4 for each in distances) / squares**2 - 3 if squares else 0.0
    return 4 + 6 / excess if excess > 0 else math.inf


def metric_of(name: str, sample: Sample) -> Metric:
    """The metric of that name, its joules taken where the test's budgets are (facility is a declared multiple of IT: the same ratio)."""
    return DEVICE if name == "joules_per_token" and sample.boundary == "device" else METRICS[name]


def _welch_satterthwaite(parts: Sequence[tuple[float, float]]) -> float:
    """Degrees of freedom of a sum of (variance, degrees of freedom), JCGM 100:2008, G.4.1; 0 where one of them isn't known at all."""
    if any(variance and not degrees for variance, degrees in parts):
        return 0.0
    below = math.fsum(variance**2 / degrees for variance, degrees in parts if variance)
    return math.fsum(variance for variance, _ in parts) ** 2 / below if below else min(degrees for _, degrees in parts)
