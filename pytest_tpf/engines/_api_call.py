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
from pytest_tpf.records import Model, TokenSource, record

_AS_CHUNKS = (
    "{engine}: the server sent no usage and no tokenizer is at hand, so stream chunks were counted as tokens, which they are not: "
    "give --tpf-tokenizer DIR"
)
_NOT_COUNTED = "{engine}: a reply's tokens could not be counted ({why}); count them with tpf.count(output_tokens=...)"
_UNREAD = "nobody read it, or past the client"
_NO_USAGE = "the server sent no usage, and no tokenizer is at hand"


@record
class Tokens:
    """Output tokens and where their count comes from."""

    output: int
    source: TokenSource


class ApiCall:
    """What is learnt of one call while it is under way; it ends once, whatever ends it. Instants are ``time.perf_counter()`` seconds.

    ``hides_usage``: the chunk that holds nothing but usage is kept from the caller, who didn't ask for it. ``is_reading``: the wire is
    waited for now. ``reader``: the thread that began to read the reply.
    """

    def __init__(
        self,
        *,
        engine: str,
        endpoint: str | None,
        asked_model: str | None,
        is_stream: bool,
        models: LocalModels,
        sink: Sink,
        ended: Callable[[ApiCall], None],
    ) -> None:
        self.endpoint, self.is_stream = endpoint, is_stream
        self.hides_usage = self.was_refused = self.is_reading = False
        self.reader: int | None = None
        self._engine, self._models, self._sink, self._ended = engine, models, sink, ended
        self._asked_model = asked_model
        self._reply = Reply()
        self._failed = False
        self._over = threading.Lock()  # taken by whoever ends it, and kept; the garbage collector may, so nobody may wait for it
        self._intended_s = intended_s()
        self._start_s = time.perf_counter()

    def ask_again(self) -> None:
        """The server refused to tell usage, and the request is sent as the caller made it: the call begins now."""
        self.hides_usage, self.was_refused = False, True
        self._start_s = time.perf_counter()

    @contextmanager
    def under_way(self, current: ContextVar[Any]) -> Iterator[None]:
        """Around the request: a call that fails has ended with it."""
        token = current.set(self)
        try:
            yield
        except BaseException:
            self._failed = True
            self.end()
            raise
        finally:
            current.reset(token)

    @contextmanager
    def streamed(self) -> Iterator[None]:
        """Around the reading of a reply, to the end or not."""
        self.reader, self.is_reading = threading.get_ident(), True
        try:
            yield
        finally:
            self.is_reading = False
            self.end()

    def take(self, data: Any, at_s: float) -> bool:
        """Take an event, as parsed JSON, that arrived at ``at_s``; False where the caller must not see it."""
        self._reply.chunk(data, at_s)
        if not isinstance(data, dict):
            return True
        if data.get("error"):  # the client raises it
            self.end(at_s)
        return not (self.hides_usage and data.get("usage") and data.get("choices") == [])

    def whole(self, content: bytes, at_s: float) -> None:
        """Take a reply that came in one piece, and end the call. What is no JSON counts nothing, and that is said."""
        with contextlib.suppress(ValueError, RecursionError):
            self._reply.whole(json.loads(content), at_s)
        self.end(at_s)

    def end(self, at_s: float | None = None) -> None:
        """The call is over: tell of it, once."""
        if not self._over.acquire(blocking=False):
            return
        self._ended(self)
        end_s = time.perf_counter() if at_s is None else at_s
        try:
            generation = self._generation(end_s)
        except Exception as error:  # an exotic reply must not fail a test for being observed: it is said, and nothing is counted
            generation = self._described(Served(model=Model(name=self._asked_model)), None, end_s, why=f"{type(error).__name__}: {error}")
        self._sink(generation)

    def _generation(self, end_s: float) -> Generation:
        here = self.endpoint is not None and is_here(self.endpoint)
        served = self._models(self._reply.model or self._asked_model, here)
        tokens = Tokens(output=0, source="usage") if self._failed else self._tokens(served)
        return self._described(served, tokens, end_s, why=_UNREAD if self._reply.last_s is None else _NO_USAGE)

    def _described(self, served: Served, tokens: Tokens | None, end_s: float, *, why: str) -> Generation:
        notes: tuple[str, ...] = ()
        if tokens is None:
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
            first_token_s=self._reply.first_token_s,
            static_batch=self._reply.sequences <= 1,
            config=served.config,
            endpoint=self.endpoint,
            notes=notes,
        )

    def _tokens(self, served: Served) -> Tokens | None:
        """What the server says, else what a tokenizer says, else chunks; None where there is nothing to count."""
        reply = self._reply
        if reply.usage is not None and (reply.usage.output_tokens or not reply.texts):
            return Tokens(output=reply.usage.output_tokens, source="usage")
        if reply.last_s is not None and (counted := served.count(reply.texts)) is not None:
            return Tokens(output=counted, source="tokenizer")
        if self.is_stream and self.reader is not None:
            return Tokens(output=len(reply.chunk_times_s), source="chunks")
        return None

    def _request(self, output_tokens: int, end_s: float) -> Request:
        reply, usage = self._reply, self._reply.usage
        return Request(
            start_s=self._start_s,
            end_s=end_s if reply.last_s is None else reply.last_s,
            prompt_tokens=usage.prompt_tokens if usage else None,
            output_tokens=output_tokens,
            first_token_s=reply.first_token_s,
            chunk_times_s=tuple(reply.chunk_times_s),
            complete=reply.complete and not self._failed,
            intended_s=self._intended_s,
            reasoning_tokens=usage.reasoning_tokens if usage else None,
            cached_tokens=usage.cached_tokens if usage else None,
        )
