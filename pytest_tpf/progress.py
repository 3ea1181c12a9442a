"""Live progress on a terminal; silent in CI, in a pipe and in an xdist worker."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

    from pytest_tpf.measurement import Progress
    from pytest_tpf.records import TestRecord

_SAVE, _RESTORE, _CLEAR_TO_END = "\x1b7", "\x1b8", "\x1b[K"


def progress_for(config: pytest.Config) -> Progress:
    """What to call after each round with the latest record (None before the first), the rounds done and the rounds wanted."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or not reporter.isatty or os.environ.get("CI") or hasattr(config, "workerinput"):
        return _silent
    writer = config.get_terminal_writer()

    def show(record: TestRecord | None, done: int, wanted: int) -> None:
        room = writer.fullwidth - writer.width_of_current_line - 1
        _to_terminal("" if done >= wanted else describe(record, done, wanted)[: max(room, 0)])

    return show


def describe(record: TestRecord | None, done: int, wanted: int) -> str:
    """The line that is shown: rounds done and wanted, J/token and the half-width of its interval."""
    figure = record.mandated.joules_per_token if record else None
    if figure is None or figure.value is None:
        return f" {done}/{wanted} rounds"
    spread = f" +- {(figure.ci95[1] - figure.ci95[0]) / 2 / figure.value:.1%}" if figure.ci95 and figure.value else ""
    estimated = " (estimated)" if figure.trust == "estimated" else ""
    return f" {done}/{wanted} rounds, {figure.value:.3g} J/token{spread}{estimated}"


def _silent(record: TestRecord | None, done: int, wanted: int) -> None:
    pass


def _to_terminal(text: str) -> None:
    """Behind the cursor, which stays where pytest left it; straight to the terminal, since stdout is captured during a test."""
    try:
        with open("/dev/tty", "w", encoding="utf-8") as terminal:
            terminal.write(f"{_SAVE}{_CLEAR_TO_END}{text}{_RESTORE}")
    except OSError:  # no terminal after all: progress is a courtesy
        pass
