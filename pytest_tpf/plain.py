"""A user's values as JSON builtins: what JSON can't carry becomes text, so that nothing measured is lost for it. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

_DEEPEST = 20
_LONGEST_TEXT = 10_000
_LARGEST_INTEGER = 2**53


def json_ready(value: Any, depth: int = 0) -> Any:
    """``value`` with only dict, list, str, int, float, bool and None in it; anything else, or deeper than 20, is its ``repr``."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and abs(value) <= _LARGEST_INTEGER:
        return int(value)
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    if isinstance(value, str):
        return value[:_LONGEST_TEXT]
    if depth < _DEEPEST and isinstance(value, Mapping):
        return {str(key): json_ready(item, depth + 1) for key, item in value.items()}
    if depth < _DEEPEST and isinstance(value, (list, tuple, set, frozenset)):
        return [json_ready(item, depth + 1) for item in value]
    return _text(value)


def _text(value: Any) -> str:
    try:
        return repr(value)[:_LONGEST_TEXT]
    except Exception:
        return f"<{type(value).__name__}>"
