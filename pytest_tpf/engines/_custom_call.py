"""One call of a user's own engine: a whole reply, or a stream of pieces, and the generation that follows from what the user says of it."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from operator import index
from typing import Any, SupportsIndex

from pytest_tpf.engines.intent import intended_s
from pytest_tpf.engines.protocol import Generation, Request, Sink
from pytest_tpf.records import Model, record

_INSIDE: ContextVar[tuple[Any, ...]] = ContextVar("pytest_tpf_custom_inside", default=())
_NOT_COUNTED = "{engine}: the tokens of a call could not be counted: {why}"


@record
class Reading:
    """How to read an engine's replies, as ``engine`` was told."""

    engine: str
    model: Model
    tokens: Callable[[Any], Any]
    prompt_tokens: Callable[..., Any] | None = None
    complete: Callable[[Any], Any] | None = None


class Unreadable(Exception):
    """What the user said gives no count; its text says why."""


class CustomCall:
    """Instants are ``time.perf_counter()`` seconds. It ends once, whatever ends it."""

    def __init__(self, reading: Reading, sink: Sink, opened: set[CustomCall], args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        self._reading, self._sink, self._opened, self._args, self._kwargs = reading, sink, opened, args, kwargs
        self._intended_s = intended_s()
        self._start_s = self._last_s = time.perf_counter()
        self._output: list[int] = [0]  # tokens of each request
        self._piece_times_s: list[float] = []
        self._last: Any = None
        self._returned = self._is_over = False
        self._unreadable: str | None = None
        self._lock = threading.Lock()
        opened.add(self)

    @staticmethod
    def is_inside(key: Any) -> bool:
        """Whether this thread or task is in a call of the same observer: what calls itself is one call."""
        return key in _INSIDE.get()

    @contextmanager
    def working(self, key: Any) -> Iterator[None]:
        """Around each stretch in which the engine works; an exception but that of an iterator's end ends the call."""
        before = _INSIDE.get()
        _INSIDE.set((*before, key))
        try:
            yield
        except BaseException as error:
            self._last_s = time.perf_counter()
            self._returned = isinstance(error, StopIteration | StopAsyncIteration)
            self.end()
            raise
        finally:
            _INSIDE.set(before)  # no reset: a coroutine that was given up may be closed in another context
        self._last_s = time.perf_counter()

    def reply(self, reply: Any) -> None:
        """The whole reply is there."""
        self._last, self._returned = reply, True
        self._output = self._read(lambda: _counts("tokens", self._reading.tokens(reply)), [])
        self.end()

    def piece(self, piece: Any) -> None:
        """A piece of a stream is there."""
        self._last = piece
        count = self._read(lambda: sum(_counts("tokens", self._reading.tokens(piece))), 0)
        if count:
            self._output[0] += count
            self._piece_times_s.append(self._last_s)

    def end(self) -> None:
        """The call is over: tell of it, once."""
        with self._lock:
            if self._is_over:
                return
            self._is_over = True
        self._opened.discard(self)
        requests = self._read(self._requests, ())
        first_s = self._piece_times_s[0] if self._piece_times_s else None
        self._sink(
            Generation(
                engine=self._reading.engine,
                model=self._reading.model,
                start_s=self._start_s,
                end_s=self._last_s,
                requests=requests if self._unreadable is None else (),
                token_source="declared",
                first_token_s=first_s,
                static_batch=len(requests) <= 1,
                notes=() if self._unreadable is None else (_NOT_COUNTED.format(engine=self._reading.engine, why=self._unreadable),),
            )
        )

    def _requests(self) -> tuple[Request, ...]:
        number = len(self._output)
        prompts, completes = self._prompts(number), self._completes(number)
        times_s = tuple(self._piece_times_s)
        return tuple(
            Request(
                start_s=self._start_s,
                end_s=times_s[-1] if times_s else self._last_s,
                prompt_tokens=prompt,
                output_tokens=output,
                first_token_s=times_s[0] if times_s else None,
                chunk_times_s=times_s,
                complete=complete,
                intended_s=self._intended_s,
            )
            for output, prompt, complete in zip(self._output, prompts, completes, strict=True)
        )

    def _prompts(self, number: int) -> Sequence[int | None]:
        read = self._reading.prompt_tokens
        found = None if read is None else read(self._last, *self._args, **self._kwargs)
        return [None] * number if found is None else _of_all("prompt_tokens", _counts("prompt_tokens", found), number)

    def _completes(self, number: int) -> Sequence[bool]:
        read = self._reading.complete
        if not self._returned or read is None:
            return [self._returned] * number
        found = read(self._last)
        return _of_all("complete", [bool(each) for each in found], number) if isinstance(found, Sequence) else [bool(found)] * number

    def _read(self, read: Callable[[], Any], otherwise: Any) -> Any:
        """What the user's functions say; where they fail, that is said, and the library's caller goes on."""
        try:
            return read()
        except Unreadable as error:
            self._unreadable = self._unreadable or str(error)
        except Exception as error:
            self._unreadable = self._unreadable or f"{type(error).__name__}: {error}, of a {type(self._last).__name__}"
        return otherwise


def _counts(name: str, found: Any) -> list[int]:
    counts = list(found) if isinstance(found, Sequence) and not isinstance(found, str) else [found]
    if not all(isinstance(each, SupportsIndex) and not isinstance(each, bool) and index(each) >= 0 for each in counts):
        raise Unreadable(f"{name} gave {found!r}, not a whole number from 0 up, nor a list of them")
    return [index(each) for each in counts]


def _of_all(name: str, found: list[Any], number: int) -> list[Any]:
    if len(found) != number:
        raise Unreadable(f"{name} gave {len(found)} values for {number} requests")
    return found


class Pieces(Iterator[Any]):
    """A stream, passed on piece by piece; whatever else it can do, it still can."""

    def __init__(self, pieces: Iterator[Any], call: CustomCall, key: Any) -> None:
        self._pieces, self._call, self._key = pieces, call, key

    def __next__(self) -> Any:
        with self._call.working(self._key):
            piece = next(self._pieces)
        self._call.piece(piece)
        return piece

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pieces, name)

    def __del__(self) -> None:
        self._call.end()  # given up half-way, if it isn't over


class AsyncPieces(AsyncIterator[Any]):
    """The same of an asynchronous stream."""

    def __init__(self, pieces: AsyncIterator[Any], call: CustomCall, key: Any) -> None:
        self._pieces, self._call, self._key = pieces, call, key

    async def __anext__(self) -> Any:
        with self._call.working(self._key):
            piece = await anext(self._pieces)
        self._call.piece(piece)
        return piece

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pieces, name)

    def __del__(self) -> None:
        self._call.end()
