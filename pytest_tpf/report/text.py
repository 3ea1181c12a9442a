"""Numbers and names as a person reads them in a terminal; pure."""

from __future__ import annotations

import itertools
import math
import unicodedata
from collections.abc import Sequence

UNKNOWN = "-"
_PREFIXES = {-4: "p", -3: "n", -2: "µ", -1: "m", 0: "", 1: "k", 2: "M", 3: "G", 4: "T", 5: "P"}
_HIDDEN = {"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"}  # control, bidi and other format characters, unassigned, surrogates, line ends


def si(value: float | None, unit: str = "") -> str:
    """Three significant digits with an SI prefix: 0.0123, "J" gives ``12.3 mJ``; without a unit the prefix follows the digits."""
    if value is None:
        return UNKNOWN
    if not math.isfinite(value):
        return str(value)
    if value == 0:
        return f"0 {unit}".rstrip()
    exponent = int(f"{value:.2e}".partition("e")[2])  # of the rounded number: 999.9 is 1.00 k
    step = exponent // 3
    if step not in _PREFIXES:
        return f"{value:.2e} {unit}".rstrip()
    digits = f"{value / 10.0 ** (3 * step):.{2 - exponent % 3}f}"
    return f"{digits} {_PREFIXES[step]}{unit}" if unit else f"{digits}{_PREFIXES[step]}"


def number(value: float | None) -> str:
    """Three significant digits, without an exponent where the number is short."""
    return UNKNOWN if value is None else f"{value:.3g}"


def percent(fraction: float | None) -> str:
    """0.031 gives ``3.1%``, 0.12 gives ``12%``."""
    if fraction is None:
        return UNKNOWN
    return f"{fraction:.1%}" if abs(fraction) < 0.0995 else f"{fraction:.0%}"


def energy(value: float | None, trust: str | None, unit: str, ci95: tuple[float, float] | None = None) -> str:
    """An energy or what follows from one. An estimate is never without that word; a measured one has half its interval behind it."""
    if value is None:
        return UNKNOWN
    if trust == "estimated":
        return f"~{si(value, unit)} est."
    half = f" ±{percent((ci95[1] - ci95[0]) / 2 / value)}" if ci95 and value else ""
    return si(value, unit) + half + (" replayed" if trust == "replayed" else "")


def plain(text: str) -> str:
    """``text`` on one line without anything that moves the cursor, colours or reorders: such characters are escaped as in Python."""
    if text.isascii() and text.isprintable():  # nearly all there is, a hundred times as fast
        return text
    return "".join(ascii(char)[1:-1] if unicodedata.category(char) in _HIDDEN else char for char in text)


def display_width(text: str) -> int:
    """Columns of a terminal that ``text`` takes: wide East Asian characters take two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def shortened(text: str, width: int) -> str:
    """``text`` in at most ``width`` columns: the middle goes, for beginning and parameters tell tests apart."""
    if display_width(text) <= width:
        return text
    keep = width - 1
    if keep < 0:
        return ""
    head, tail = _start(text, keep // 2), _start(text[::-1], keep - keep // 2)[::-1]
    return f"{head}…{tail}"


def _start(text: str, width: int) -> str:
    """As many of the first characters as ``width`` columns take."""
    if text.isascii():
        return text[:width]
    taken = itertools.accumulate(map(display_width, text))
    return text[: sum(1 for _ in itertools.takewhile(lambda total: total <= width, taken))]


def short_names(nodeids: Sequence[str]) -> list[str]:
    """Node ids without the folders they share, and without the file where it is one."""
    files = [nodeid.partition("::")[0] for nodeid in nodeids]
    if len(set(files)) <= 1:
        return [nodeid.partition("::")[2] or nodeid for nodeid in nodeids]
    folders = [file.split("/")[:-1] for file in files]
    shared = 0
    while all(len(parts) > shared and parts[shared] == folders[0][shared] for parts in folders):
        shared += 1
    return ["/".join(nodeid.split("/")[shared:]) for nodeid in nodeids]


def counted(count: int, noun: str) -> str:
    """``1 test``, ``2 tests``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
