"""What ``vllm bench serve`` saves: ``--save-result`` gives sums, ``--save-detailed`` every request.

Source (vLLM 0.33.0): ``benchmarks/serve.py`` and ``benchmarks/lib/endpoint_request_func.py``. ``date`` is the client's local time when the
result was put together, in whole seconds; ``duration`` runs from just before the first request to the last reply. ``start_times`` are
``time.perf_counter()`` of the client. ``ttfts`` end at the first chunk with output and ``latencies`` at the last; ``itls`` are the gaps
between chunks, which are no tokens; ``tpot`` is (latency - TTFT) / (tokens - 1), as ours. Failed requests have 0 output tokens.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

from pytest_tpf.engines.protocol import Request
from pytest_tpf.imported.clock import unix_s
from pytest_tpf.imported.fields import Fields, NotUsable
from pytest_tpf.imported.point import Placed, Point, Times
from pytest_tpf.judge.statistics import distribution
from pytest_tpf.observation import Counts
from pytest_tpf.records import Goodput, Latency, Load, record

TOOL = "vllm bench"

WRITTEN_WITHIN_S = 2.0
"""How long after the last reply ``date`` is taken at most: metrics are computed and printed in between. Our assumption."""
_DATE_STEP_S = 1.0
_CHAT = ("openai-chat", "vllm-chat")
_ROLE_ONLY = (
    "vLLM bench up to 0.32 ends TTFT at a chat's first chunk, which may hold a role and no token: TTFT may be too short by the whole "
    "prefill and TPOT too long; the file doesn't say which version wrote it"
)
_BY_TOKENIZER = "of replies without usage vLLM bench counts the tokens with its own tokenizer, and the file doesn't say so"


def is_result(document: Fields) -> bool:
    """Whether this is a result of ``vllm bench serve``."""
    return all(name in document for name in ("date", "backend", "model_id", "duration", "completed"))


@record
class _Seen:
    """The requests that succeeded, one after the other: times (s), and the times of their chunks after the first."""

    ttft_s: Sequence[float]
    e2e_s: Sequence[float]
    gaps_s: Sequence[Sequence[float]]
    output_tokens: Sequence[int]
    prompt_tokens: Sequence[int]
    start_s: Sequence[float] | None


def point(document: Fields, ahead_s: float) -> Point:
    """The benchmark that the result is about. ``ahead_s``: Unix time less ``perf_counter`` on this machine. Raises NotUsable."""
    if "total_output_tokens" not in document:
        raise NotUsable("$ has no total_output_tokens: this benchmark generated nothing (embeddings?)")
    completed, duration_s = document.count("completed") or 0, document.time_s("duration") or 0.0
    if duration_s <= 0:
        raise document.refuse("duration", "is 0")
    failed = document.count("failed")
    failed = max((document.count("num_prompts") or completed) - completed, 0) if failed is None else failed
    seen = _seen(document, completed)
    placed, remark = _placed(document, duration_s, ahead_s)
    return Point(
        tool=TOOL,
        version=None,
        name=document.text("label") or document.text("backend") or "",
        model=document.text("model_id"),
        placed=placed,
        duration_s=duration_s,
        counts=Counts(
            output_tokens=document.count("total_output_tokens") or 0,
            prompt_tokens=document.count("total_input_tokens"),
            requests=completed + failed,
        ),
        failed=failed,
        token_source="usage",
        requests=_requests(seen, failed) if seen is not None and seen.start_s is not None else (),
        times=_times(document, seen, completed),
        latency=_latency(document),
        goodput=_goodput(document, completed + failed, duration_s),
        load=_load(document, completed, failed, duration_s),
        finished=completed > 0,
        params={name: str(document.members[name]) for name in ("request_rate", "max_concurrency") if name in document},
        warnings=(*remark, *_warnings(document, seen)),
    )


def _placed(document: Fields, duration_s: float, ahead_s: float) -> tuple[Placed, list[str]]:
    """By ``start_times`` where they are this machine's clock since it was started, else by ``date``, which is known to a second."""
    written_s = unix_s(document.text("date") or "", "%Y%m%d-%H%M%S")
    if written_s is None:
        raise document.refuse("date", "is not a time such as 20260131-235959")
    starts = document.numbers("start_times")
    if starts:
        end_s = min(starts) + ahead_s + duration_s
        if written_s - WRITTEN_WITHIN_S <= end_s <= written_s + _DATE_STEP_S:
            return Placed(start_s=end_s - duration_s, end_s=end_s), []
    misplaced_s = 0.5 * (WRITTEN_WITHIN_S + _DATE_STEP_S)
    end_s = written_s + _DATE_STEP_S - misplaced_s
    remark = (
        f"when it ran is known to {misplaced_s:g} s only: vLLM bench writes the date of its result, in whole seconds of the client's local "
        f"time, which is taken as this machine's (--start or --end says it exactly)"
    )
    return Placed(start_s=end_s - duration_s, end_s=end_s, misplaced_s=misplaced_s), [remark]


