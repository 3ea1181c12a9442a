"""Observes the official ``openai`` client, whatever server it talks to: each chat completion, completion or response is one ``Generation``.

Two places of the client are listened to while the context is open. ``request`` of its base classes, which every resource, ``parse()``,
``stream()`` and ``with_raw_response`` go through, draws the span. ``_iter_events`` of its streams gives every event with the instant at
which it had arrived, before the client makes objects of it. What the caller gets stays as it was.

A stream tells its usage only where it was asked to, so it is: ``stream_options={"include_usage": True}`` is added where the caller gave
none, and the chunk that this adds (usage, and no choices) is kept from the caller, whose code may not expect one. A server that refuses
the option is asked again without it, and never again with it.
"""

from __future__ import annotations

import copy
import functools
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any

from pytest_tpf.engines._api_call import ApiCall
from pytest_tpf.engines._endpoint import endpoint_of
from pytest_tpf.engines._local_model import LocalModels
from pytest_tpf.engines._replaced import replaced
from pytest_tpf.engines.protocol import Sink

_PATHS = ("/chat/completions", "/completions", "/responses")
_WITH_STREAM_OPTIONS = ("/chat/completions", "/completions")
_REFUSALS = frozenset({400, 422, 500, 501})
_RAW_HEADER = "X-Stainless-Raw-Response"
_CALL: ContextVar[ApiCall | None] = ContextVar("pytest_tpf_openai_call", default=None)


class OpenAIEngine:
    """Engine ``openai``: ``OpenAI``, ``AsyncOpenAI`` and the clients derived from them.

    ``tokenizer``: a folder or file that counts the tokens where the server doesn't.
    """

    name = "openai"
    module = "openai"

    def __init__(self, tokenizer: str | None = None) -> None:
        self._models = LocalModels(tokenizer)
        self._refusing: set[str | None] = set()

    @contextmanager
    def observe(self, sink: Sink) -> Iterator[None]:
        """Send each generation to ``sink`` until the context closes; a stream that nobody read to its end is sent then."""
        base, streaming = sys.modules.get("openai._base_client"), sys.modules.get("openai._streaming")
        if base is None or streaming is None:
            yield
            return
        observer = _Observer(self._models, self._refusing, sink)
        with ExitStack() as stack:
            for owner, around in ((base.SyncAPIClient, observer.around_request), (base.AsyncAPIClient, observer.around_async_request)):
                stack.enter_context(replaced(owner, "request", around))
                stack.enter_context(replaced(owner, "_process_response", _around_process_response))
            stack.enter_context(replaced(streaming.Stream, "_iter_events", _around_events))
            stack.enter_context(replaced(streaming.AsyncStream, "_iter_events", _around_async_events))
            try:
                yield
            finally:
                observer.close()

    def synchronize(self) -> None:
        """There is nothing to wait for: a reply that has arrived is done."""


class _Observer:
    """The calls under way."""

    def __init__(self, models: LocalModels, refusing: set[str | None], sink: Sink) -> None:
        self._models, self._refusing, self._sink = models, refusing, sink
        self._open: set[ApiCall] = set()

    def close(self) -> None:
        """What is still open was given up, or is read after the test."""
        for call in list(self._open):
            call.end()

    def around_request(self, original: Any) -> Any:
        @functools.wraps(original)
        def request(client: Any, cast_to: Any, options: Any, *args: Any, **kwargs: Any) -> Any:
            if (call := self._begun(client, options, kwargs)) is None:
                return original(client, cast_to, options, *args, **kwargs)
            with call.under_way(_CALL):
                if (asking := self._asking(call, options)) is not None:
                    try:
                        return original(client, cast_to, asking, *args, **kwargs)
                    except _status_error() as error:
                        self._refused(call, error)
                result = original(client, cast_to, options, *args, **kwargs)
                self._note_refusal(call)
                return result

        return request

    def around_async_request(self, original: Any) -> Any:
        @functools.wraps(original)
        async def request(client: Any, cast_to: Any, options: Any, *args: Any, **kwargs: Any) -> Any:
            if (call := self._begun(client, options, kwargs)) is None:
                return await original(client, cast_to, options, *args, **kwargs)
            with call.under_way(_CALL):
                if (asking := self._asking(call, options)) is not None:
                    try:
                        return await original(client, cast_to, asking, *args, **kwargs)
                    except _status_error() as error:
                        self._refused(call, error)
                result = await original(client, cast_to, options, *args, **kwargs)
                self._note_refusal(call)
                return result

        return request

    def _begun(self, client: Any, options: Any, kwargs: Mapping[str, Any]) -> ApiCall | None:
        """The call of a request that generates; None for any other, and inside a call."""
        path = str(options.url)
        if _CALL.get() is not None or str(options.method).lower() != "post" or not path.endswith(_PATHS):
            return None
        body = options.json_data if isinstance(options.json_data, Mapping) else {}
        call = ApiCall(
            engine=OpenAIEngine.name,
            endpoint=endpoint_of(str(client.base_url)),
            asked_model=body.get("model"),
            is_stream=bool(kwargs.get("stream")),
            models=self._models,
            sink=self._sink,
            ended=self._open.discard,
        )
        self._open.add(call)
        return call

    def _asking(self, call: ApiCall, options: Any) -> Any:
        """The request with usage asked for; None where the caller decided that, where it is sent anyway, or where the server refuses it."""
        body, more = options.json_data, options.extra_json or {}
        is_raw = isinstance(options.headers, Mapping) and options.headers.get(_RAW_HEADER) == "stream"
        if not call.is_stream or is_raw or not isinstance(body, Mapping) or not str(options.url).endswith(_WITH_STREAM_OPTIONS):
            return None
        if "stream_options" in body or "stream_options" in more or call.endpoint in self._refusing:
            return None
        call.hides_usage = True
        asking = copy.copy(options)
        asking.json_data = {**body, "stream_options": {"include_usage": True}}
        return asking

    def _refused(self, call: ApiCall, error: Any) -> None:
        """Ask again without the option, where that may have been the trouble."""
        if error.status_code not in _REFUSALS:
            raise error
        call.hides_usage, call.was_refused = False, True
        call.restart()

    def _note_refusal(self, call: ApiCall) -> None:
        if call.was_refused:  # and was not, without the option
            self._refusing.add(call.endpoint)


def _status_error() -> Any:
    return sys.modules["openai"].APIStatusError


def _around_process_response(original: Any) -> Any:
    """Sync and async alike: the latter's coroutine is passed on."""

    @functools.wraps(original)
    def process_response(client: Any, *args: Any, **kwargs: Any) -> Any:
        call, response = _CALL.get(), kwargs.get("response")
        if call is not None and response is not None:
            call.response = response
            response.tpf_call = call
        return original(client, *args, **kwargs)

    return process_response


def _around_events(original: Any) -> Any:
    @functools.wraps(original)
    def iter_events(stream: Any) -> Iterator[Any]:
        call: ApiCall | None = getattr(stream.response, "tpf_call", None)
        if call is None:
            yield from original(stream)
            return
        with call.streamed():
            for event in original(stream):
                if call.take(event.data, time.perf_counter()):
                    yield event

    return iter_events


def _around_async_events(original: Any) -> Any:
    @functools.wraps(original)
    async def iter_events(stream: Any) -> AsyncIterator[Any]:
        call: ApiCall | None = getattr(stream.response, "tpf_call", None)
        if call is None:
            async for event in original(stream):
                yield event
            return
        with call.streamed():
            async for event in original(stream):
                if call.take(event.data, time.perf_counter()):
                    yield event

    return iter_events
