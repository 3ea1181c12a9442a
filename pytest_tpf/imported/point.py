"""One benchmark as some tool reported it, in our terms: what every tool's module makes and ``rows`` takes. Data only."""

from __future__ import annotations

import dataclasses

from pytest_tpf.engines.protocol import Request
from pytest_tpf.observation import Counts
from pytest_tpf.records import Distribution, Goodput, Latency, Load, TokenSource, record


@record
class Placed:
    """When a benchmark ran (Unix seconds). ``misplaced_s``: by how much it may have been earlier or later as a whole."""

    start_s: float
    end_s: float
    misplaced_s: float = 0.0


@record
class Times:
    """Distributions of times (s) that the tool computed and that mean what ours do; None where it has none that does."""

    ttft_s: Distribution | None = None
    tpot_s: Distribution | None = None
    inter_chunk_s: Distribution | None = None
    e2e_s: Distribution | None = None


@record
class Point:
    """One benchmark. ``name`` tells it from the others of its file; ``duration_s`` is the time that the tool's own rates are over.

    ``requests``: one by one, in seconds from its start, where the tool tells all of them; else ``counts`` and ``times`` are its sums, and
    ``latency`` the quantiles that it gives without a distribution. ``failed`` of the requests failed or were cut off. ``finished`` is False
    where the benchmark itself was broken off, or nothing came of it.
    """

    tool: str
    version: str | None
    name: str
    model: str | None
    placed: Placed | None
    duration_s: float
    counts: Counts
    failed: int
    token_source: TokenSource
    requests: tuple[Request, ...] = ()
    times: Times = Times()
    latency: Latency = Latency()
    goodput: Goodput | None = None
    load: Load | None = None
    finished: bool = True
    params: dict[str, str] = dataclasses.field(default_factory=dict)
    reasoning_tokens: int | None = None
    warnings: tuple[str, ...] = ()
