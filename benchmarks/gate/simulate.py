"""Suites of unchanged tests made from recorded rounds, and what the gate says of them: by its real functions, no copy of them.

A test of a simulated suite is a recorded test; its reference and its new measurement are whole runs of it, drawn without replacement,
and of each run a block of neighbouring rounds: so what runs and neighbours have in common stays.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from benchmarks.gate.recorded import Recorded
from pytest_tpf.judge.comparison import settle
from pytest_tpf.judge.contrast import RunNoise, run_noise
from pytest_tpf.judge.regression import compare
from pytest_tpf.judge.sample import Sample
from pytest_tpf.judge.thresholds import Threshold
from pytest_tpf.records import Accuracy, Change, Model, Regression, Round, Workload

METRIC = "joules_per_token"
THRESHOLD = Threshold(metric=METRIC, amount=0.05, kind="relative")
ROUNDS = 5

_WORK = Workload(
    engine="transformers",
    model=Model(),
    requests=1,
    rounds=1,
    calls_per_round=1,
    warmup_rounds=0,
    prompt_tokens=None,
    output_tokens=1,
    accepted_tokens=None,
    token_source="engine",
)


class Reference(NamedTuple):
    """What suites are compared with: so many runs, so many measurements of ``ROUNDS`` rounds in each."""

    name: str
    runs: int
    measurements: int


BASELINE = Reference("accepted baseline (two times five rounds in one run)", runs=1, measurements=2)
REFERENCES = (BASELINE, *(Reference(f"history of {runs} runs", runs=runs, measurements=1) for runs in (5, 10, 20)))


@dataclass(frozen=True)
class Case:
    """One simulated test: earlier measurements, and the new one: ``ROUNDS`` rounds, and as many for measuring once more."""

    old: tuple[Sample, ...]
    new: tuple[Round, ...]


def sample(rounds: Sequence[Round]) -> Sample:
    """A measurement. Its rounds scatter more than the meter is uncertain, so the meter's own uncertainty doesn't count."""
    return Sample(
        key="",
        nodeid="",
        fingerprint="",
        workload=_WORK,
        rounds=tuple(rounds),
        accuracy=Accuracy(),
        boundary="it",
        trust="measured",
        domains=("gpu:0",),
        uncertainty=None,
    )


def a_suite(rng: random.Random, recorded: Sequence[Recorded], reference: Reference, tests: int, *, together: bool) -> list[Case]:
    """``together``: all tests come from the same runs, as in a real suite; else each draws its own, so that all are independent."""
    shared = _drawn_runs(rng, recorded[0], reference) if together else None
    return [_case(rng, one := rng.choice(recorded), reference, shared or _drawn_runs(rng, one, reference)) for _ in range(tests)]


def _drawn_runs(rng: random.Random, one: Recorded, reference: Reference) -> list[int]:
    return rng.sample(range(len(one.runs)), reference.runs + 1)


def _case(rng: random.Random, one: Recorded, reference: Reference, runs: Sequence[int]) -> Case:
    newest, *earlier = runs
    old = [_block(rng, one.runs[run], reference.measurements * ROUNDS) for run in earlier]
    halves = [rounds[at : at + ROUNDS] for rounds in old for at in range(0, len(rounds), ROUNDS)]
    return Case(old=tuple(sample(half) for half in halves), new=_block(rng, one.runs[newest], 2 * ROUNDS))


def _block(rng: random.Random, rounds: Sequence[Round], length: int) -> tuple[Round, ...]:
    start = rng.randrange(len(rounds) - length + 1)
    return tuple(rounds[start : start + length])


def worse(case: Case, factor: float) -> Case:
    """The same test with ``factor`` times the energy."""
    return dataclasses.replace(case, new=tuple(dataclasses.replace(each, it_j=(each.it_j or 0.0) * factor) for each in case.new))


def learned(cases: Sequence[Case]) -> RunNoise:
    """What the suite's reference says of how runs scatter."""
    return run_noise((case.old for case in cases), METRIC)


def judged(case: Case, noise: RunNoise, family: int) -> Change:
    """What the plugin does: five rounds; where they don't pass, five more of the same run, and all of them again."""
    change = compare(sample(case.new[:ROUNDS]), case.old, THRESHOLD, METRIC, family=family, noise=noise)
    if change.verdict == "pass":
        return change
    return compare(sample(case.new), case.old, THRESHOLD, METRIC, remeasured=ROUNDS, family=family, noise=noise)


def settled(changes: Sequence[Change]) -> list[Change]:
    """The verdicts of a whole run."""
    regressions = [Regression(reference=None, changes=(change,), verdict=change.verdict) for change in changes]
    return [each.changes[0] for each in settle(regressions) if each]


def verdicts(cases: Sequence[Case]) -> list[Change]:
    """A suite, judged."""
    noise = learned(cases)
    return settled([judged(case, noise, len(cases)) for case in cases])
