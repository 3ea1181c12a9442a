"""A part of a report as it lies in the history: JSON, compressed. Pure.

A row of a report is some 6 kB of JSON, of which most is names that every row has: with a dictionary that knows the names it takes 1.2 kB,
without one 2.1 kB (zlib, level 6; reading it back takes 25 us either way).
"""

from __future__ import annotations

import json
import zlib
from typing import Any

from pytest_tpf.history._dictionary import DICTIONARY

_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_LEVEL = 6


def packed(value: Any) -> bytes:
    """JSON builtins as bytes. Nothing is lost: lone surrogates pass, and a float is the same again."""
    packer = zlib.compressobj(_LEVEL, zdict=DICTIONARY)
    return packer.compress(_ENCODER.encode(value).encode("utf-8", "surrogatepass")) + packer.flush()


def unpacked(content: bytes) -> Any:
    """What ``packed`` was given.

    Raises:
        ValueError: these bytes are something else.
    """
    try:
        return json.loads(zlib.decompressobj(zdict=DICTIONARY).decompress(content).decode("utf-8", "surrogatepass"))
    except zlib.error as error:
        raise ValueError(f"a stored part is damaged: {error}") from None
