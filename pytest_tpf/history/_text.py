"""Text as every database can hold and index it. Pure.

PostgreSQL refuses NUL, neither database takes a lone surrogate, and an index has a longest entry. Reports may hold all of it, so columns
hold this form of a text, and the report beside them holds the text itself.
"""

from __future__ import annotations

import hashlib
import re

MAX_TEXT = 200  # characters of up to 4 bytes; three of them fit into an entry of PostgreSQL's index
_ESCAPE = "\x1a"
_ESCAPED = re.compile(f"{_ESCAPE}([0-9a-f]{{4}})")
_REFUSED = re.compile("[\x00\x1a\ud800-\udfff]")


def column_text(text: str) -> str:
    """A form of ``text`` that is equal for equal texts alone, of at most ``MAX_TEXT`` characters."""
    safe = _REFUSED.sub(lambda found: f"{_ESCAPE}{ord(found[0]):04x}", text)
    if len(safe) <= MAX_TEXT:
        return safe
    digest = hashlib.sha256(safe.encode()).hexdigest()[:32]
    middle = f"[... sha256 {digest} ...]"
    rest = MAX_TEXT - len(middle)
    return f"{safe[: rest - rest // 2]}{middle}{safe[len(safe) - rest // 2 :]}"


def original(text: str) -> str:
    """The text that ``column_text`` was given; of one that was cut, the cut."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 16)), text) if _ESCAPE in text else text
