"""An engine of the user's own: any callable whose replies say how many tokens they are. ``pytest_tpf.engine`` and ``tpf.engine``.

What it returns decides how it is observed, not how it was declared: a value is a whole reply, a coroutine's value is one once it is
awaited, and what is iterated (a generator, an asynchronous one, any iterator) is a stream whose pieces are passed on as they come.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from pytest_tpf.engines._custom_call import AsyncPieces, CustomCall, Pieces, Reading
from pytest_tpf.engines.protocol import Sink
from pytest_tpf.records import Model

Counts = int | Sequence[int]

_IMMUTABLE = 1 << 8  # Py_TPFLAGS_IMMUTABLETYPE: int, str, and most types of extension modules


def engine(
    owner: Any,
    method: str,
    *,
    tokens: Callable[[Any], Counts],
    prompt_tokens: Callable[..., Counts | None] | None = None,
    complete: Callable[[Any], bool | Sequence[bool]] | None = None,
    model: str | Model | None = None,
    name: str | None = None,
) -> CustomEngine:
    """An engine that observes the calls of ``owner.method``. What it calls itself mustn't be observed as well, or it counts twice.

    Args:
        owner: a class (then all its objects are observed), an object, or a module.
        method: the name of what generates: a function, a coroutine function, or one that returns an iterator of pieces.
        tokens: the output tokens of a reply, or of one piece of a stream; a list has one request for each of its numbers.
        prompt_tokens: the prompt's tokens; called with the reply (of a stream its last piece, None where there is none) and then with what
            the method was called with.
        complete: whether the reply, or the last piece of a stream, says that it is complete; without it, what returned, or was read to
            its end, is.
        model: the model, or its name.
        name: the engine's; the owner's and the method's if left out.

    Raises:
        pytest.UsageError: the owner has no such method, or it can't be replaced there.
    """
    label = name or f"{_name_of(owner)}.{method}"
    if (why := _unobservable(owner, method)) is not None:
        import pytest

        raise pytest.UsageError(f"engine: {label} can't be observed: {why}")
    described = model if isinstance(model, Model) else Model(name=model)
    return CustomEngine(
        owner, method, Reading(engine=label, model=described, tokens=tokens, prompt_tokens=prompt_tokens, complete=complete)
    )


def _name_of(owner: Any) -> str:
    named = owner if isinstance(owner, type | ModuleType) else type(owner)
    return str(getattr(named, "__qualname__", named.__name__))


def _unobservable(owner: Any, method: str) -> str | None:
    """Why a method can't be replaced on its owner; None where it can."""
    if not callable(getattr(owner, method, None)):
        return "there is no such method"
    if isinstance(owner, ModuleType):
        return None
    if not isinstance(owner, type):
        alone = not method.startswith("__") and hasattr(owner, "__dict__")
        return None if alone else f"give its class, {_name_of(owner)}, for one object's can't be replaced"
    raw = inspect.getattr_static(owner, method)
    if owner.__flags__ & _IMMUTABLE or not (callable(raw) or isinstance(raw, staticmethod | classmethod)):
        return "it can't be replaced; observe a function of your own that calls it"
    return None


class CustomEngine:
    """What ``engine`` makes; an ``Engine`` like the others."""

    module = "builtins"  # the owner is there already

    def __init__(self, owner: Any, method: str, reading: Reading) -> None:
        self.name = reading.engine
        self._owner, self._method, self._reading = owner, method, reading

    @contextmanager
    def observe(self, sink: Sink) -> Iterator[None]:
        """Send each generation to ``sink`` until the context closes; a stream that nobody read to its end is sent then."""
        opened: set[CustomCall] = set()
        begin = functools.partial(CustomCall, self._reading, sink, opened)
        found = vars(self._owner).get(self._method)
        setattr(self._owner, self._method, self._observed(begin))
        try:
            yield
        finally:
            if found is None:  # inherited, or of the object's class
                delattr(self._owner, self._method)
            else:
                setattr(self._owner, self._method, found)
            for call in list(opened):
                call.end()

    def synchronize(self) -> None:
        """Nothing is known of work that goes on behind a reply."""

    def _observed(self, begin: Callable[..., CustomCall]) -> Any:
        """What stands in for the method: of the same kind, so that it is bound as the original would be."""
        raw = inspect.getattr_static(self._owner, self._method)
        if not isinstance(self._owner, type):
            return _around(getattr(self._owner, self._method), begin, 0)
        if isinstance(raw, staticmethod | classmethod):
            kind = type(raw)
            return kind(_around(raw.__func__, begin, 0 if kind is staticmethod else 1))
        return _around(raw, begin, 1)


def _around(original: Any, begin: Callable[..., CustomCall], bound: int) -> Any:
    """``original``, observed; its first ``bound`` arguments (the object or the class) are nobody's prompt."""

    @functools.wraps(original)
    def observed(*args: Any, **kwargs: Any) -> Any:
        if CustomCall.is_inside(begin):
            return original(*args, **kwargs)
        call = begin(args[bound:], kwargs)
        with call.working(begin):
            result = original(*args, **kwargs)
        return _followed(result, call, begin)

    @functools.wraps(original)
    async def observed_async(*args: Any, **kwargs: Any) -> Any:
        if CustomCall.is_inside(begin):
            return await original(*args, **kwargs)
        call = begin(args[bound:], kwargs)
        return await _awaited(original(*args, **kwargs), call, begin)

    return observed_async if inspect.iscoroutinefunction(original) else observed


async def _awaited(coroutine: Any, call: CustomCall, key: Any) -> Any:
    with call.working(key):
        result = await coroutine
    return _followed(result, call, key)


def _followed(result: Any, call: CustomCall, key: Any) -> Any:
    if inspect.iscoroutine(result):
        return _awaited(result, call, key)
    if isinstance(result, AsyncIterator):
        return AsyncPieces(result, call, key)
    if isinstance(result, Iterator):
        return Pieces(result, call, key)
    call.reply(result)
    return result
