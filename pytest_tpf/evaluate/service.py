"""How fast it was: times and goodput from the requests of all rounds. Pure."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

from pytest_tpf.evaluate.acceptance import accepted_requests
from pytest_tpf.evaluate.requests import requests_of, tally, tpot_s, ttft_s, whole_times_s
from pytest_tpf.judge.statistics import distribution
from pytest_tpf.markers import Marker
from pytest_tpf.observation import MeasuredRound, Observation, busy_spans, counted_spans, length_s
from pytest_tpf.records import Distribution, Goodput, Load, Service


def describe_service(observation: Observation, marker: Marker, load: Load | None = None) -> Service:
    """The service times over all rounds, and goodput where requests were observed or sent by a load.

    The times are those of the server; where a ``load``'s client was late they aren't, and are None.
    """
    duration_s = length_s(counted_spans(observation))
    tokens = tally(observation.rounds).output_tokens
    plain = Service(
        duration_s=duration_s,
        busy_s=length_s(busy_spans(observation.rounds)) if any(r.generations for r in observation.rounds) else None,
        tokens_per_second=tokens / duration_s if duration_s > 0 else None,
        load=load,
    )
    return plain if load is not None and load.is_late else _with_times(plain, observation, marker)


def _with_times(plain: Service, observation: Observation, marker: Marker) -> Service:
    requests = requests_of(observation.rounds)
    good = accepted_requests(observation, marker)
    return dataclasses.replace(
        plain,
        ttft_s=distribution([t for t in map(ttft_s, requests) if t is not None]),
        tpot_s=distribution([t for t in map(tpot_s, requests) if t is not None]),
        inter_chunk_s=distribution([b - a for r in requests for a, b in itertools.pairwise(r.chunk_times_s)]),
        e2e_s=_end_to_end(observation.rounds),
        goodput=Goodput(requests_per_second=sum(good) / plain.duration_s, good=sum(good), attempted=len(good))
        if good and plain.duration_s > 0
        else None,
    )


def _end_to_end(rounds: Sequence[MeasuredRound]) -> Distribution | None:
    """Requests that came to their end; where none was seen, windows in which exactly one request was declared."""
    if requests_of(rounds) or any(one.load for one in rounds):
        return distribution([time_s for one in rounds for time_s in whole_times_s(one)])
    return distribution([r.end_s - r.start_s for r in rounds if r.calls == 1 and sum(c.requests for c in r.declared) == 1])
