"""Observes llama-cpp-python: every completion of a ``llama_cpp.Llama`` in this process is one ``Generation`` with one request.

Four public methods of ``Llama`` are replaced while the context is open. ``create_completion``, which ``llm(...)`` and the chat go through,
draws the span and shows the finish reason; ``create_chat_completion`` draws it earlier, so that a picture is part of it. ``generate``,
the one place that every token passes, streamed or not, gives the tokens and their instants: a chunk is not a token (bytes of a character
wait for the rest of it, and what may become a stop sequence is held back). ``eval`` tells how much of the prompt was worked on, and so
what the context still held of it. What the caller gets stays as it was.

Tokens are counted as everywhere in pytest-tpf, up to and including EOS, which llama-cpp-python's own ``usage`` leaves out. A call of
``generate`` itself has no finish reason, so that nobody can know whether it is complete.
"""

from __future__ import annotations

import functools
import sys
import threading
import time
import weakref
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from pytest_tpf.engines._gguf import Describer
from pytest_tpf.engines._llama_call import LlamaCall
from pytest_tpf.engines._replaced import replaced
from pytest_tpf.engines.protocol import Generation, Sink

_END = object()


class LlamaCppEngine:
    """Engine ``llama_cpp``: models in GGUF format, on the CPU or offloaded. (A ``llama_cpp.server`` is observed through its client.)"""

    name = "llama_cpp"
    module = "llama_cpp.llama"

    def __init__(self) -> None:
        self._describe = Describer()

    @contextmanager
    def observe(self, sink: Sink) -> Iterator[None]:
        """Send each generation to ``sink`` until the context closes; a stream that nobody read to its end is sent then."""
        llama = getattr(sys.modules.get(self.module), "Llama", None)
        if llama is None:
            yield
            return
        observer = _Observer(self._describe, sink)
        with ExitStack() as stack:
            for name, around in observer.wrappers().items():
                stack.enter_context(replaced(llama, name, around))
            try:
                yield
            finally:
                observer.close()

    def synchronize(self) -> None:
        """There is nothing to wait for: a token is there when its logits have been read."""


class _Thread(threading.local):
    """What each thread is at: a call, and a chat since when."""

    call: LlamaCall | None = None
    chat_since_s: float | None = None


class _Observer:
    """The wrappers, the calls under way, and for each thread the one it is in.

    A call is a thread's own only while it works on it: a stream may be read a step here and a step there.
    """

    def __init__(self, describe: Describer, sink: Sink) -> None:
        self._describe = describe
        self._sink = sink
        self._thread = _Thread()
        self._open: set[LlamaCall] = set()
        self._fed_by_hand: weakref.WeakSet[Any] = weakref.WeakSet()  # contexts that hold more than earlier calls left there

    def wrappers(self) -> dict[str, Any]:
        return {
            "create_chat_completion": self._around_chat,
            "create_completion": self._around_completion,
            "generate": self._around_generate,
            "eval": self._around_eval,
        }

    def close(self) -> None:
        """What is still open was given up, or is read after the test; for a stream that nobody has begun to read nothing was done."""
        for call in list(self._open):
            if call.is_idle:
                call.end()
            else:
                self._end(call)

    # --- what is replaced ---------------------------------------------------------------------------------------------

    def _around_chat(self, original: Any) -> Any:
        @functools.wraps(original)
        def create_chat_completion(llama: Any, *args: Any, **kwargs: Any) -> Any:
            self._thread.chat_since_s = time.perf_counter()
            try:
                return original(llama, *args, **kwargs)
            finally:
                self._thread.chat_since_s = None

        return create_chat_completion

    def _around_completion(self, original: Any) -> Any:
        @functools.wraps(original)
        def create_completion(llama: Any, *args: Any, **kwargs: Any) -> Any:
            if self._thread.call is not None:
                return original(llama, *args, **kwargs)
            call = self._begin(llama)
            try:
                reply = self._work(call, original, llama, *args, **kwargs)
            except BaseException:
                self._end(call)
                raise
            if not isinstance(reply, Mapping):
                call.is_idle = True
                return self._streamed(call, reply)
            call.see(reply)
            self._end(call)
            return reply

        return create_completion

    def _streamed(self, call: LlamaCall, chunks: Iterator[Any]) -> Generator[Any, None, None]:
        call.is_idle = False
        try:
            while (chunk := self._work(call, next, chunks, _END)) is not _END:
                call.see(chunk)
                yield chunk
        finally:
            if isinstance(chunks, Generator):
                chunks.close()
            self._end(call)

    def _around_generate(self, original: Any) -> Any:
        @functools.wraps(original)
        def generate(llama: Any, tokens: Sequence[int], *args: Any, **kwargs: Any) -> Generator[int, Sequence[int] | None, None]:
            around, prompt = self._thread.call, list(tokens)
            generated = original(llama, prompt, *args, **kwargs)
            if around is not None and around.llama is not llama:  # drafts for another model: none of its tokens
                yield from generated
                return
            call = around or self._begin(llama, has_reason=False)
            call.prompted(len(prompt), knows_cached=llama not in self._fed_by_hand)
            self._fed_by_hand.discard(llama)
            try:
                yield from self._tapped(call, generated)
            finally:
                if around is None:
                    self._end(call)

        return generate

    def _tapped(self, call: LlamaCall, tokens: Generator[int, Any, None]) -> Generator[int, Sequence[int] | None, None]:
        """The tokens as they come; the instant of each is the call's to keep."""
        sent = None
        try:
            while True:
                token = self._work(call, tokens.send, sent)
                call.token_times_s.append(call.last_s)
                sent = yield token
        except StopIteration:
            return
        finally:
            tokens.close()

    def _around_eval(self, original: Any) -> Any:
        @functools.wraps(original)
        def evaluate(llama: Any, tokens: Sequence[int]) -> Any:
            call = self._thread.call
            if call is None:
                self._fed_by_hand.add(llama)
            elif call.llama is llama:
                call.evaluated(len(tokens))
            return original(llama, tokens)

        return evaluate

    # --- calls --------------------------------------------------------------------------------------------------------

    def _work(self, call: LlamaCall, step: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """One stretch of work on a call, as short as a token: no context manager here."""
        thread = self._thread
        before, thread.call = thread.call, call
        try:
            return step(*args, **kwargs)
        finally:
            thread.call = before
            call.last_s = time.perf_counter()

    def _begin(self, llama: Any, has_reason: bool = True) -> LlamaCall:
        """A call that begins now, or where the chat that it belongs to began; a second one in the same chat begins by itself."""
        described = self._describe(llama)  # while the model is there: it may be closed before a stream is told of
        since_s, self._thread.chat_since_s = self._thread.chat_since_s, None
        call = LlamaCall(llama, described, time.perf_counter() if since_s is None else since_s, has_reason)
        self._open.add(call)
        return call

    def _end(self, call: LlamaCall) -> None:
        if not call.end():
            return
        self._open.discard(call)
        self._sink(
            Generation(
                engine=LlamaCppEngine.name,
                model=call.described.model,
                start_s=call.start_s,
                end_s=call.last_s,
                requests=(call.request(),),
                token_source="engine",
                first_token_s=call.token_times_s[0] if call.token_times_s else None,
                config=call.described.config,
                device=call.described.device,
            )
        )