def _seen(document: Fields, completed: int) -> _Seen | None:
    """The requests of ``--save-detailed``; None where the file has sums alone."""
    ttfts, gaps, outputs = document.numbers("ttfts"), document.rows_of_numbers("itls"), document.counts("output_lens")
    prompts, errors = document.counts("input_lens"), document.array("errors")
    if ttfts is None or gaps is None or outputs is None or prompts is None or errors is None:
        return None
    ends, starts = document.numbers("latencies"), document.numbers("start_times")
    for name in ("itls", "output_lens", "input_lens", "errors", "latencies", "start_times"):
        found = document.array(name)
        if found is not None and len(found) != len(ttfts):
            raise document.refuse(name, f"has {len(found)} entries where ttfts has {len(ttfts)}")
    good = [index for index, error in enumerate(errors) if not error]
    if len(good) != completed:
        raise document.refuse("errors", f"leaves {len(good)} requests where completed is {completed}")
    if (total := sum(outputs[index] for index in good)) != document.count("total_output_tokens"):
        raise document.refuse("output_lens", f"adds up to {total} where total_output_tokens says something else")
    whole = ends or [math.fsum((first, *rest)) for first, rest in zip(ttfts, gaps, strict=True)]  # latencies came later than ttfts
    return _Seen(
        ttft_s=[ttfts[index] for index in good],
        e2e_s=[whole[index] for index in good],
        gaps_s=[gaps[index] for index in good],
        output_tokens=[outputs[index] for index in good],
        prompt_tokens=[prompts[index] for index in good],
        start_s=None if starts is None else [starts[index] for index in good],
    )


def _requests(seen: _Seen, failed: int) -> tuple[Request, ...]:
    """In seconds from the start: the first one was sent when the benchmark began. Those that failed have no times and no tokens."""
    first_s = min(seen.start_s or (0.0,))
    rows = zip(seen.start_s or (), seen.ttft_s, seen.e2e_s, seen.gaps_s, seen.output_tokens, seen.prompt_tokens, strict=True)
    requests = []
    for start_s, ttft_s, e2e_s, gaps_s, output_tokens, prompt_tokens in rows:
        at_s = start_s - first_s
        chunks_s = itertools.accumulate((at_s + ttft_s, *gaps_s))
        requests.append(
            Request(
                start_s=at_s,
                end_s=at_s + max(e2e_s, ttft_s),
                prompt_tokens=prompt_tokens,
                output_tokens=output_tokens,
                first_token_s=at_s + ttft_s,
                chunk_times_s=tuple(chunks_s),
            )
        )
    lost = Request(start_s=0.0, end_s=0.0, prompt_tokens=0, output_tokens=0, complete=False)
    return (*requests, *(lost for _ in range(failed)))


def _times(document: Fields, seen: _Seen | None, completed: int) -> Times:
    if seen is None:
        ends_s = [end_s for end_s in document.numbers("latencies") or () if end_s > 0]  # that of a request that failed is mostly 0
        return Times(e2e_s=distribution(ends_s) if len(ends_s) == completed else None)
    rows = zip(seen.ttft_s, seen.e2e_s, seen.output_tokens, strict=True)
    return Times(
        ttft_s=distribution(seen.ttft_s),
        tpot_s=distribution([max(e2e_s - ttft_s, 0.0) / (tokens - 1) for ttft_s, e2e_s, tokens in rows if tokens > 1]),
        inter_chunk_s=distribution([gap for gaps in seen.gaps_s for gap in gaps]),
        e2e_s=distribution(seen.e2e_s),
    )


def _latency(document: Fields) -> Latency:
    """Medians and 95th percentiles that stand in the file as they are."""

    def of(name: str) -> tuple[float | None, float | None]:
        return document.time_s(f"median_{name}_ms", 1e-3), document.time_s(f"p95_{name}_ms", 1e-3)

    (e2e_p50, e2e_p95), (ttft_p50, ttft_p95), (tpot_p50, tpot_p95) = of("e2el"), of("ttft"), of("tpot")
    return Latency(e2e_p50_s=e2e_p50, e2e_p95_s=e2e_p95, ttft_p50_s=ttft_p50, ttft_p95_s=ttft_p95, tpot_p50_s=tpot_p50, tpot_p95_s=tpot_p95)


def _goodput(document: Fields, attempted: int, duration_s: float) -> Goodput | None:
    rate = document.number("request_goodput", most=1e9)
    if rate is None:
        return None
    good = round(rate * duration_s)
    if good > attempted:
        raise document.refuse("request_goodput", f"gives {good} good requests out of {attempted}")
    return Goodput(requests_per_second=rate, good=good, attempted=attempted)


def _load(document: Fields, completed: int, failed: int, duration_s: float) -> Load:
    is_unlimited = document.members.get("request_rate") in ("inf", None)
    concurrency = document.count("max_concurrency") or None
    return Load(
        mode="closed" if is_unlimited and concurrency else "open",
        requests=completed + failed,
        failed=failed,
        concurrency=concurrency,
        arrival="poisson" if not is_unlimited and document.number("burstiness") == 1 else None,
        offered_requests_per_second=None if is_unlimited else document.number("request_rate"),
        achieved_requests_per_second=(completed + failed) / duration_s,
    )


def _warnings(document: Fields, seen: _Seen | None) -> Iterator[str]:
    has_ttft = seen is not None or any(name.endswith("_ttft_ms") for name in document.members)
    if has_ttft and document.text("backend") in _CHAT:
        yield _ROLE_ONLY
    yield _BY_TOKENIZER
    if seen is None:
        yield "the file has no times of single requests, so no distributions of TTFT and TPOT: run vllm bench serve with --save-detailed"
