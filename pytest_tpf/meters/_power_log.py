"""A power log as series of readings, from its bytes as they come. Pure: what is read from where is ``replay``'s business.

Lines that can't be read are counted, not guessed at; a last line without its end waits for the rest. A value that the log doesn't have
("N/A") is no reading: what lies between its neighbours is a gap, if it is long. A series' times only ever go forwards: where the log's
clock was set back, what was stamped ahead of it is dropped and the stretch is remembered as uncertain.
"""

from __future__ import annotations

import bisect
import itertools
import math
from array import array
from collections.abc import Iterator

from pytest_tpf.meters._log_formats import BadLine, Column, Layout, LogError, Source, layout_of, value_of

LONGEST_LINE = 65_536
_OVERLONG = f"longer than {LONGEST_LINE} characters"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_UTF8_MARK = b"\xef\xbb\xbf"


class Series:
    """One column of one device: Unix times (s) and values (W or J), the times rising."""

    def __init__(self) -> None:
        self.times, self.values = array("d"), array("d")
        self.has_values = False
        self.set_back: list[tuple[float, float]] = []
        """Stretches of time that the log's clock went through twice."""

    def add(self, t: float, value: float) -> bool:
        """Append a reading; False where one with this time is there already."""
        if self.times and t <= self.times[-1]:
            if t == self.times[-1]:
                return False
            self.set_back.append((t, self.times[-1]))
            keep = bisect.bisect_left(self.times, t)
            del self.times[keep:], self.values[keep:]
        self.times.append(t)
        self.values.append(value)
        return True

    def around(self, start_s: float, end_s: float, margin: int = 4) -> list[tuple[float, float]]:
        """The readings from ``margin`` before a stretch of time to ``margin`` after it."""
        first = max(bisect.bisect_right(self.times, start_s) - margin, 0)
        last = bisect.bisect_left(self.times, end_s) + margin
        return list(zip(self.times[first:last], self.values[first:last], strict=True))

    def count_from(self, t: float) -> int:
        """How many readings lie at ``t`` or after."""
        return len(self.times) - bisect.bisect_left(self.times, t)

    def spacing_s(self) -> float | None:
        """The median time between recent readings; None while they are too few."""
        recent = self.times[-64:]
        spacings = sorted(b - a for a, b in itertools.pairwise(recent))
        return spacings[len(spacings) // 2] if len(spacings) >= 3 else None


class PowerLog:
    """What a log has said so far. Readings before ``keep_from_s`` (Unix) are counted but not kept: no window will ask for them."""

    def __init__(self, keep_from_s: float = -math.inf) -> None:
        self.layout: Layout | None = None
        self._series: list[list[Series]] = []
        self.rows = self.bad = self.repeated = 0
        self.first_bad: tuple[int, str] | None = None
        self.last_s = -math.inf
        self._keep_from_s = keep_from_s
        self._line_number = 0
        self._rest = b""
        self._is_overlong = False

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of power and energy, the best first; none before the header."""
        return self.layout.columns if self.layout is not None else ()

    @property
    def series(self) -> Iterator[tuple[Source, Column, Series]]:
        """Every series, device by device, the best column first."""
        sources = self.layout.sources.found if self.layout is not None else []
        for source, row in zip(sources, self._series, strict=True):
            yield from ((source, column, series) for column, series in zip(self.columns, row, strict=True))

    def feed(self, piece: bytes) -> None:
        """Take the next bytes of the log. Raises LogError where its beginning isn't that of a log."""
        if self.layout is None and not self._line_number and not self._rest:
            piece = _without_mark(piece)
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            self._take(line)
        if len(self._rest) > LONGEST_LINE:
            self._is_overlong, self._rest = True, b""
            if self.layout is None:
                self._refuse(_OVERLONG)

    def _take(self, raw: bytes) -> None:
        self._line_number += 1
        if self._is_overlong or len(raw) > LONGEST_LINE:
            self._is_overlong = False
            self._refuse(_OVERLONG)
            return
        line = raw.decode("utf-8", errors="replace").strip()
        if not line:
            return
        if self.layout is None:
            self._begin(line)
            return
        try:
            row = self.layout.row(line)
            if row is not None:
                self._keep(*row)
        except BadLine as bad:
            self._refuse(str(bad))

    def _begin(self, line: str) -> None:
        if "\0" in line:
            raise LogError("it is not a text file")
        if not line.startswith("#") or "entity" in line.lower():
            self.layout = layout_of(line)

    def _refuse(self, why: str) -> None:
        if self.layout is None:
            raise LogError(f"its first line is {why}")
        self.bad += 1
        self.first_bad = self.first_bad or (self._line_number, why)

    def _keep(self, t: float, number: int, texts: tuple[str, ...]) -> None:
        if number == len(self._series):
            self._series.append([Series() for _ in self.columns])
        for index, column in enumerate(self.columns):
            series = self._series[number][index]
            if t < self._keep_from_s and series.has_values:
                continue  # millions of lines that no window will ask for
            value = value_of(texts[index], column)
            series.has_values |= value is not None
            if value is not None and t >= self._keep_from_s and not series.add(t, value):
                self.repeated += 1
        self.rows += 1
        self.last_s = t


def _without_mark(piece: bytes) -> bytes:
    if piece.startswith(_UTF16):
        raise LogError("it is UTF-16, as PowerShell's `>` writes it: let nvidia-smi write the file itself (-f FILE)")
    return piece.removeprefix(_UTF8_MARK)
