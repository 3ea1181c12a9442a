"""Times a tool's window from within its own process: ``python window_loop.py MODULE CLASS WINDOWS HELD_S`` prints its costs as JSON.

MODULE holds an adapter of benchmarks/known_joules/adapters or is ``plugin_window``; CLASS has ``prepare``, ``begin``, ``end``, ``close``,
and where there is work left for later, ``evaluate``. Windows stay open for a random time up to HELD_S, which is not counted. Standard
library alone: it runs in the environment of the tool.
"""

from __future__ import annotations

import importlib
import json
import random
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
    module, name, windows, held_s = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
    sys.path.append(str(Path(__file__).resolve().parents[1] / "known_joules" / "adapters"))
    tool = getattr(importlib.import_module(module), name)()
    tool.prepare()
    rng = random.Random(1)
    for _ in range(windows // 20):
        _window_s(tool, rng.uniform(0.0, held_s))
    cpu_s = _cpu_s()
    warm = [_window_s(tool, rng.uniform(0.0, held_s)) for _ in range(windows)]
    cpu_s = _cpu_s() - cpu_s
    cold = [_cold_window_s(tool, rng.uniform(0.0, held_s)) for _ in range(max(windows // 20, 5))]
    found = {
        "wall_us": 1e6 * statistics.median(warm),
        "cpu_us": 1e6 * cpu_s / windows,
        "cold_us": 1e6 * statistics.median(cold),
    }
    evaluate: Callable[[], float] | None = getattr(tool, "evaluate", None)
    if evaluate is not None:
        found["evaluate_ms"] = 1e3 * statistics.median(evaluate() for _ in range(EVALUATIONS))
    tool.close()
    print(json.dumps(found))


def _cold_window_s(tool: Any, held_s: float) -> float:
    time.sleep(COLD_PAUSE_S)
    return _window_s(tool, held_s)


def _window_s(tool: Any, held_s: float) -> float:
    """Seconds that beginning and ending a window take together."""
    start_s = time.perf_counter()
    tool.begin()
    begun_s = time.perf_counter()
    if held_s:
        time.sleep(held_s)
    ending_s = time.perf_counter()
    tool.end()
    return time.perf_counter() - ending_s + begun_s - start_s


def _cpu_s() -> float:
    """CPU seconds of this process and of its children that ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


if __name__ == "__main__":
    main()
