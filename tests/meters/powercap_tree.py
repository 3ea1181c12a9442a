"""A powercap tree as Linux writes it, for tests that read RAPL without having it."""

from __future__ import annotations

from pathlib import Path

RANGE_UJ = 262_143_328_850  # 2^32 units of 61 uJ, as real packages say


def zone(root: Path, folder: str, name: str, energy_uj: int | None = None, range_uj: int | None = RANGE_UJ) -> Path:
    path = root / folder
    path.mkdir(parents=True)
    (path / "name").write_text(f"{name}\n")
    if energy_uj is not None:
        (path / "energy_uj").write_text(f"{energy_uj}\n")
    if range_uj is not None:
        (path / "max_energy_range_uj").write_text(f"{range_uj}\n")
    return path
