"""Live progress on a terminal; silent in CI, in a pipe and in an xdist worker."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

    from pytest_tpf.measurement import Progress
    from pytest_tpf.records import TestRecord

_SAVE, _RESTORE, _CLEAR_TO_END = "\x1b7", "\x1b8", "\x1b[K"


def progress_for(config: pytest.Config) -> Progress:
    """What to call after each round with the latest record (None before the first), the rounds done and the rounds wanted."""
    write = _line_writer(config)
    if write is None:
        return _silent
    return lambda record, done, wanted: write("" if done >= wanted else describe(record, done, wanted))


def say_waiting(config: pytest.Config) -> Callable[[str], None]:
    """What to call with the reason of a wait, and with "" when it is over."""
    write = _line_writer(config)
    return (lambda text: None) if write is None else lambda text: write(f" {text}" if text else "")


def _line_writer(config: pytest.Config) -> Callable[[str], None] | None:
    """Writes what fits behind the cursor; None where nobody watches."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or not reporter.isatty or os.environ.get("CI") or hasattr(config, "workerinput"):
        return None
    writer = config.get_terminal_writer()
    return lambda text: _to_terminal(text[: max(writer.fullwidth - writer.width_of_current_line - 1, 0)])


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
