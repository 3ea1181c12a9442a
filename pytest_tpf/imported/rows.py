"""From a benchmark to a row of the report: what a measured test's row is made by makes this one, too. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from pytest_tpf.engines.protocol import Generation, Request
from pytest_tpf.evaluate import evaluate
from pytest_tpf.evaluate.context import Context, Identity
from pytest_tpf.evaluate.figures import latency_of
from pytest_tpf.imported.point import Placed, Point
from pytest_tpf.markers import Marker
from pytest_tpf.measure.trace import Span
from pytest_tpf.observation import MeasuredRound, Observation
from pytest_tpf.records import Latency, Model, Service, TestRecord, Workload

LENGTH_DIFFERS = 0.02
"""Relative difference of the window's length from the benchmark's own duration from which on it is told."""


def row(point: Point, placed: Placed, nodeid: str, context: Context, ahead_s: float) -> TestRecord:
    """The row of one benchmark that ran when ``placed`` says. ``ahead_s``: Unix time less ``perf_counter``, which the meters' times are."""
    window = (placed.start_s - ahead_s, placed.end_s - ahead_s)
    identity = Identity(nodeid=nodeid, group=None, labels=_labels(point), params=point.params)
    measured = evaluate(_observation(point, window), identity, Marker(), context, _extra(point, placed))
    service = _service(measured.service, point)
    latency = latency_of(service)
    return dataclasses.replace(
        measured,
        outcome="passed" if point.finished else "failed",
        workload=_workload(measured.workload, point),
        service=service,
        mandated=dataclasses.replace(measured.mandated, latency=_either(latency, point.latency)),
        derived=measured.derived if point.goodput is None else dataclasses.replace(measured.derived, joules_per_accepted_token=None),
        warnings=(*point.warnings, *_warnings(point, window), *measured.warnings),
    )


def _labels(point: Point) -> dict[str, str]:
    return {"tool": point.tool} | ({"tool_version": point.version} if point.version else {})


def _extra(point: Point, placed: Placed) -> dict[str, object]:
    return {
        "imported": {
            "tool": point.tool,
            "tool_version": point.version,
            "start_unix_s": placed.start_s,
            "end_unix_s": placed.end_s,
            "misplaced_s": placed.misplaced_s,
        }
    }


def _observation(point: Point, window: Span) -> Observation:
    requests = [_moved(request, window[0]) for request in point.requests]
    generations = tuple(_generation(point, request, window) for request in requests)
    one = MeasuredRound(
        start_s=window[0], end_s=window[1], calls=1, generations=generations, declared=() if generations else (point.counts,)
    )
    return Observation(drawn=True, call=window, rounds=(one,), calls_per_round=1, warmup_rounds=0, quality=None)


def _moved(request: Request, by_s: float) -> Request:
    return dataclasses.replace(
        request,
        start_s=request.start_s + by_s,
        end_s=request.end_s + by_s,
        first_token_s=None if request.first_token_s is None else request.first_token_s + by_s,
        chunk_times_s=tuple(t + by_s for t in request.chunk_times_s),
    )


def _generation(point: Point, request: Request, window: Span) -> Generation:
    """A call of its own for each request, as far as it lies in the window: the server was busy with it then."""
    start_s, end_s = (min(max(t, window[0]), window[1]) for t in (request.start_s, request.end_s))
    return Generation(
        engine=point.tool,
        model=Model(name=point.model),
        start_s=start_s,
        end_s=end_s,
        requests=(request,),
        token_source=point.token_source,
        first_token_s=request.first_token_s,
        static_batch=request.first_token_s is not None and start_s <= request.first_token_s <= end_s,
    )


def _workload(measured: Workload, point: Point) -> Workload:
    """What the tool says of all requests stands where the requests themselves aren't told; which of them were good is never told."""
    told = dataclasses.replace(measured, accepted_tokens=None) if point.goodput is not None else measured
    if point.requests:
        return told
    return dataclasses.replace(
        told,
        engine=point.tool,
        model=Model(name=point.model),
        token_source=point.token_source,
        reasoning_tokens=point.reasoning_tokens,
        incomplete_requests=point.failed,
    )


def _service(measured: Service, point: Point) -> Service:
    if not point.requests:
        times = point.times
        measured = dataclasses.replace(
            measured, ttft_s=times.ttft_s, tpot_s=times.tpot_s, inter_chunk_s=times.inter_chunk_s, e2e_s=times.e2e_s
        )
    goodput = measured.goodput
    if point.goodput is not None:  # its own rate may be over a slightly different time
        goodput = dataclasses.replace(point.goodput, requests_per_second=point.goodput.good / measured.duration_s)
    return dataclasses.replace(measured, goodput=goodput, load=point.load)


def _either(latency: Latency, told: Latency) -> Latency:
    """The distributions' quantiles, else those that the tool gives alone."""
    names = [field.name for field in dataclasses.fields(Latency)]
    return Latency(**{name: value if (value := getattr(latency, name)) is not None else getattr(told, name) for name in names})


def _warnings(point: Point, window: Span) -> Sequence[str]:
    notes = []
    if point.failed and not point.requests:  # of requests that are told one by one it is said anyway
        notes.append(f"{point.failed} of {point.counts.requests} requests failed or were cut off; the energy spent on them is in")
    length_s = window[1] - window[0]
    if abs(length_s / point.duration_s - 1) > LENGTH_DIFFERS:
        notes.append(f"the window is {length_s:.4g} s long, {point.tool} says {point.duration_s:.4g} s: rates here are over the window")
    if point.goodput is not None:
        notes.append(
            f"goodput is {point.tool}'s, by limits of its own: which requests met them isn't told, so there are no accepted tokens"
        )
    return notes
