"""GuideLLM's ``benchmarks.json``: one benchmark for each strategy that was run, with its requests one by one.

Source (GuideLLM 0.8.1): ``schemas/base/request_stats.py``, ``schemas/base/response.py`` and ``benchmark/schemas``. All times are Unix
seconds. ``start_time`` and ``end_time`` are the measured part, without warm-up and cool-down; ``requests`` holds all requests, also those
outside it, and only a sample where one was asked for. Its sums are over requests that overlap the measured part, and so are ours. TTFT ends
with the first token of any channel; ``inter_token_latency_ms`` is (last - first token) / (tokens - 1), as our TPOT, while
``time_per_output_token_ms`` includes the TTFT. In its own distributions the former is weighted by tokens, and a missing time is 0.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from pytest_tpf.engines.protocol import Request
from pytest_tpf.imported.fields import MOST_TOKENS, Fields
from pytest_tpf.imported.point import Placed, Point, Times
from pytest_tpf.observation import Counts
from pytest_tpf.records import Distribution, Goodput, Load, TokenSource
from pytest_tpf.report.errors import ReportError
from pytest_tpf.report.stream import parse_json

TOOL = "guidellm"
BENCHMARKS = "benchmarks"
"""The report's member that holds them."""

_SLACK_S = 0.001  # the last request's end and the measured part's are read one after the other
_STATUSES = ("successful", "incomplete", "errored")


def is_report(document: Fields) -> bool:
    """Whether this is one of GuideLLM's reports."""
    return "metadata" in document and isinstance(document.members.get(BENCHMARKS), list)


def named(point: Point, document: Fields) -> Point:
    """A benchmark of the report with what the report says of all of them."""
    model = document.within("config").within("spec").within("backend").text("model")
    return dataclasses.replace(point, version=document.within("metadata").text("guidellm_version"), model=model or point.model)


def point(benchmark: Fields, number: int) -> Point:
    """One benchmark of a report. Raises NotUsable."""
    placed = _placed(benchmark)
    totals = benchmark.within("metrics").within("request_totals")
    counted = {status: totals.count(status) or 0 for status in _STATUSES}
    rows = {status: _overlapping(benchmark, status, placed) for status in _STATUSES}
    is_whole = all(len(rows[status]) == counted[status] for status in _STATUSES)
    strategy = benchmark.within("config").within("strategy")
    total, failed = sum(counted.values()), counted["incomplete"] + counted["errored"]
    requests = [_request(row, status, placed) for status in _STATUSES for row in rows[status]] if is_whole else []
    prefers_usage = benchmark.within("config").flag("prefer_response_metrics") is not False
    return Point(
        tool=TOOL,
        version=None,
        name=f"{number} {strategy.text('type_') or ''}".strip(),
        model=next((name for name in map(_asked_for, rows["successful"]) if name), None),
        placed=placed,
        duration_s=placed.end_s - placed.start_s,
        counts=_counts(benchmark, requests, total),
        failed=failed,
        token_source=_token_source([row for found in rows.values() for row in found], prefers_usage=prefers_usage),
        requests=tuple(requests),
        times=_times(benchmark),
        goodput=_goodput(benchmark, placed.end_s - placed.start_s),
        load=_load(strategy, total, failed, placed.end_s - placed.start_s),
        finished=counted["successful"] > 0,
        params=_params(strategy),
        warnings=tuple(_warnings(benchmark, rows, is_whole=is_whole)),
    )


def _placed(benchmark: Fields) -> Placed:
    start_s, end_s = benchmark.number("start_time", most=1e11), benchmark.number("end_time", most=1e11)
    if start_s is None or end_s is None:
        raise benchmark.refuse("start_time" if start_s is None else "end_time", "is missing")
    if end_s <= start_s:
        raise benchmark.refuse("end_time", "is not after start_time")
    return Placed(start_s=start_s, end_s=end_s)


def _overlapping(benchmark: Fields, status: str, placed: Placed) -> list[Fields]:
    """The requests of one status that overlap the measured part, as GuideLLM selects them for its own figures."""
    return [row for row in benchmark.within("requests").objects(status) if _overlaps(row, placed)]


def _overlaps(row: Fields, placed: Placed) -> bool:
    end_s = row.number("request_end_time", most=1e11)
    if end_s is None:
        return False
    start_s = row.number("request_start_time", most=1e11)
    return end_s >= placed.start_s and (end_s if start_s is None else start_s) <= placed.end_s


def _request(row: Fields, status: str, placed: Placed) -> Request:
    timings = row.within("info").within("timings")
    end_s = row.number("request_end_time", most=1e11) or 0.0
    start_s = row.number("request_start_time", most=1e11)
    first_s, last_s = timings.number("first_token_iteration", most=1e11), timings.number("last_token_iteration", most=1e11)
    start_s = end_s if start_s is None else start_s
    # The last token ends a request, as everywhere here; GuideLLM's request_latency goes on until the stream is closed.
    end_s = end_s if last_s is None else last_s
    if not start_s <= (start_s if first_s is None else first_s) <= end_s:
        raise row.refuse("info", "holds times that are not in order")
    return Request(
        start_s=start_s - placed.start_s,
        end_s=end_s - placed.start_s,
        prompt_tokens=row.count("prompt_tokens") if status == "successful" else row.count("prompt_tokens") or 0,
        output_tokens=row.count("output_tokens") or 0,
        first_token_s=None if first_s is None else first_s - placed.start_s,
        complete=None if status == "successful" else False,
        cached_tokens=row.count("cached_tokens"),
    )


