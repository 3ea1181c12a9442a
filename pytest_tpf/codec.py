"""Records to JSON-ready builtins and back, by their type hints. Pure."""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

_T = TypeVar("_T")


def as_dict(value: Any) -> Any:
    """A record as JSON-ready builtins: dataclasses become dicts, tuples become lists."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {name: as_dict(getattr(value, name)) for name in _field_types(type(value))}
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
    types_by_name: dict[str, Any] = _field_types(typing.cast(Any, cls))
    known = {name: _decode(hint, data[name]) for name, hint in types_by_name.items() if name in data}
    return cls(**known)


@functools.cache
def _field_types(cls: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def _decode(hint: Any, value: Any) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if value is None:
        return None
    if origin in (types.UnionType, typing.Union):
        return _decode_union(args, value)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return from_dict(hint, value)
    if origin is tuple:
        return tuple(_decode(args[0], item) for item in value)
    if origin is dict:
        return {key: _decode(args[1], item) for key, item in value.items()}
    return value


def _decode_union(args: tuple[Any, ...], value: Any) -> Any:
    wanted = (list, tuple) if isinstance(value, (list, tuple)) else dict if isinstance(value, dict) else None
    for arg in args:
        structured = typing.get_origin(arg) or arg
        if wanted is not None and (structured in (tuple, dict) or dataclasses.is_dataclass(structured)):
            return _decode(arg, value)
    return value
