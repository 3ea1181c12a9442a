"""What the ``openai`` client reads of one reply, passed on to it as it was and shown to the call that the reply belongs to.

Everything here is put in front of a method of one object (a response, a stream), so it stays with that object until it has been read,
and no longer: the object would hold itself, and its memory until the garbage collector comes.
``is_reading`` of the call is True while the wire is waited for: whoever closes the response then is the client, at the end of the body,
and not a caller who has seen enough.
"""

from __future__ import annotations

import functools
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from pytest_tpf.engines._api_call import ApiCall

_DONE = "[DONE]"
_HEARD = ("close", "aclose", "iter_bytes", "aiter_bytes")


def listen(call: ApiCall, response: Any) -> None:
    """A response has arrived for ``call``: it is taken whole, or what will be read of it is seen, and when it is closed."""
    if response.is_stream_consumed and not call.is_stream:
        call.whole(response.content, time.perf_counter())
        return
    response.close = _closing(call, response)
    response.aclose = _async_closing(call, response)
    if not call.is_stream:
        response.iter_bytes = functools.partial(_body, call, response.iter_bytes)
        response.aiter_bytes = functools.partial(_async_body, call, response.aiter_bytes)


def hear(call: ApiCall, stream: Any, events: Callable[[ApiCall, Any], Any]) -> None:
    """The events of ``stream`` are ``call``'s: ``events`` is one of the two below."""
    original = stream._iter_events

    def iter_events() -> Any:
        vars(stream).pop("_iter_events", None)
        return events(call, original)

    stream._iter_events = iter_events


def events(call: ApiCall, original: Callable[[], Iterator[Any]]) -> Iterator[Any]:
    """The events of a stream, without the one that the caller didn't ask for."""
    with call.streamed():
        for event in original():
            if _take(call, event, time.perf_counter()):
                call.is_reading = False
                yield event
                call.is_reading = True


async def async_events(call: ApiCall, original: Callable[[], AsyncIterator[Any]]) -> AsyncIterator[Any]:
    """As ``events``."""
    with call.streamed():
        async for event in original():
            if _take(call, event, time.perf_counter()):
                call.is_reading = False
                yield event
                call.is_reading = True


def _take(call: ApiCall, event: Any, at_s: float) -> bool:
    """Whether the caller may see the event. Its JSON is parsed once, for the client too: that is most of what observing costs."""
    if event.data.startswith(_DONE):
        call.end(at_s)
        return True
    try:
        data = event.json()
        event.json = lambda: data
        return call.take(data, at_s)
    except (ValueError, RecursionError):
        return True  # the client will say so


def _body(call: ApiCall, original: Callable[..., Iterator[bytes]], *args: Any, **kwargs: Any) -> Iterator[bytes]:
    """The bytes of a reply in one piece, which the caller reads when it likes."""
    parts = []
    with call.streamed():
        for part in original(*args, **kwargs):
            parts.append(part)
            call.is_reading = False
            yield part
            call.is_reading = True
        call.whole(b"".join(parts), time.perf_counter())


async def _async_body(call: ApiCall, original: Callable[..., AsyncIterator[bytes]], *args: Any, **kwargs: Any) -> AsyncIterator[bytes]:
    parts = []
    with call.streamed():
        async for part in original(*args, **kwargs):
            parts.append(part)
            call.is_reading = False
            yield part
            call.is_reading = True
        call.whole(b"".join(parts), time.perf_counter())


def _closing(call: ApiCall, response: Any) -> Callable[[], None]:
    original = response.close

    @functools.wraps(original)
    def close() -> None:
        _closed(call, response)
        original()

    return close


def _async_closing(call: ApiCall, response: Any) -> Callable[[], Any]:
    original = response.aclose

    @functools.wraps(original)
    async def aclose() -> None:
        _closed(call, response)
        await original()

    return aclose


def _closed(call: ApiCall, response: Any) -> None:
    for name in _HEARD:
        vars(response).pop(name, None)
    if not call.is_reading:
        call.end()