def _counts(benchmark: Fields, requests: Sequence[Request], total: int) -> Counts:
    if requests:
        prompts = [request.prompt_tokens for request in requests]
        known = [tokens for tokens in prompts if tokens is not None]
        return Counts(
            output_tokens=sum(request.output_tokens for request in requests),
            prompt_tokens=sum(known) if len(known) == len(prompts) else None,
            requests=total,
        )
    metrics = benchmark.within("metrics")
    output, prompt = (_sum(metrics.within(name).within("total")) for name in ("output_token_count", "prompt_token_count"))
    return Counts(output_tokens=output or 0, prompt_tokens=prompt, requests=total)


def _sum(found: Fields) -> int | None:
    """GuideLLM adds up in floats: 110.99999999999999 tokens are 111."""
    value = found.number("total_sum", most=MOST_TOKENS)
    return None if value is None else round(value)


def _token_source(rows: Sequence[Fields], *, prefers_usage: bool) -> TokenSource:
    """Without usage GuideLLM counts events of the stream, or takes the length that the data asked for."""
    if any(row.within("output_metrics").count("total_tokens") is None and row.count("output_tokens") for row in rows):
        return "chunks"
    return "usage" if prefers_usage else "declared"


def _asked_for(row: Fields) -> str | None:
    """The model that a request names, where the run's configuration leaves it to the server."""
    try:
        asked = parse_json((row.text("request_args") or "null").encode())
    except ReportError:
        return None
    return Fields(asked).within("body").text("model") if isinstance(asked, dict) else None


def _times(benchmark: Fields) -> Times:
    """Of a report with a sample of the requests: what its own distributions tell."""
    metrics = benchmark.within("metrics")
    ttft_s = _distribution(metrics.within("time_to_first_token_ms").within("successful"), 1e-3)
    return Times(
        ttft_s=ttft_s if ttft_s is not None and ttft_s.min > 0 else None,
        e2e_s=_distribution(metrics.within("request_latency").within("successful"), 1.0),
    )


def _distribution(found: Fields, scale: float) -> Distribution | None:
    quantiles = found.within("percentiles")
    mean, least, most = (found.time_s(name, scale) for name in ("mean", "min", "max"))
    p50, p95, p99 = (quantiles.time_s(name, scale) for name in ("p50", "p95", "p99"))
    count = found.count("count")
    if not count or mean is None or p50 is None or p95 is None or p99 is None or least is None or most is None:
        return None
    return Distribution(count=count, mean=mean, p50=p50, p95=p95, p99=p99, min=least, max=most)


def _goodput(benchmark: Fields, duration_s: float) -> Goodput | None:
    metrics = benchmark.within("metrics")
    share, determined = metrics.number("slo_attainment", most=1.0), metrics.count("slo_determined_requests")
    if share is None or not determined:
        return None
    good = round(share * determined)
    return Goodput(requests_per_second=good / duration_s, good=good, attempted=determined)


def _load(strategy: Fields, total: int, failed: int, duration_s: float) -> Load | None:
    kind = strategy.text("type_")
    if kind not in ("synchronous", "concurrent", "throughput", "constant", "poisson"):
        return None
    streams = strategy.count("streams") if kind == "concurrent" else 1 if kind == "synchronous" else strategy.count("max_concurrency")
    return Load(
        mode="open" if kind in ("constant", "poisson") else "closed",
        requests=total,
        failed=failed,
        concurrency=streams or None,
        arrival="constant" if kind == "constant" else "poisson" if kind == "poisson" else None,
        offered_requests_per_second=strategy.number("rate"),
        achieved_requests_per_second=total / duration_s,
    )


def _params(strategy: Fields) -> dict[str, str]:
    return {name: str(strategy.members[name]) for name in ("type_", "streams", "rate", "max_concurrency") if name in strategy}


def _warnings(benchmark: Fields, rows: dict[str, list[Fields]], *, is_whole: bool) -> Iterator[str]:
    if not is_whole:
        yield (
            "the report holds a sample of the requests: times are GuideLLM's own distributions, whose quantiles don't interpolate; it "
            "weights that of inter_token_latency_ms by tokens, so there is no TPOT (keep all requests: without sample_size)"
        )
    placed = _placed(benchmark)
    inside_s, outside_s = _times_inside_and_outside([row for found in rows.values() for row in found], placed)
    if outside_s > _SLACK_S:
        yield (
            "requests that reach into the warm-up or the cool-down are counted whole, as GuideLLM does, while the energy is that of the "
            f"measured part alone: {outside_s / (inside_s + outside_s):.1%} of the requests' time lies outside, and J/token may be too low "
            "by as much"
        )
    if rows["incomplete"]:
        yield f"{len(rows['incomplete'])} requests were cut off when the benchmark ended; tokens they had made are counted"


def _times_inside_and_outside(rows: Sequence[Fields], placed: Placed) -> tuple[float, float]:
    """How long the requests were under way in the measured part, and beside it (s)."""
    inside_s = whole_s = 0.0
    for row in rows:
        end_s = row.number("request_end_time", most=1e11) or placed.start_s
        start_s = row.number("request_start_time", most=1e11)
        start_s = end_s if start_s is None else start_s
        whole_s += end_s - start_s
        inside_s += max(min(end_s, placed.end_s) - max(start_s, placed.start_s), 0.0)
    return inside_s, whole_s - inside_s
