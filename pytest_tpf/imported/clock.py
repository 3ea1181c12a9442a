"""Times of day as other tools write them, as Unix seconds. A time without a zone is taken as this machine's local time."""

from __future__ import annotations

from datetime import datetime

_EARLIEST_S, _LATEST_S = 1e8, 1e11  # as for power logs: neither a running time nor milliseconds


def unix_s(text: str, form: str | None = None) -> float | None:
    """``text``, in ISO 8601 or in ``form`` of strptime; None where it is no such time."""
    try:
        when = datetime.fromisoformat(text) if form is None else datetime.strptime(text, form)
        at_s = when.timestamp()
    except (ValueError, OverflowError, OSError):
        return None
    return at_s if _EARLIEST_S <= at_s <= _LATEST_S else None


def has_zone(text: str) -> bool:
    """Whether an ISO time says in which zone it is."""
    try:
        return datetime.fromisoformat(text).tzinfo is not None
    except ValueError:
        return False
