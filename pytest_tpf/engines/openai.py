"""Observes the official ``openai`` client, whatever server it talks to: each chat completion, completion or response is one ``Generation``.

Three places of the client are listened to while the context is open; clients from 1.40 on have them. ``request`` of the base classes,
which every resource, ``parse()``, ``stream()`` and ``with_raw_response`` go through, draws the span. ``_process_response`` shows the reply
as it came. A stream that is made meanwhile hands over what its ``_iter_events`` yields: each event with the instant at which it had
arrived, before the client makes an object of it. What the caller gets stays as it was.

A stream tells its usage only where it was asked to, so it is: ``stream_options={"include_usage": True}`` is added where the caller gave
none, and the chunk that this adds (usage, and no choices) is kept from the caller, whose code may not expect one. A server that refuses
the option is asked again without it, and never again with it; one that took it once is not asked twice when it fails later.
With ``with_streaming_response`` the caller reads the wire itself, so nothing is added there.
"""

from __future__ import annotations

import copy
import functools
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any
from weakref import WeakKeyDictionary

from pytest_tpf.engines import _openai_wire as wire
from pytest_tpf.engines._api_call import ApiCall
from pytest_tpf.engines._endpoint import endpoint_of
from pytest_tpf.engines._local_model import LocalModels
from pytest_tpf.engines._replaced import replaced
from pytest_tpf.engines.protocol import Sink

_PATHS = ("/chat/completions", "/completions", "/responses")
_WITH_STREAM_OPTIONS = ("/chat/completions", "/completions")
_REFUSALS = frozenset({400, 422, 500, 501})
_RAW_HEADER = "X-Stainless-Raw-Response"

Asked = tuple[str | None, str, str | None]
"""Whom a request is for, as far as what it understands goes: endpoint, path and model."""


class OpenAIEngine:
    """Engine ``openai``: ``OpenAI``, ``AsyncOpenAI`` and the clients derived from them.

    ``tokenizer``: a folder or file that counts the tokens where the server doesn't.
    """

    name = "openai"
    module = "openai"

    def __init__(self, tokenizer: str | None = None) -> None:
        self._models = LocalModels(tokenizer)
        self._takes_options: dict[Asked, bool] = {}
        self._observers: list[_Observer] = []

    @contextmanager
    def observe(self, sink: Sink) -> Iterator[None]:
        """Send each generation to ``sink`` until the context closes; a stream that nobody read to its end is sent then."""
        base, streaming = sys.modules.get("openai._base_client"), sys.modules.get("openai._streaming")
        if base is None or streaming is None:
            yield
            return
        observer = _Observer(self._models, self._takes_options, sink)
        with ExitStack() as stack:
            for owner, around in ((base.SyncAPIClient, observer.around_request), (base.AsyncAPIClient, observer.around_async_request)):
                stack.enter_context(replaced(owner, "request", around))
                stack.enter_context(replaced(owner, "_process_response", observer.around_process_response))
            for owner, events in ((streaming.Stream, wire.events), (streaming.AsyncStream, wire.async_events)):
                stack.enter_context(replaced(owner, "__init__", functools.partial(observer.around_stream, events)))
            self._observers.append(observer)
            try:
                yield
            finally:
                self._observers.remove(observer)
                observer.close()

    def synchronize(self) -> None:
        """End the streams that this thread began to read and left: a reply that has arrived is done, and needs no waiting for."""
        for observer in self._observers:
            observer.end_left()


