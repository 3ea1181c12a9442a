"""The adapter's half of the protocol (README.md), so that an adapter only opens its tool's window, closes it and says what it claims.

Runs in the environment of the tool under test, so it needs the standard library alone. It is imported by its plain name: the folder
of the script that was started is first on Python's path. Clock: ``time.perf_counter()``, CLOCK_MONOTONIC on Linux for all processes.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from typing import IO, Any, Protocol


class Refused(Exception):
    """The tool says that it can't measure here: an honest answer. The text is its reason."""


class Tool(Protocol):
    """A tool that was set up and measures one window after the other."""

    notes: list[str]

    def prepare(self) -> None:
        """What a user of the tool does well before the window, if anything."""

    def begin(self) -> None:
        """Open the window."""

    def end(self) -> None:
        """Close it."""

    def claim(self) -> dict[str, Any]:
        """What the tool says of the window that was closed: ``joules``, ``reason``, ``half_width_j`` ... as in README.md."""

    def close(self) -> None:
        """No further window."""


class Caught:
    """What the tool says on the side: Python's warnings and log records from WARNING on, of every logger."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        warnings.simplefilter("always")
        warnings.showwarning = lambda message, *_, **__: self._keep(str(message))
        self._make_record = logging.getLogRecordFactory()
        logging.setLogRecordFactory(self._record)  # sees what loggers don't pass on

    def take(self) -> list[str]:
        """What was said since the last call."""
        texts, self._texts = self._texts, []
        return texts

    def _record(self, *args: Any, **named: Any) -> logging.LogRecord:
        record = self._make_record(*args, **named)
        if record.levelno >= logging.WARNING:
            self._keep(record.getMessage())
        return record

    def _keep(self, text: str) -> None:
        self._texts.append(" ".join(text.split())[:300])


def serve(distribution: str, open_tool: Callable[[], Tool]) -> None:
    """Speak the protocol on stdin and stdout until stdin ends. What the tool itself prints goes to stderr."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    caught = Caught()
    head = {"distribution": distribution, "version": version(distribution)}
    try:
        tool = open_tool()
    except Exception as error:
        answers.write(json.dumps(head | _failure(error)) + "\n")
        return
    answers.write(json.dumps(head | {"ready": True, "notes": [*caught.take(), *tool.notes]}) + "\n")
    for line in sys.stdin:
        _answer(tool, caught, json.loads(line), answers)
    tool.close()


def _answer(tool: Tool, caught: Caught, order: dict[str, Any], answers: IO[str]) -> None:
    instants: dict[str, list[float]] = {}
    try:
        tool.prepare()
        _sleep_until(order["begin_s"])
        instants["begin_s"] = _called(tool.begin)
        _sleep_until(instants["begin_s"][1] + order["length_s"])
        instants["end_s"] = _called(tool.end)
        claim = tool.claim()
    except Exception as error:
        claim = _failure(error)
    answers.write(json.dumps({**instants, **claim, "flags": caught.take()}) + "\n")


def _called(call: Callable[[], None]) -> list[float]:
    """The instants at which a call was made and returned."""
    before = time.perf_counter()
    call()
    return [before, time.perf_counter()]


def _sleep_until(instant: float) -> None:
    while (left := instant - time.perf_counter()) > 0:
        time.sleep(left)


def _failure(error: Exception) -> dict[str, str]:
    text = " ".join(str(error).split())[:300]
    return {"refused": text} if isinstance(error, Refused) else {"error": f"{type(error).__name__}: {text}"}
