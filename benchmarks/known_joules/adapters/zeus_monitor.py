"""Zeus: ZeusMonitor over every GPU that it sees, CPUs left out."""

from __future__ import annotations

import os
from typing import Any

from adapter_loop import serve


class Zeus:
    """One monitor. Execution isn't synchronised: there is no framework and no GPU work here."""

    def __init__(self) -> None:
        from zeus.monitor import ZeusMonitor

        self.notes: list[str] = []
        self._monitor = ZeusMonitor(cpu_indices=[])
        self._measured: Any = None

    def prepare(self) -> None:
        """Nothing."""

    def begin(self) -> None:
        """Open a window."""
        self._monitor.begin_window("w", sync_execution=False, restart=True)

    def end(self) -> None:
        """Close it."""
        self._measured = self._monitor.end_window("w", sync_execution=False)

    def claim(self) -> dict[str, Any]:
        """Energy by the driver's index where none is hidden; Zeus counts as CUDA does."""
        boards = {} if "CUDA_VISIBLE_DEVICES" in os.environ else self._measured.gpu_energy
        return {"joules": self._measured.total_energy, "boards": {str(index): {"joules": joules} for index, joules in boards.items()}}

    def close(self) -> None:
        """Nothing."""


if __name__ == "__main__":
    serve("zeus", Zeus)
