"""What was measured so far, kept beside the report while the run lasts: a process that is killed can't write at its end."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_tpf.records import Report

EVERY_S = 5.0
"""At least so long between two checkpoints (s): a shorter run has little to lose."""

_COST_SHARE = 0.02  # of the run's time, at most, goes into them


class Checkpoint:
    """A valid report at ``PATH.partial``, until the report itself is written."""

    def __init__(self, report: Path) -> None:
        self.path = report.with_name(f"{report.name}.partial")
        is_file = report.is_file() or not report.exists()  # a pipe or a device has nothing beside it
        self._due_s = time.monotonic() + EVERY_S if is_file else math.inf

    def save(self, so_far: Callable[[], Report]) -> None:
        """Write what there is, unless the last time was just now. Where that fails the report's own failure will be told."""
        from pytest_tpf.report.errors import ReportError
        from pytest_tpf.report.write import write_report

        began_s = time.monotonic()
        if began_s < self._due_s:
            return
        try:
            write_report(self.path, so_far())
        except ReportError:
            self._due_s = math.inf
            return
        ended_s = time.monotonic()
        self._due_s = ended_s + max(EVERY_S, (ended_s - began_s) / _COST_SHARE)

    def discard(self) -> None:
        """The report is written: it holds everything."""
        with contextlib.suppress(OSError):
            self.path.unlink(missing_ok=True)
