"""What a window costs: the wall and CPU time of its begin and end, the CPU of what samples while it is open, and the import."""

from __future__ import annotations

import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.known_joules.adapter import started
from benchmarks.known_joules.tools import ENERGY_REPORTER, OURS, Tool
from benchmarks.peers import environment, nvidia_smi_folder
from tests.standin import Standin, many_boards

COUNTER_S = 0.02
OPEN_S = 6.0  # CPU is taken while a window of this length is open, but for its first and last half second
IMPORTS = 7
LOOP = Path(__file__).with_name("window_loop.py")


@dataclass(frozen=True, slots=True)
class Timed:
    """How a tool's window is timed, and what it imports: modules, after others that a run has anyway.

    ``held_s``: windows stay open for up to so long (which isn't counted) where ending one costs more the longer it was open.
    """

    module: str
    name: str
    windows: int
    imports: tuple[str, ...]
    after: str = "sys"
    held_s: float = 0.0


TIMED = {
    OURS: Timed("plugin_window", "PluginWindow", 2000, ("pytest_tpf.plugin", "pytest_tpf.measuring"), "pytest, importlib.metadata"),
    "Zeus": Timed("zeus_monitor", "Zeus", 2000, ("zeus.monitor",)),
    "CodeCarbon": Timed("codecarbon_tracker", "CodeCarbon", 400, ("codecarbon",)),
    ENERGY_REPORTER: Timed(
        "energy_reporter", "EnergyReporter", 20, ("pytest_energy_reporter.plugin",), "pytest, importlib.metadata", held_s=0.4
    ),
}


def windows(tool: Tool, boards: int) -> dict[str, float]:
    """Medians of one window, as window_loop.py prints them."""
    timed = TIMED[tool.name]
    standin = Standin(boards=many_boards(boards, base_w=300.0, counter_period_s=COUNTER_S, utilization_percent=0))
    with tempfile.TemporaryDirectory() as folder:
        path = f"{nvidia_smi_folder(Path(folder))}:{environment().get('PATH', '')}"
        variables = environment(**standin.environment(Path(folder)), PATH=path, HOME=folder)
        variables.pop("CUDA_VISIBLE_DEVICES", None)
        command = [tool.command[0], str(LOOP), timed.module, timed.name, str(timed.windows), str(timed.held_s)]
        done = subprocess.run(command, env=variables, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{tool.name}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def sampling_share(tool: Tool, boards: int) -> float:
    """CPU of the tool's process and its helpers while a window is open and the test sleeps, as a share of one core."""
    standin = Standin(boards=many_boards(boards, base_w=300.0, counter_period_s=COUNTER_S))
    with started(tool.command, standin) as adapter:
        adapter.greeting()
        begin_s = time.perf_counter() + 1.0
        adapter.order(begin_s, OPEN_S)
        time.sleep(max(begin_s + 0.5 - time.perf_counter(), 0.0))
        before, start_s = tree_cpu_s(adapter.pid), time.perf_counter()
        time.sleep(OPEN_S - 1.0)
        after, end_s = tree_cpu_s(adapter.pid), time.perf_counter()
        adapter.answer()
    common = before.keys() & after.keys()
    return (sum(after.values()) - sum(before[pid] for pid in common)) / (end_s - start_s)


def tree_cpu_s(pid: int) -> dict[int, float]:
    """CPU seconds of each process of the tree of ``pid``, threads that ended included (Linux)."""
    return {member: time.clock_gettime(_cpu_clock(member)) for member in tree(pid)}


def _cpu_clock(pid: int) -> int:
    """What clock_getcpuclockid(3) gives for another process."""
    return (~pid << 3) | 2


def tree(pid: int) -> Iterator[int]:
    """``pid`` and all that descend from it."""
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from tree(int(child))


def import_ms(tool: Tool) -> dict[str, float]:
    """For each module the median time of its import in a fresh process."""
    timed = TIMED[tool.name]
    return {module: statistics.median(_import_ms(tool.command[0], timed.after, module) for _ in range(IMPORTS)) for module in timed.imports}


def _import_ms(python: str, after: str, module: str) -> float:
    script = f"import time, {after}; t = time.perf_counter(); import {module}; print('import', (time.perf_counter() - t) * 1e3)"
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run([python, "-c", script], env=environment(), cwd=folder, capture_output=True, text=True, check=True)
    return next(float(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("import "))
