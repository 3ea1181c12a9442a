"""What goes wrong with a report, as one line for the user."""

from __future__ import annotations

from collections.abc import Sequence


class ReportError(Exception):
    """A report can't be read or written. The text is one line: what, where, why.

    ``problems`` holds what validation found, where validation was the reason.
    """

    def __init__(self, text: str, problems: Sequence[str] = ()) -> None:
        super().__init__(text)
        self.problems = tuple(problems)
