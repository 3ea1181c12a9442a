"""What goes wrong with the history, as one line for the user."""

from __future__ import annotations


class HistoryError(Exception):
    """The history can't be opened, read or written. The text is one line: what, where, what to do; a password is never in it."""


class RefusedReport(HistoryError):
    """A report that isn't kept, because it is invalid."""
