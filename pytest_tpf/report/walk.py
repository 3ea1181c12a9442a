"""Through every value of parsed JSON, without recursion: how deep it goes is the input's choice."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

from pytest_tpf.report.errors import ReportError

MAX_DEPTH = 64

_PLAIN = frozenset({str, int, bool, type(None)})

Path = tuple[Any, ...]


def walk(root: Any) -> Iterator[tuple[Path, Any]]:
    """(path, value) of ``root`` and of everything in it, parents first.

    Raises:
        ReportError: nested deeper than ``MAX_DEPTH`` (a container that holds itself is, too).
    """
    yield (), root
    path: list[Any] = []
    stack = [_items(root)]
    while stack:
        step = next(stack[-1], None)
        if step is None:
            stack.pop()
            del path[-1:]
            continue
        key, value = step
        yield (*path, key), value
        if isinstance(value, (dict, list)):
            if len(stack) >= MAX_DEPTH:
                raise ReportError(f"nested deeper than {MAX_DEPTH} levels")
            path.append(key)
            stack.append(_items(value))


def check_depth(root: Any) -> None:
    """The same bound, level by level and much faster.

    Raises:
        ReportError: nested deeper than ``MAX_DEPTH``.
    """
    level = [root]
    for _ in range(MAX_DEPTH + 1):
        level = [item for holder in level for item in _values(holder) if isinstance(item, (dict, list))]
        if not level:
            return
    raise ReportError(f"nested deeper than {MAX_DEPTH} levels")


def is_plain_json(value: Any, depth: int = 0) -> bool:
    """Whether ``value`` holds nothing but JSON's own types, finite numbers and keys that are text, no deeper than ``MAX_DEPTH``; fast."""
    cls = type(value)
    if cls is dict:
        for key in value:
            if type(key) is not str:
                return False
        value = value.values()
    elif cls is not list:
        return cls in _PLAIN or (cls is float and math.isfinite(value))
    for item in value:  # scalars here, which saves most of the calls
        cls = type(item)
        if cls in _PLAIN or (cls is float and math.isfinite(item)):
            continue
        if depth >= MAX_DEPTH or not is_plain_json(item, depth + 1):
            return False
    return True


def _values(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _items(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, dict):
        return iter(value.items())
    return iter(enumerate(value)) if isinstance(value, list) else iter(())
