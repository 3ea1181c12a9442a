"""CodeCarbon: a task of its tracker, GPU energy alone."""

from __future__ import annotations

from typing import Any

from adapter_loop import serve

JOULES_PER_KWH = 3.6e6


class CodeCarbon:
    """One tracker; a first empty task makes it look for hardware, which takes more than a second."""

    def __init__(self) -> None:
        from codecarbon import OfflineEmissionsTracker

        self.notes: list[str] = []
        self._tracker = OfflineEmissionsTracker(country_iso_code="DEU", save_to_file=False, allow_multiple_runs=True, log_level="warning")
        self.begin()
        self.end()

    def prepare(self) -> None:
        """Nothing."""

    def begin(self) -> None:
        """Open a task."""
        self._tracker.start_task()

    def end(self) -> None:
        """Close it."""
        self._data = self._tracker.stop_task()

    def claim(self) -> dict[str, Any]:
        """The task's GPU energy. Its record has none by board; the tracker's boards keep that of their last measurement: the task's."""
        devices = [device for hardware in self._tracker._hardware if hasattr(hardware, "devices") for device in hardware.devices.devices]
        boards = {str(device.gpu_index): {"joules": device.energy_delta.kWh * JOULES_PER_KWH} for device in devices}
        return {"joules": self._data.gpu_energy * JOULES_PER_KWH, "boards": boards}

    def close(self) -> None:
        """The tracker was never started outside tasks."""


if __name__ == "__main__":
    serve("codecarbon", CodeCarbon)
