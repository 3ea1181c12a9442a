"""Observes Hugging Face transformers: every outermost ``model.generate`` of this process is one ``Generation``.

Three methods of ``GenerationMixin`` are replaced while the context is open. ``generate`` is public and draws the span. The other two
are private and only listened to: ``_get_logits_processor`` is told the prompt as ``generate`` resolved it, ``_get_stopping_criteria``
returns the list that becomes the step clock. Where a version of transformers lacks them, the counts come from the returned ids alone
and a note says that the steps were not timed. What ``generate`` returns, raises and draws from random generators stays as it was.
"""

from __future__ import annotations

import functools
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from pytest_tpf.engines._call import Call, requests_of_call
from pytest_tpf.engines._clock import StepMarks, Steps, clocked
from pytest_tpf.engines._describe import Describer, device_name
from pytest_tpf.engines._replaced import replaced
from pytest_tpf.engines.protocol import Generation, Sink
from pytest_tpf.records import Model

_NOT_TIMED = "transformers: the steps were not timed (this decoding doesn't use the usual stopping criteria), so there is no TTFT"
_NOT_COUNTED = (
    "transformers: the output tokens of a {model} call could not be counted ({why}); count them with tpf.count(output_tokens=...)"
)


class TransformersEngine:
    """Engine ``transformers``: PyTorch models that generate with ``GenerationMixin.generate``, on the CPU or on CUDA."""

    name = "transformers"
    module = "transformers.generation.utils"

    def __init__(self) -> None:
        self._describe = Describer()

    @contextmanager
    def observe(self, sink: Sink) -> Iterator[None]:
        """Send each generation to ``sink`` until the context closes. Does nothing while transformers isn't imported."""
        mixin = getattr(sys.modules.get(self.module), "GenerationMixin", None)
        if mixin is None:
            yield
            return
        observer = _Observer(self._describe, sink)
        with ExitStack() as stack:
            for name, around in observer.wrappers().items():
                if name in vars(mixin):
                    stack.enter_context(replaced(mixin, name, around))
            yield

    def synchronize(self) -> None:
        """Wait for every CUDA device that this process has used; no other device is touched (that would take memory on it)."""
        torch = sys.modules.get("torch")
        if torch is None or not torch.cuda.is_initialized():
            return
        for index in range(torch.cuda.device_count()):
            if torch.cuda.memory_reserved(index) > 0:
                torch.cuda.synchronize(index)


class _Observer:
    """The wrappers and, for each thread, the call they are in."""

    def __init__(self, describe: Describer, sink: Sink) -> None:
        self._describe = describe
        self._sink = sink
        self._thread = threading.local()

    def wrappers(self) -> dict[str, Any]:
        return {
            "generate": self._around_generate,
            "_get_logits_processor": self._around_logits_processor,
            "_get_stopping_criteria": self._around_stopping_criteria,
        }

    def _current(self, model: Any) -> Call | None:
        call: Call | None = getattr(self._thread, "call", None)
        # An assistant or an encoder that generates inside the call is another model, or comes after the clock was set.
        return call if call is not None and call.model is model and call.marks is None else None

    def _around_generate(self, original: Any) -> Any:
        @functools.wraps(original)
        def generate(model: Any, *args: Any, **kwargs: Any) -> Any:
            if getattr(self._thread, "call", None) is not None:
                return original(model, *args, **kwargs)
            return self._observed(original, model, args, kwargs)

        return generate

    def _observed(self, original: Any, model: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        call = self._thread.call = Call(model, kwargs)
        result = None
        returned = False
        try:
            _wait_for(call.device)
            call.start_s = time.perf_counter()
            result = original(model, *args, **kwargs)
            _wait_for(call.device)
            returned = True
            return result
        finally:
            call.end_s = time.perf_counter()
            self._thread.call = None
            if returned or call.marks is not None:  # a call refused before its first step made no work to speak of
                self._send(call, result, returned)

    def _around_logits_processor(self, original: Any) -> Any:
        @functools.wraps(original)
        def get_logits_processor(model: Any, *args: Any, **kwargs: Any) -> Any:
            call = self._current(model)
            if call is not None:
                call.start_length = kwargs.get("input_ids_seq_length")
                call.inputs = kwargs.get("encoder_input_ids")
            return original(model, *args, **kwargs)

        return get_logits_processor

    def _around_stopping_criteria(self, original: Any) -> Any:
        @functools.wraps(original)
        def get_stopping_criteria(model: Any, *args: Any, **kwargs: Any) -> Any:
            criteria = original(model, *args, **kwargs)
            call = self._current(model)
            if call is None:
                return criteria
            call.config = kwargs.get("generation_config", args[0] if args else None)
            call.marks = StepMarks(call.device)
            return clocked(criteria, call.marks)

        return get_stopping_criteria

    def _send(self, call: Call, result: Any, returned: bool) -> None:
        try:
            generation = self._generation(call, result, returned)
        except Exception as error:  # an exotic model must not fail for being observed: it is said, and nothing is counted
            name = type(call.model).__name__
            generation = Generation(
                engine=TransformersEngine.name,
                model=Model(name=name),
                start_s=call.start_s,
                end_s=call.end_s,
                requests=(),
                token_source="engine",
                notes=(_NOT_COUNTED.format(model=name, why=f"{type(error).__name__}: {error}"),),
            )
        self._sink(generation)

    def _generation(self, call: Call, result: Any, returned: bool) -> Generation:
        steps = call.marks.resolve() if call.marks is not None else Steps()
        description = self._describe(call.model)
        return Generation(
            engine=TransformersEngine.name,
            model=description.model,
            start_s=call.start_s,
            end_s=call.end_s,
            requests=requests_of_call(call, steps, result, returned),
            token_source="engine",
            first_token_s=steps.times_s[0] if steps.times_s else None,
            config=description.config,
            device=device_name(call.device),
            notes=() if steps.times_s or not returned else (_NOT_TIMED,),
        )


def _wait_for(device: Any) -> None:
    if device.type == "cuda":
        sys.modules["torch"].cuda.synchronize(device)
