"""What was seen of one test before anything is computed: spans, generations, counts, quality. Data only."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Sequence

from pytest_tpf.engines.intent import intended_s
from pytest_tpf.engines.protocol import Generation
from pytest_tpf.load.seen import LoadRun
from pytest_tpf.measure.trace import Span, merged_spans
from pytest_tpf.meters.protocol import BoardProcess
from pytest_tpf.records import record


@record
class Counts:
    """Tokens and requests that the test declared itself. ``intended_s``: by which the request of a load in which it did is found."""

    output_tokens: int
    prompt_tokens: int | None = None
    requests: int = 1
    intended_s: float | None = None


@record
class Quality:
    """What the test said of its answers. ``accepted`` has one entry per request where a list was given, else None."""

    value: float
    metric: str
    samples: int
    target: float | None = None
    accepted: tuple[bool, ...] | None = None


@record
class GridPoint:
    """The lengths that a fit asks for at one point of its grid (tokens). What is made of them is for the requests to tell."""

    prompt_tokens: int
    output_tokens: int


@record
class MeasuredRound:
    """One round: its span (perf_counter seconds), the calls in it, and what was generated or declared meanwhile.

    ``point``: where in a fit's grid it was taken; None outside a fit. ``load``: how its requests were sent, where ``tpf.load`` sent them.
    """

    start_s: float
    end_s: float
    calls: int
    generations: tuple[Generation, ...]
    declared: tuple[Counts, ...]
    point: GridPoint | None = None
    load: LoadRun | None = None


@record
class Observation:
    """Everything seen of one test. ``drawn``: the user drew the line (fixture), so rounds count from start to end;
    otherwise the union of the generating spans counts and the call stands beside it.

    ``same_work``: the rounds repeat one call, so that they should be alike; windows drawn by hand need not be. ``dropped_rounds``: rounds
    that still changed; they are among ``warmup_rounds``. ``warmup``: what was generated in each of the declared warm-up calls.
    """

    drawn: bool
    call: Span
    rounds: tuple[MeasuredRound, ...]
    calls_per_round: int
    warmup_rounds: int
    quality: Quality | None
    same_work: bool = False
    dropped_rounds: int = 0
    warmup: tuple[tuple[Generation, ...], ...] = ()


@record
class Surroundings:
    """With whom a test shared its boards: who was on them just before and just after (None where that wasn't told), and what came of asking
    for them alone.

    ``unlocked``: why nobody could be kept from measuring meanwhile, one line a device. ``notes``: remarks for the user.
    """

    before: tuple[BoardProcess, ...] | None = None
    after: tuple[BoardProcess, ...] | None = None
    unlocked: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class Ledger:
    """Collects generations and declared counts from any thread until a round takes them."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a stream thrown away reports when it is collected, wherever its thread is just then
        self._generations: list[Generation] = []
        self._declared: list[Counts] = []

    def add_generation(self, generation: Generation) -> None:
        """The sink that engines report to. Those that don't read when a request was to be sent report from where it was: known here."""
        if (at_s := intended_s()) is not None:
            generation = _intended(generation, at_s)
        with self._lock:
            self._generations.append(generation)

    def add_counts(self, counts: Counts) -> None:
        """What ``tpf.count`` and ``window.count`` report."""
        counts = dataclasses.replace(counts, intended_s=intended_s())
        with self._lock:
            self._declared.append(counts)

    def take(self) -> tuple[tuple[Generation, ...], tuple[Counts, ...]]:
        """Everything since the last take."""
        with self._lock:
            generations, self._generations = self._generations, []
            declared, self._declared = self._declared, []
        return tuple(generations), tuple(declared)


def _intended(generation: Generation, at_s: float) -> Generation:
    requests = (dataclasses.replace(each, intended_s=at_s) if each.intended_s is None else each for each in generation.requests)
    return dataclasses.replace(generation, requests=tuple(requests))


def tokens_of(one: MeasuredRound) -> int:
    """Output tokens of a round, observed and declared."""
    return sum(r.output_tokens for g in one.generations for r in g.requests) + sum(c.output_tokens for c in one.declared)


def length_s(spans: Sequence[Span]) -> float:
    """Total length of disjoint spans (s)."""
    return sum(end - start for start, end in spans)


def busy_spans(rounds: Sequence[MeasuredRound]) -> tuple[Span, ...]:
    """The union of the spans in which an observed engine was generating."""
    return merged_spans([(g.start_s, g.end_s) for r in rounds for g in r.generations])


def counted_spans(observation: Observation) -> tuple[Span, ...]:
    """The spans that count: the rounds themselves where the user drew the line or nobody was observed, else the generating spans."""
    busy = busy_spans(observation.rounds)
    if busy and not observation.drawn:
        return busy
    return merged_spans([(r.start_s, r.end_s) for r in observation.rounds])
