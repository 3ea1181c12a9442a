"""A run that is told to end, by a scheduler, a CI service or a lost terminal, ends like one that is interrupted: with its report."""

from __future__ import annotations

import signal
import threading
from typing import Any

import pytest

_SIGNALS = tuple(number for name in ("SIGTERM", "SIGHUP") if (number := getattr(signal, name, None)) is not None)


class Termination:
    """While it watches, the first SIGTERM or SIGHUP ends the run in order; a second one ends the process at once.

    Signals that somebody else handles, or that are ignored (nohup), are left alone.
    """

    def __init__(self) -> None:
        self._watched: list[signal.Signals] = []

    def watch(self) -> None:
        """Handle the signals from now on; only the main thread can."""
        if self._watched or threading.current_thread() is not threading.main_thread():
            return
        for number in _SIGNALS:
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, self._end)
                self._watched.append(number)

    def unwatch(self) -> None:
        """Leave the signals as they were."""
        for number in self._watched:
            if signal.getsignal(number) == self._end:
                signal.signal(number, signal.SIG_DFL)
        self._watched.clear()

    def _end(self, number: int, frame: Any) -> None:
        self.unwatch()
        # Without a code of its own: pytest prints its summaries, and so the table, for a run that was interrupted (2) alone.
        raise pytest.exit.Exception(f"tpf: ended by {signal.Signals(number).name}")
