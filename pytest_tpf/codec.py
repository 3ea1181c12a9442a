"""Records to JSON-ready builtins and back, by their type hints. Pure.

A report has tens of thousands of records, so what each class needs is worked out once: its fields with the function that turns each one.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

_T = TypeVar("_T")
_Decode = Callable[[Any], Any]

_LEAVES = frozenset({str, int, float, bool, type(None)})


def as_dict(value: Any) -> Any:
    """A record as JSON-ready builtins: dataclasses become dicts, tuples become lists."""
    cls: Any = type(value)
    if cls in _LEAVES:
        return value
    if (names := _names(cls)) is not None:
        return {name: item if type(item := getattr(value, name)) in _LEAVES else as_dict(item) for name in names}
    if isinstance(value, Mapping):
        return {key: as_dict(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_dict(item) for item in value]
    return value


def from_dict(cls: type[_T], data: Mapping[str, Any]) -> _T:
    """The record that ``as_dict`` made ``data`` from; keys a record does not know are ignored (an additive newer report).

    Raises:
        TypeError: a field without a default is missing.
    """
    decoders = _decoders(typing.cast(Any, cls))
    return cls(**{name: decode(data[name]) if decode else data[name] for name, decode in decoders if name in data})


@functools.cache
def _names(cls: Any) -> tuple[str, ...] | None:
    return tuple(field.name for field in dataclasses.fields(cls)) if dataclasses.is_dataclass(cls) else None


@functools.cache
def _decoders(cls: Any) -> tuple[tuple[str, _Decode | None], ...]:
    """Each field of a record with what decodes it, None where it is taken as it stands."""
    hints = typing.get_type_hints(cls)
    return tuple((field.name, _decoder(hints[field.name])) for field in dataclasses.fields(cls))


def _decoder(hint: Any) -> _Decode | None:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return _union_decoder(args)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return lambda value: None if value is None else from_dict(hint, value)
    if origin is tuple:
        item = _decoder(args[0])
        return lambda value: None if value is None else tuple(map(item, value) if item else value)
    if origin is dict:
        item = _decoder(args[1])
        return lambda value: None if value is None else {key: item(each) if item else each for key, each in value.items()}
    return None


def _union_decoder(args: tuple[Any, ...]) -> _Decode | None:
    """A container is decoded as the first member that is one; everything else is taken as it stands."""
    containers = (arg for arg in args if (typing.get_origin(arg) or arg) in (tuple, dict) or dataclasses.is_dataclass(arg))
    decode = next(filter(None, map(_decoder, containers)), None)
    return (lambda value: decode(value) if isinstance(value, (list, tuple, dict)) else value) if decode else None
