"""What a baseline file holds, as records. Pure."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence

from pytest_tpf.judge.sample import Sample
from pytest_tpf.records import Accuracy, Boundary, Environment, Round, Trust, Workload, record

BASELINE_VERSION = "1.0.0"
MAX_ROUNDS = 20
"""Rounds that are kept of one measurement; more are added up in groups of neighbours."""

_DIGITS = 6  # more would be noise that a reviewer has to look at


@record
class Accepted:
    """When somebody accepted a test's figures, at which commit, and why."""

    at: str
    commit: str | None
    reason: str


@record
class Run:
    """One measurement; ``uncertainty``: half of the 95 % interval of its energy, relative."""

    uncertainty: float | None
    rounds: tuple[Round, ...]


@record
class Entry:
    """One accepted test."""

    nodeid: str
    accepted: Accepted
    boundary: Boundary
    trust: Trust | None
    domains: tuple[str, ...]
    workload: Workload
    accuracy: Accuracy
    runs: tuple[Run, ...]


@record
class Hardware:
    """What was accepted on one kind of machine, by the tests' keys."""

    description: str
    tests: dict[str, Entry]


@record
class BaselineFile:
    """The whole file, by hardware fingerprint."""

    baseline_version: str = BASELINE_VERSION
    hardware: dict[str, Hardware] = dataclasses.field(default_factory=dict)


def entry_of(sample: Sample, remeasured: int, accepted: Accepted) -> Entry:
    """The entry for a test that was measured twice: its last ``remeasured`` rounds are the second measurement."""
    first = sample.rounds[: len(sample.rounds) - remeasured]
    halves = [half for half in (first, sample.rounds[len(first) :]) if half]
    # the interval was that of both together
    uncertainty = _shortened(sample.uncertainty and sample.uncertainty * math.sqrt(len(halves)))
    return Entry(
        nodeid=sample.nodeid,
        accepted=accepted,
        boundary=sample.boundary,
        trust=sample.trust,
        domains=sample.domains,
        workload=sample.workload,
        accuracy=sample.accuracy,
        runs=tuple(Run(uncertainty=uncertainty, rounds=tuple(map(_rounded, bounded(half)))) for half in halves),
    )


def samples_of(entry: Entry, key: str, fingerprint: str) -> list[Sample]:
    """The measurements of an entry as samples, newest first."""
    return [
        Sample(
            key=key,
            nodeid=entry.nodeid,
            fingerprint=fingerprint,
            workload=entry.workload,
            rounds=run.rounds,
            accuracy=entry.accuracy,
            boundary=entry.boundary,
            trust=entry.trust,
            domains=entry.domains,
            uncertainty=run.uncertainty,
            commit=entry.accepted.commit,
            recorded_at=entry.accepted.at,
            note=entry.accepted.reason,
        )
        for run in reversed(entry.runs)
    ]


def describe_hardware(environment: Environment) -> str:
    """The processor and the accelerators in a line that a reviewer can read."""
    cpu = environment.host.cpu
    boards = [f"{board.name}" + (f" at {board.power_limit_w:.0f} W" if board.power_limit_w else "") for board in environment.accelerators]
    counted = [f"{boards.count(name)} x {name}" for name in dict.fromkeys(boards)]
    return ", ".join([f"{cpu.model or 'unknown processor'} ({cpu.logical_cores} logical cores)", *counted])


def bounded(rounds: Sequence[Round], most: int = MAX_ROUNDS) -> list[Round]:
    """At most ``most`` rounds: neighbours are added up, so that sums stay what they were. A rest that fills no group joins the last."""
    size = math.ceil(len(rounds) / most)
    if size <= 1:
        return list(rounds)
    groups = len(rounds) // size
    edges = [*(group * size for group in range(groups)), len(rounds)]
    return [_added(rounds[start:end]) for start, end in itertools.pairwise(edges)]


def _added(rounds: Sequence[Round]) -> Round:
    def total(of: Callable[[Round], float | None]) -> float | None:
        values = [of(each) for each in rounds]
        known = [value for value in values if value is not None]
        return math.fsum(known) if len(known) == len(values) else None

    def mean(of: Callable[[Round], float | None]) -> float | None:
        whole = total(of)
        return None if whole is None else whole / len(rounds)

    prompts = [each.prompt_tokens for each in rounds if each.prompt_tokens is not None]
    return Round(
        duration_s=math.fsum(each.duration_s for each in rounds),
        output_tokens=sum(each.output_tokens for each in rounds),
        prompt_tokens=sum(prompts) if len(prompts) == len(rounds) else None,
        requests=sum(each.requests for each in rounds),
        it_j=total(lambda each: each.it_j),
        device_j=total(lambda each: each.device_j),
        ttft_s=mean(lambda each: each.ttft_s),
        tpot_s=mean(lambda each: each.tpot_s),
        e2e_s=mean(lambda each: each.e2e_s),
    )


def _rounded(each: Round) -> Round:
    return Round(
        duration_s=_short(each.duration_s),
        output_tokens=each.output_tokens,
        prompt_tokens=each.prompt_tokens,
        requests=each.requests,
        it_j=_shortened(each.it_j),
        device_j=_shortened(each.device_j),
        ttft_s=_shortened(each.ttft_s),
        tpot_s=_shortened(each.tpot_s),
        e2e_s=_shortened(each.e2e_s),
    )


def _shortened(value: float | None) -> float | None:
    return None if value is None else _short(value)


def _short(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
