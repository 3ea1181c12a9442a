"""What a machine was measured to do: GEMM rates, copy bandwidth, idle power; kept as JSON in the user's cache, a file a machine.

A calibration holds for the hardware it was made on, and for nothing else: its key names processor, cores and threads, or the board's UUID
and driver.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import os
import platform
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from pytest_tpf.codec import as_dict, from_dict
from pytest_tpf.records import Trust, record

FORMAT_VERSION = 1
_LARGEST_FILE_BYTES = 1_000_000


class CalibrationError(Exception):
    """A calibration can't be made or kept; the text is one line saying why."""


@record
class IdleReading:
    """Power of the idle machine at the IT boundary (W), how far to trust it and who read it; None with the reason."""

    power_w: float | None
    trust: Trust | None = None
    meter: str | None = None
    reason: str | None = None


@record
class Calibration:
    """Measured peaks of one device.

    ``gemm_flops_per_s``: by torch's dtype name (FLOP/s); ``gemm_reasons``: why a dtype (or ``copy``) has none. ``copy_bytes_per_s``: bytes
    read plus bytes written, per second. ``created_at``: UTC, ISO 8601.
    """

    key: str
    device: str
    gemm_flops_per_s: dict[str, float]
    gemm_reasons: dict[str, str]
    copy_bytes_per_s: float | None
    idle: IdleReading
    created_at: str
    software: dict[str, str]
    version: int = FORMAT_VERSION


# --- keys -------------------------------------------------------------------------------------------------------------


def cpu_key(threads: int | None = None) -> str:
    """The key of this machine's processor used with ``threads`` threads (default: those torch has now, or would take)."""
    return f"cpu:{cpu_model()}:{os.cpu_count() or 0} cores:{threads or cpu_threads()} threads"


def gpu_key(uuid: str, driver_version: str | None) -> str:
    """The key of an accelerator board under a driver; a UUID with or without NVML's ``GPU-``."""
    return f"gpu:{uuid.removeprefix('GPU-')}:driver {driver_version or 'unknown'}"


@functools.cache  # asked for with every measured test
def cpu_model() -> str:
    """What the operating system calls the processor."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.processor() or platform.machine()


def cpu_threads() -> int:
    """Threads torch computes with; where torch isn't loaded, the processors this process may use."""
    torch: Any = sys.modules.get("torch")
    if torch is not None:
        return int(torch.get_num_threads())
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


# --- files ------------------------------------------------------------------------------------------------------------


def cache_folder() -> Path:
    """``$TPF_CACHE_DIR``, else ``$XDG_CACHE_HOME/pytest-tpf``, else ``~/.cache/pytest-tpf``."""
    if own := os.environ.get("TPF_CACHE_DIR"):
        return Path(own)
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return Path(shared) / "pytest-tpf"
    return Path(os.path.expanduser("~")) / ".cache" / "pytest-tpf"


def calibration_path(key: str) -> Path:
    """The file in which the calibration of ``key`` is kept."""
    return cache_folder() / f"calibration-{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"


def save_calibration(calibration: Calibration) -> Path:
    """Keep ``calibration``, replacing an older one of the same key at once and whole; the file's path.

    Raises:
        CalibrationError: the cache folder can't be written.
    """
    path = calibration_path(calibration.key)
    text = json.dumps(as_dict(calibration), indent=2, sort_keys=True, allow_nan=False) + "\n"
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=path.parent, prefix=".calibration-", delete=False) as file:
            temporary = Path(file.name)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise CalibrationError(f"can't keep the calibration in {path.parent}: {error.strerror or error} (set TPF_CACHE_DIR)") from None
    return path


def load_calibration(key: str) -> Calibration | None:
    """The calibration kept for ``key``; None where there is none, or its file is damaged or of another version."""
    path = calibration_path(key)
    try:
        if path.stat().st_size > _LARGEST_FILE_BYTES:
            return None
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return _read(data) if isinstance(data, dict) and data.get("key") == key else None


def _read(data: dict[str, Any]) -> Calibration | None:
    try:
        calibration = from_dict(Calibration, data)
    except (TypeError, AttributeError, KeyError, ValueError):
        return None
    return calibration if _is_sound(calibration) else None


def _is_sound(calibration: Calibration) -> bool:
    """Every part has the type it should have: a file in a cache may have been edited or cut."""
    if calibration.version != FORMAT_VERSION or not isinstance(calibration.idle, IdleReading):
        return False
    mappings = (calibration.gemm_flops_per_s, calibration.gemm_reasons, calibration.software)
    if not all(isinstance(mapping, dict) for mapping in mappings):
        return False
    optional = (calibration.copy_bytes_per_s, calibration.idle.power_w)
    numbers = [*calibration.gemm_flops_per_s.values(), *(value for value in optional if value is not None)]
    return all(_is_positive(value) for value in numbers)


def _is_positive(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < math.inf
