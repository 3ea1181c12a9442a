"""One observation evaluated: the record of a test, as the report carries it and the test reads it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytest_tpf.evaluate.acceptance import accepted_tokens, unfinished
from pytest_tpf.evaluate.conditions import describe_conditions
from pytest_tpf.evaluate.context import Context, Identity
from pytest_tpf.evaluate.energy import describe_energy, measure_energy
from pytest_tpf.evaluate.figures import Facts, budget_figures, derived, mandated
from pytest_tpf.evaluate.fit import describe_fit
from pytest_tpf.evaluate.load import describe_load
from pytest_tpf.evaluate.produce import produce
from pytest_tpf.evaluate.reach import of_the_servers
from pytest_tpf.evaluate.requests import tally
from pytest_tpf.evaluate.service import describe_service
from pytest_tpf.judge.budgets import judge
from pytest_tpf.markers import Marker
from pytest_tpf.measure.power import power_stats
from pytest_tpf.observation import Observation, counted_spans
from pytest_tpf.records import Model, Power, TestRecord, TokenSource, Workload

# From the surest to the least sure: a mixture is as sure as its weakest part.
_SOURCES: tuple[TokenSource, ...] = ("engine", "usage", "tokenizer", "chunks", "declared")


def evaluate(observation: Observation, identity: Identity, marker: Marker, context: Context, extra: dict[str, Any]) -> TestRecord:
    """The record of what was seen; every figure that can't be known is None with its reason."""
    context, unseen = of_the_servers(observation, context)
    measured = measure_energy(observation, context)
    service = describe_service(observation, marker, describe_load(observation))
    power = _power(observation, context)
    production, binding = produce(observation, context, measured, service, power)
    described = describe_conditions(observation, context, measured)
    fitted = describe_fit(observation, marker.boundary, context, measured)
    facts = Facts(observation=observation, marker=marker, context=context, measured=measured, service=service, power=power, binding=binding)
    return TestRecord(
        nodeid=identity.nodeid,
        outcome="running",
        group=identity.group,
        labels=identity.labels,
        params=identity.params,
        mandated=mandated(facts),
        workload=describe_workload(observation, marker),
        service=service,
        energy=describe_energy(observation, context, measured),
        power=power,
        production=production,
        derived=derived(facts),
        budgets=judge(marker, budget_figures(facts), binding, described.upper_bound),
        regression=None,
        rounds=measured.rounds,
        warnings=(*unseen, *_warnings(observation, context), *described.warnings, *fitted.warnings),
        extra=extra,
        conditions=described.conditions,
        fit=fitted.fit,
    )


def _power(observation: Observation, context: Context) -> Power:
    spans = counted_spans(observation)
    if context.recording is None or context.contended or not spans:
        return Power(mean_w=None)
    return power_stats(context.recording.traces, context.recording.statuses, spans).power


def describe_workload(observation: Observation, marker: Marker) -> Workload:
    """What was asked of the model and what it made of it."""
    generations = [g for r in observation.rounds for g in r.generations]
    counts = tally(observation.rounds)
    requests = [request for g in generations for request in g.requests]
    lengths = [request.output_tokens for request in requests]
    sources = {g.token_source for g in generations} | ({"declared"} if any(r.declared for r in observation.rounds) else set())
    return Workload(
        engine="+".join(dict.fromkeys(g.engine for g in generations)) or None,
        model=generations[0].model if generations else Model(name=marker.model),
        requests=counts.requests,
        rounds=len(observation.rounds),
        calls_per_round=observation.calls_per_round,
        warmup_rounds=observation.warmup_rounds,
        prompt_tokens=counts.prompt_tokens,
        output_tokens=counts.output_tokens,
        accepted_tokens=accepted_tokens(observation, marker),
        token_source=next((source for source in reversed(_SOURCES) if source in sources), None),
        output_tokens_min=min(lengths, default=None),
        output_tokens_max=max(lengths, default=None),
        reasoning_tokens=_total([r.reasoning_tokens for r in requests]),
        cached_prompt_tokens=_total([r.cached_tokens for r in requests]),
        incomplete_requests=sum(r.complete is False for r in requests),
    )


def _total(amounts: Sequence[int | None]) -> int | None:
    """Their sum; None where there are none, or one isn't known."""
    known = [amount for amount in amounts if amount is not None]
    return sum(known) if known and len(known) == len(amounts) else None


def _warnings(observation: Observation, context: Context) -> tuple[str, ...]:
    generations = [g for r in observation.rounds for g in r.generations]
    notes = [note for g in generations for note in g.notes]
    models = dict.fromkeys(g.model.name for g in generations)
    if len(models) > 1:
        notes.append(f"several models generated ({', '.join(str(name) for name in models)}); the report describes the first")
    failed, attempted = unfinished(observation)
    if failed:
        notes.append(f"{failed} of {attempted} requests failed or stopped early: they have no end-to-end time and are not accepted")
    if len(observation.rounds) == 1 and context.recording is not None:
        notes.append("one round: the interval holds the meter's uncertainty, not the spread from run to run")
    if context.idle.total_w is None and context.idle.reason:
        notes.append(f"idle power is unknown: {context.idle.reason}")
    faults = [fault.text for trace in context.recording.traces for fault in trace.faults] if context.recording else [context.no_meter or ""]
    return tuple(dict.fromkeys(note for note in (*notes, *faults) if note))
