"""The members of a JSON object that somebody else wrote, each checked for what it is read as."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from pytest_tpf.report.wording import json_path, kind, show

MOST_TOKENS = 2**53
"""Beyond this a count is no count: no float would hold it exactly."""

LONGEST_TIME_S = 1e9
"""Some thirty years: longer than that nothing is served, and a product with it is no float any more."""


class NotUsable(Exception):
    """A file doesn't hold what its tool writes. The text is one line without the file's name."""


class Fields:
    """An object and the way to it. A member that is missing or null is None; one of another kind raises NotUsable."""

    def __init__(self, members: Mapping[str, Any], *way: str | int) -> None:
        self.members, self._way = members, way

    def __contains__(self, name: str) -> bool:
        return self.members.get(name) is not None

    def refuse(self, name: str, why: str) -> NotUsable:
        """The error that says what is wrong with a member."""
        return NotUsable(f"{json_path((*self._way, name))} {why}")

    def number(self, name: str, *, most: float = 1e15) -> float | None:
        """A number from 0 to ``most``."""
        return self._number(self.members.get(name), most, name)

    def time_s(self, name: str, scale: float = 1.0) -> float | None:
        """A length of time in units of ``scale`` seconds."""
        value = self.number(name, most=LONGEST_TIME_S / scale)
        return None if value is None else value * scale

    def count(self, name: str) -> int | None:
        """A whole number from 0 on; some tools write 12.0."""
        value = self.number(name, most=MOST_TOKENS)
        if value is not None and value != int(value):
            raise self.refuse(name, f"is {show(value)}, expected a whole number")
        return None if value is None else int(value)

    def text(self, name: str) -> str | None:
        """A text."""
        value = self.members.get(name)
        if value is not None and not isinstance(value, str):
            raise self.refuse(name, f"is {kind(value)}, expected string")
        return value

    def flag(self, name: str) -> bool | None:
        """True or false."""
        value = self.members.get(name)
        if value is not None and not isinstance(value, bool):
            raise self.refuse(name, f"is {kind(value)}, expected boolean")
        return value

    def within(self, name: str) -> Fields:
        """An object; an empty one where there is none."""
        value = self.members.get(name)
        if value is not None and not isinstance(value, dict):
            raise self.refuse(name, f"is {kind(value)}, expected object")
        return Fields(value or {}, *self._way, name)

    def array(self, name: str) -> list[Any] | None:
        """An array of anything."""
        value = self.members.get(name)
        if value is not None and not isinstance(value, list):
            raise self.refuse(name, f"is {kind(value)}, expected array")
        return value

    def objects(self, name: str) -> Iterator[Fields]:
        """The objects of an array; none where there is no array."""
        return (self.item(name, index, value) for index, value in enumerate(self.array(name) or ()))

    def item(self, name: str, index: int, value: Any) -> Fields:
        """An item of an array, which is to be an object."""
        if not isinstance(value, dict):
            raise NotUsable(f"{json_path((*self._way, name, index))} is {kind(value)}, expected object")
        return Fields(value, *self._way, name, index)

    def numbers(self, name: str, *, most: float = LONGEST_TIME_S) -> list[float] | None:
        """An array of numbers from 0 to ``most``."""
        values = self.array(name)
        return None if values is None else [self._known(value, most, name, index) for index, value in enumerate(values)]

    def counts(self, name: str) -> list[int] | None:
        """An array of whole numbers."""
        values = self.numbers(name, most=MOST_TOKENS)
        if values is not None and (wrong := next(itertools.filterfalse(float.is_integer, map(float, values)), None)) is not None:
            raise self.refuse(name, f"holds {show(wrong)}, expected whole numbers")
        return None if values is None else [int(value) for value in values]

    def rows_of_numbers(self, name: str) -> list[list[float]] | None:
        """An array of arrays of numbers."""
        rows = self.array(name)
        if rows is None:
            return None
        for index, row in enumerate(rows):
            if not isinstance(row, list):
                raise NotUsable(f"{json_path((*self._way, name, index))} is {kind(row)}, expected array")
        return [[self._known(value, LONGEST_TIME_S, name, index) for value in row] for index, row in enumerate(rows)]

    def _known(self, value: Any, most: float, *way: str | int) -> float:
        number = self._number(value, most, *way)
        if number is None:
            raise NotUsable(f"{json_path((*self._way, *way))} is null, expected number")
        return number

    def _number(self, value: Any, most: float, *way: str | int) -> float | None:
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise NotUsable(f"{json_path((*self._way, *way))} is {kind(value)}, expected number")
        if not 0 <= value <= most:
            raise NotUsable(f"{json_path((*self._way, *way))} is {show(value)}, expected 0 to {most:g}")
        return value
