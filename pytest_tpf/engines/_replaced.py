"""A method of a library's class, replaced while a context is open."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def replaced(owner: type, name: str, around: Callable[[Any], Any]) -> Iterator[None]:
    """``owner.name`` becomes ``around(owner.name)`` until the context closes. ``owner`` must define it itself, not inherit it.

    Raises:
        KeyError: it doesn't.
    """
    original = vars(owner)[name]
    setattr(owner, name, around(original))
    try:
        yield
    finally:
        setattr(owner, name, original)
