"""Through every value of parsed JSON, without recursion: how deep it goes is the input's choice."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pytest_tpf.report.errors import ReportError

MAX_DEPTH = 64

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


def _items(value: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(value, dict):
        return iter(value.items())
    return iter(enumerate(value)) if isinstance(value, list) else iter(())
