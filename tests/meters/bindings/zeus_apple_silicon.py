"""A stand-in for the binding that Zeus reads Apple silicon by (zeus-apple-silicon 1.1): every part draws a constant power."""

from __future__ import annotations

import time
from types import SimpleNamespace

WATTS = {"cpu_total_mj": 12.0, "dram_mj": 2.0, "gpu_mj": 20.0, "gpu_sram_mj": 0.5, "ane_mj": 3.0}
ABSENT = (
    "efficiency_cores_mj",
    "performance_cores_mj",
    "efficiency_cluster_mj",
    "performance_cluster_mj",
    "efficiency_core_manager_mj",
    "performance_core_manager_mj",
)


class AppleEnergyMonitor:
    def get_cumulative_energy(self):
        t = time.perf_counter()
        return SimpleNamespace(**{name: int(watts * t * 1000) for name, watts in WATTS.items()}, **dict.fromkeys(ABSENT))
