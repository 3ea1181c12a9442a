"""Times a tool's window from within its own process: ``python window_loop.py MODULE CLASS WINDOWS`` prints medians as JSON.

MODULE holds an adapter of benchmarks/known_joules/adapters or is ``plugin_window``; CLASS has ``prepare``, ``begin``, ``end``, ``close``,
and where there is work left for later, ``evaluate``. Standard library alone: it runs in the environment of the tool.
"""

from __future__ import annotations

import importlib
import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

COLD_PAUSE_S = 0.02
EVALUATIONS = 20


def main() -> None:
    module, name, windows = sys.argv[1], sys.argv[2], int(sys.argv[3])
    sys.path.append(str(Path(__file__).resolve().parents[1] / "known_joules" / "adapters"))
    tool = getattr(importlib.import_module(module), name)()
    tool.prepare()
    for _ in range(windows // 20):
        _window(tool)
    warm = [_window(tool) for _ in range(windows)]
    cold = [_cold_window(tool) for _ in range(max(windows // 20, 5))]
    found = {
        "wall_us": 1e6 * statistics.median(wall_s for wall_s, _ in warm),
        "cpu_us": 1e6 * statistics.fmean(cpu_s for _, cpu_s in warm),
        "cold_us": 1e6 * statistics.median(wall_s for wall_s, _ in cold),
    }
    evaluate: Callable[[], float] | None = getattr(tool, "evaluate", None)
    if evaluate is not None:
        found["evaluate_ms"] = 1e3 * statistics.median(evaluate() for _ in range(EVALUATIONS))
    tool.close()
    print(json.dumps(found))


def _cold_window(tool: Any) -> tuple[float, float]:
    time.sleep(COLD_PAUSE_S)
    return _window(tool)


def _window(tool: Any) -> tuple[float, float]:
    """(wall, CPU) seconds of beginning and ending a window; the CPU of child processes that ended with it counts."""
    cpu_s, start_s = _cpu_s(), time.perf_counter()
    tool.begin()
    tool.end()
    wall_s = time.perf_counter() - start_s
    return wall_s, _cpu_s() - cpu_s


def _cpu_s() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


if __name__ == "__main__":
    main()
