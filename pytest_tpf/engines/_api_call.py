"""One call of a served model, from the request to the end of its reply, and the generation that follows from it."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from pytest_tpf.engines._endpoint import is_here
from pytest_tpf.engines._local_model import LocalModels, Served
from pytest_tpf.engines._reply import Reply
from pytest_tpf.engines.intent import intended_s
from pytest_tpf.engines.protocol import Generation, Request, Sink
from pytest_tpf.records import TokenSource, record

_DONE = "[DONE]"
_AS_CHUNKS = (
    "{engine}: the server sent no usage and no tokenizer is at hand, so stream chunks were counted as tokens, which they are not: "
    "give --tpf-tokenizer DIR"
)
_NOT_COUNTED = "{engine}: a reply's tokens could not be counted ({why}); count them with tpf.count(output_tokens=...)"


@record
class Tokens:
    """Output tokens and where their count comes from."""

    output: int
    source: TokenSource


class ApiCall:
    """What is learnt of one call while it is under way; it ends once, whatever ends it. Instants are ``time.perf_counter()`` seconds.

    ``hides_usage``: the chunk that holds nothing but usage is kept from the caller, who didn't ask for it.
    """

    def __init__(
        self,
        *,
        engine: str,
        endpoint: str | None,
        asked_model: Any,
        is_stream: bool,
        models: LocalModels,
        sink: Sink,
        ended: Callable[[ApiCall], None],
    ) -> None:
        self.endpoint, self.is_stream = endpoint, is_stream
        self.hides_usage = self.was_refused = False
        self.response: Any = None
        self._engine, self._models, self._sink, self._ended = engine, models, sink, ended
        self._asked_model = asked_model if isinstance(asked_model, str) else None
        self._reply = Reply()
        self._failed = self._was_read = self._is_over = False
        self._lock = threading.Lock()
        self._intended_s = intended_s()
        self._start_s = time.perf_counter()

    def restart(self) -> None:
        """The server refused the request at once, and it is sent again."""
        self._start_s = time.perf_counter()

    @contextmanager
    def under_way(self, current: ContextVar[Any]) -> Iterator[None]:
        """Around the request: a reply in one piece has ended with it, and so has a call that failed."""
        token = current.set(self)
        try:
            yield
        except BaseException:
            self._failed = True
            self.end()
            raise
        finally:
            current.reset(token)
        if not self.is_stream:
            self._whole()

    def _whole(self) -> None:
        """The body has been read, unless the caller wants to read it in pieces: then there is nothing to count by."""
        at_s = time.perf_counter()
        if getattr(self.response, "is_stream_consumed", False):
            with contextlib.suppress(ValueError):  # no JSON: nothing is counted, and that is said
                self._reply.whole(self.response.json(), at_s)
        self.end(at_s)

    @contextmanager
    def streamed(self) -> Iterator[None]:
        """Around the events of a stream, read to the end or not."""
        self._was_read = True
        try:
            yield
        finally:
            self.end()

    def take(self, text: str, at_s: float) -> bool:
        """Take an event that arrived at ``at_s``; False where the caller must not see it."""
        if text.startswith(_DONE):
            self.end(at_s)
            return True
        try:
            data = json.loads(text)
        except ValueError:
            return True  # the client will say so
        self._reply.chunk(data, at_s)
        return not (self.hides_usage and isinstance(data, dict) and data.get("usage") and data.get("choices") == [])

    def end(self, at_s: float | None = None) -> None:
        """The call is over: tell of it, once."""
        with self._lock:
            if self._is_over:
                return
            self._is_over = True
        self._ended(self)
        self._sink(self._generation(time.perf_counter() if at_s is None else at_s))

    def _generation(self, end_s: float) -> Generation:
        reply, here = self._reply, self.endpoint is not None and is_here(self.endpoint)
        served = self._models(reply.model or self._asked_model, here)
        tokens = Tokens(output=0, source="usage") if self._failed else self._tokens(served)
        notes: tuple[str, ...] = ()
        if tokens is None:
            why = "nobody read it, or past the client" if reply.last_s is None else "the server sent no usage, and no tokenizer is at hand"
            notes = (_NOT_COUNTED.format(engine=self._engine, why=why),)
        elif tokens.source == "chunks" and tokens.output:
            notes = (_AS_CHUNKS.format(engine=self._engine),)
        return Generation(
            engine=self._engine,
            model=served.model,
            start_s=self._start_s,
            end_s=end_s,
            requests=() if tokens is None else (self._request(tokens.output, end_s),),
            token_source="chunks" if tokens is None else tokens.source,
            first_token_s=reply.first_token_s,
            static_batch=reply.sequences <= 1,
            config=served.config,
            endpoint=self.endpoint,
            notes=notes,
        )

    def _tokens(self, served: Served) -> Tokens | None:
        """What the server says, else what a tokenizer says, else chunks; None where there is nothing to count."""
        reply = self._reply
        if reply.usage is not None and (reply.usage.output_tokens or not reply.text):
            return Tokens(output=reply.usage.output_tokens, source="usage")
        if served.count is not None and reply.last_s is not None:
            return Tokens(output=served.count(reply.text), source="tokenizer")
        if self.is_stream and self._was_read:
            return Tokens(output=len(reply.chunk_times_s), source="chunks")
        return None

    def _request(self, output_tokens: int, end_s: float) -> Request:
        reply, usage = self._reply, self._reply.usage
        return Request(
            start_s=self._start_s,
            end_s=reply.last_s or end_s,
            prompt_tokens=usage.prompt_tokens if usage else None,
            output_tokens=output_tokens,
            first_token_s=reply.first_token_s,
            chunk_times_s=tuple(reply.chunk_times_s),
            complete=reply.complete and not self._failed,
            intended_s=self._intended_s,
            reasoning_tokens=usage.reasoning_tokens if usage else None,
            cached_tokens=usage.cached_tokens if usage else None,
        )
