"""AIPerf's ``profile_export_aiperf.json``: sums and distributions over the requests that succeeded.

Sources (AIPerf 0.13.0, export schema 1.4): ``common/models/export_models.py``, ``exporters/metrics_json_exporter.py`` and
``metrics/types``. ``start_time`` and ``end_time`` are the profiling phase (without its warm-up), from its start to its last reply, as local
times without a zone. ``time_to_first_token`` ends with the first content, reasoning included, and ``request_latency`` with the last;
``inter_token_latency`` is one figure a request, (latency - TTFT) / (tokens - 1), which is our TPOT; ``inter_chunk_latency`` are the gaps
between chunks. Tokens are counted by the client's tokenizer unless ``use_server_token_count``; ``usage_*`` are the server's.
"""

from __future__ import annotations

from collections.abc import Iterator

from pytest_tpf.imported.clock import has_zone, unix_s
from pytest_tpf.imported.fields import LONGEST_TIME_S, Fields, NotUsable
from pytest_tpf.imported.point import Placed, Point, Times
from pytest_tpf.observation import Counts
from pytest_tpf.records import Distribution, Goodput, Load, TokenSource

TOOL = "aiperf"

_SECONDS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "sec": 1.0, "s": 1.0, "seconds": 1.0}
_RATES = {"poisson": "poisson", "constant": "constant", "gamma": None}


def is_export(document: Fields) -> bool:
    """Whether this is one of AIPerf's summaries."""
    return "aiperf_version" in document or ("input_config" in document and isinstance(document.members.get("request_latency"), dict))


def point(document: Fields) -> Point:
    """The run that the summary is about. Raises NotUsable."""
    completed, failed = _total(document, "request_count") or 0, _total(document, "error_request_count") or 0
    counts, token_source, remarks = _tokens(document, completed, failed)
    placed = _placed(document)
    duration_s = document.within("benchmark_duration")
    length_s = _in_seconds(duration_s, "avg") if "avg" in duration_s else None
    if placed is None and length_s is None:
        raise NotUsable("$ has neither start_time and end_time nor benchmark_duration: how long it took isn't known")
    finished = document.flag("was_cancelled") is not True and document.flag("is_complete") is not False
    return Point(
        tool=TOOL,
        version=document.text("aiperf_version"),
        name=document.within("run_info").text("run_label") or "",
        model=_model(document),
        placed=placed,
        duration_s=length_s if length_s is not None else placed.end_s - placed.start_s if placed is not None else 0.0,
        counts=counts,
        failed=failed,
        token_source=token_source,
        times=Times(
            ttft_s=_distribution(document, "time_to_first_token"),
            tpot_s=_distribution(document, "inter_token_latency"),
            inter_chunk_s=_distribution(document, "inter_chunk_latency"),
            e2e_s=_distribution(document, "request_latency"),
        ),
        goodput=_goodput(document, completed + failed),
        load=_load(document, completed, failed, length_s),
        finished=finished and completed > 0,
        params={key: str(value) for key, value in document.within("run_info").within("variation_values").members.items()},
        reasoning_tokens=_total(document, "total_reasoning_tokens"),
        warnings=(*remarks, *_warnings(document, finished=finished)),
    )


def _model(document: Fields) -> str | None:
    names = [name for item in document.within("input_config").within("models").objects("items") if (name := item.text("name"))]
    return "+".join(names) or None


def _placed(document: Fields) -> Placed | None:
    ends = [document.text(name) for name in ("start_time", "end_time")]
    start_s, end_s = (None if text is None else unix_s(text) for text in ends)
    for name, text, at_s in zip(("start_time", "end_time"), ends, (start_s, end_s), strict=True):
        if text is not None and at_s is None:
            raise document.refuse(name, "is not a time")
    if start_s is None or end_s is None:
        return None
    if end_s <= start_s:
        raise document.refuse("end_time", "is not after start_time")
    return Placed(start_s=start_s, end_s=end_s)


