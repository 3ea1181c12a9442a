"""Lines that are too many for memory, in a nameless file that is gone when it is closed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType


class Spool:
    """Lines without line ends, in the order in which they were added; a context manager. Raises OSError where the disk is full."""

    def __init__(self, folder: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by __exit__
        self._end = 0

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()

    def add(self, line: str) -> int:
        """Keep ``line``; the place at which ``at`` finds it again."""
        place = self._end
        if self._file.tell() != place:  # somebody looked at an earlier line
            self._file.seek(place)
        self._end += self._file.write(f"{line}\n".encode("utf-8", "backslashreplace"))
        return place

    def at(self, place: int) -> str:
        """The line that was added there."""
        self._file.seek(place)
        return self._file.readline().decode().removesuffix("\n")

    def __iter__(self) -> Iterator[str]:
        self._file.seek(0)
        return (line.decode().removesuffix("\n") for line in self._file)
