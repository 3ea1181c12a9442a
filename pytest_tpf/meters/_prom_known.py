"""Exporters whose energy metrics are known by name, for a server that is given by its URL alone.

Names, units and labels: NVIDIA's dcgm-exporter (default-counters.csv), Kepler since 0.10 (docs/user/metrics.md: one counter for each RAPL
zone) and before (idle and dynamic parts, which add up), node_exporter's rapl collector. Core and uncore lie within the package, psys and
platform contain it: none of them is added.
"""

from __future__ import annotations

from collections.abc import Iterable

from pytest_tpf.meters._prom_config import Query
from pytest_tpf.meters.nvml import COUNTER_RESOLUTION_J
from pytest_tpf.meters.nvml import GAIN as BOARD_GAIN
from pytest_tpf.meters.rapl import DRAM_GAIN, PACKAGE_GAIN

_USAGE_AVERAGING_S = 1.0  # nvmlDeviceGetPowerUsage, which DCGM_FI_DEV_POWER_USAGE shows, is a mean over a second since Ampere


def _board(query: str, unit: str, resolution_j: float | None = None, averaging_s: float | None = None) -> Query:
    return Query(
        domain="gpu:{gpu}",
        query=query,
        unit=unit,
        uuid_label="UUID",
        gain=BOARD_GAIN,
        resolution_j=resolution_j,
        averaging_s=averaging_s,
        caches=True,
    )


def _joules(domain: str, query: str, gain: float) -> Query:
    return Query(domain=domain, query=query, unit="J", gain=gain)


_ZONES = (("cpu", "package", PACKAGE_GAIN), ("dram", "dram", DRAM_GAIN))

KNOWN: tuple[tuple[Query, ...], ...] = (
    (
        _board("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "mJ", resolution_j=COUNTER_RESOLUTION_J),
        _board("DCGM_FI_DEV_POWER_USAGE_INSTANT", "W"),
        _board("DCGM_FI_DEV_POWER_USAGE", "W", averaging_s=_USAGE_AVERAGING_S),
    ),
    *(
        (
            _joules(f"{kind}:0", f'kepler_node_cpu_joules_total{{zone=~"{zone}(-0)?"}}', gain),
            _joules(f"{kind}:0", f"sum by (instance) (kepler_node_{zone}_joules_total)", gain),
            _joules(f"{kind}:{{index}}", f"node_rapl_{zone}_joules_total", gain),
        )
        for kind, zone, gain in _ZONES
    ),
    *((_joules(f"{kind}:1", f'kepler_node_cpu_joules_total{{zone="{zone}-1"}}', gain),) for kind, zone, gain in _ZONES),
)
"""What is looked for: of each group the first query that finds anything."""


def probe(queries: Iterable[Query]) -> str:
    """One expression that counts the series of every query, told apart by the label ``n``."""
    counts = (f'label_replace(count({query.query}), "n", "{number}", "", "")' for number, query in enumerate(queries))
    return " or ".join(counts)