def _tokens(document: Fields, completed: int, failed: int) -> tuple[Counts, TokenSource, list[str]]:
    """The server's own counts where every reply had them, else the client's."""
    counted, told = _total(document, "total_osl"), _total(document, "total_usage_completion_tokens")
    counted = _sum(document, "output_sequence_length") if counted is None else counted
    from_usage = document.within("usage_completion_tokens").count("count")
    by_server = document.within("input_config").within("endpoint").flag("use_server_token_count") is True
    if told is not None and completed and from_usage == completed:
        prompts = _total(document, "total_usage_prompt_tokens")
        differ = f"TPOT is by the client's tokenizer, which counted {counted} output tokens; the server told {told}, which stand here"
        remarks = [differ] if counted is not None and counted != told else []
        return Counts(output_tokens=told, prompt_tokens=prompts, requests=completed + failed), "usage", remarks
    prompts = _total(document, "total_isl")
    prompts = _sum(document, "input_sequence_length") if prompts is None else prompts
    source: TokenSource = "usage" if by_server else "tokenizer"
    return Counts(output_tokens=counted or 0, prompt_tokens=prompts, requests=completed + failed), source, []


def _total(document: Fields, name: str) -> int | None:
    """A metric that is one number stands under ``avg``."""
    return document.within(name).count("avg")


def _sum(document: Fields, name: str) -> int | None:
    return document.within(name).count("sum")


def _in_seconds(metric: Fields, name: str) -> float:
    unit = metric.text("unit")
    if unit not in _SECONDS:
        raise metric.refuse("unit", f"is no unit of time that is known ({', '.join(_SECONDS)})")
    value = metric.time_s(name, _SECONDS[unit])
    if value is None:
        raise metric.refuse(name, "is missing")
    return value


def _distribution(document: Fields, name: str) -> Distribution | None:
    """None where the metric isn't there, or a figure of it; ``_warnings`` says so."""
    metric = document.within(name)
    if not metric.members or _lacks(metric):
        return None
    return Distribution(
        count=metric.count("count") or 0,
        mean=_in_seconds(metric, "avg"),
        p50=_in_seconds(metric, "p50"),
        p95=_in_seconds(metric, "p95"),
        p99=_in_seconds(metric, "p99"),
        min=_in_seconds(metric, "min"),
        max=_in_seconds(metric, "max"),
    )


def _lacks(metric: Fields) -> list[str]:
    missing = [name for name in ("count", "avg", "p50", "p95", "p99", "min", "max") if name not in metric]
    return missing or (["count"] if metric.count("count") == 0 else [])


def _goodput(document: Fields, attempted: int) -> Goodput | None:
    good, rate = _total(document, "good_request_count"), document.within("goodput").number("avg", most=1e9)
    if good is None or rate is None:
        return None
    if good > attempted:
        raise document.within("good_request_count").refuse("avg", f"is more than the {attempted} requests")
    return Goodput(requests_per_second=rate, good=good, attempted=attempted)


def _load(document: Fields, completed: int, failed: int, length_s: float | None) -> Load | None:
    phases = [p for p in document.within("input_config").objects("phases") if (p.text("kind") or p.text("name")) == "profiling"]
    if len(phases) != 1:
        return None
    phase, kind = phases[0], phases[0].text("type")
    if kind != "concurrency" and kind not in _RATES:
        return None
    arrival = None if kind is None else _RATES.get(kind)
    return Load(
        mode="closed" if kind == "concurrency" else "open",
        requests=completed + failed,
        failed=failed,
        concurrency=phase.count("concurrency") or None,
        arrival="poisson" if arrival == "poisson" else "constant" if arrival == "constant" else None,
        offered_requests_per_second=None if kind == "concurrency" else phase.number("rate", most=LONGEST_TIME_S),
        achieved_requests_per_second=(completed + failed) / length_s if length_s else None,
    )


def _warnings(document: Fields, *, finished: bool) -> Iterator[str]:
    if not finished:
        why = document.text("incomplete_reason") or ("it was cancelled" if document.flag("was_cancelled") else "no reason given")
        yield f"AIPerf did not finish the run: {why}"
    for name in ("time_to_first_token", "inter_token_latency", "inter_chunk_latency", "request_latency"):
        metric = document.within(name)
        if metric.members and (missing := _lacks(metric)):
            yield f"{name} is left out: AIPerf's file has no {', '.join(missing)} of it"
    if document.within("input_config").within("endpoint").flag("per_chunk_usage"):
        yield "TPOT leaves out all tokens of the first chunk (per_chunk_usage), not just the first token"
    start = document.text("start_time")
    if start is not None and not has_zone(start):
        yield "AIPerf writes times without their zone: they are taken as this machine's local time (--start says otherwise)"