class _Observer:
    """The calls under way."""

    def __init__(self, models: LocalModels, takes_options: dict[Asked, bool], sink: Sink) -> None:
        self._models, self._takes_options, self._sink = models, takes_options, sink
        self._open: set[ApiCall] = set()
        self._calls: WeakKeyDictionary[Any, ApiCall] = WeakKeyDictionary()  # by the reply that they were given
        self._current: ContextVar[ApiCall | None] = ContextVar("pytest_tpf_openai_call", default=None)

    def close(self) -> None:
        """What is still open was given up, or is read after the test."""
        for call in list(self._open):
            call.end()

    def end_left(self) -> None:
        """What this thread stopped reading isn't read while it does something else."""
        for call in list(self._open):
            if call.reader == threading.get_ident() and not call.is_reading:
                call.end()

    def around_request(self, original: Any) -> Any:
        @functools.wraps(original)
        def request(client: Any, cast_to: Any, options: Any, *args: Any, **kwargs: Any) -> Any:
            if (call := self._begun(client, options, kwargs)) is None:
                return original(client, cast_to, options, *args, **kwargs)
            with call.under_way(self._current):
                if (asking := self._asking(call, options)) is not None:
                    with self._survived(call, options):
                        return original(client, cast_to, asking, *args, **kwargs)
                result = original(client, cast_to, options, *args, **kwargs)
                self._note_refusal(call, options)
                return result

        return request

    def around_async_request(self, original: Any) -> Any:
        @functools.wraps(original)
        async def request(client: Any, cast_to: Any, options: Any, *args: Any, **kwargs: Any) -> Any:
            if (call := self._begun(client, options, kwargs)) is None:
                return await original(client, cast_to, options, *args, **kwargs)
            with call.under_way(self._current):
                if (asking := self._asking(call, options)) is not None:
                    with self._survived(call, options):
                        return await original(client, cast_to, asking, *args, **kwargs)
                result = await original(client, cast_to, options, *args, **kwargs)
                self._note_refusal(call, options)
                return result

        return request

    def around_process_response(self, original: Any) -> Any:
        """Sync and async alike: the latter's coroutine is passed on."""

        @functools.wraps(original)
        def process_response(client: Any, *args: Any, **kwargs: Any) -> Any:
            call, response = self._current.get(), kwargs.get("response")
            if call is not None and response is not None:
                self._calls[response] = call
                wire.listen(call, response)
            return original(client, *args, **kwargs)

        return process_response

    def around_stream(self, events: Callable[[ApiCall, Any], Any], original: Any) -> Any:
        """A stream that is made now is listened to until its end, whenever it is read."""

        @functools.wraps(original)
        def init(stream: Any, *args: Any, **kwargs: Any) -> None:
            original(stream, *args, **kwargs)
            if (call := self._calls.get(stream.response)) is not None:
                wire.hear(call, stream, events)

        return init

    def _begun(self, client: Any, options: Any, kwargs: Mapping[str, Any]) -> ApiCall | None:
        """The call of a request that generates; None for any other, and inside a call."""
        if self._current.get() is not None or str(options.method).lower() != "post" or not _path(options).endswith(_PATHS):
            return None
        call = ApiCall(
            engine=OpenAIEngine.name,
            endpoint=endpoint_of(str(client.base_url)),
            asked_model=_model(options),
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
        if not call.is_stream or is_raw or not isinstance(body, Mapping) or not _path(options).endswith(_WITH_STREAM_OPTIONS):
            return None
        if "stream_options" in body or "stream_options" in more or self._takes_options.get(_asked(call, options)) is False:
            return None
        call.hides_usage = True
        asking = copy.copy(options)
        asking.json_data = {**body, "stream_options": {"include_usage": True}}
        return asking

    @contextmanager
    def _survived(self, call: ApiCall, options: Any) -> Iterator[None]:
        """A refusal that may be of the option stays inside; the caller's own request follows."""
        asked = _asked(call, options)
        try:
            yield
            self._takes_options[asked] = True
        except _status_error() as error:
            if error.status_code not in _REFUSALS or self._takes_options.get(asked):
                raise
            call.ask_again()

    def _note_refusal(self, call: ApiCall, options: Any) -> None:
        if call.was_refused:  # and was not, without the option
            self._takes_options[_asked(call, options)] = False


def _status_error() -> Any:
    return sys.modules["openai"].APIStatusError


def _path(options: Any) -> str:
    return str(options.url).partition("?")[0]


def _model(options: Any) -> str | None:
    body = options.json_data if isinstance(options.json_data, Mapping) else {}
    return body["model"] if isinstance(body.get("model"), str) else None


def _asked(call: ApiCall, options: Any) -> Asked:
    return call.endpoint, _path(options), _model(options)
