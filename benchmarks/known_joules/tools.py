"""The tools under test: how each one's adapter is started. Others are added on the command line (README.md)."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers import codecarbon_python, energy_reporter_python, zeus_python

ADAPTERS = Path(__file__).with_name("adapters")


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool's name and its adapter's command line."""

    name: str
    command: tuple[str, ...]


def _of(name: str, script: str, python: Callable[[], Path | None]) -> Callable[[], Tool | None]:
    def found() -> Tool | None:
        interpreter = python()
        return None if interpreter is None else Tool(name, (str(interpreter), str(ADAPTERS / script)))

    return found


OURS = "pytest-tpf"
GPU_TOOLS: dict[str, Callable[[], Tool | None]] = {
    OURS: _of(OURS, "tpf_sampler.py", lambda: Path(sys.executable)),
    "Zeus": _of("Zeus", "zeus_monitor.py", zeus_python),
    "CodeCarbon": _of("CodeCarbon", "codecarbon_tracker.py", codecarbon_python),
}
"""Tools that measure GPUs; each gives None where it can't be installed."""

ENERGY_REPORTER = "pytest-energy-reporter"
ALL_TOOLS = GPU_TOOLS | {ENERGY_REPORTER: _of(ENERGY_REPORTER, "energy_reporter.py", energy_reporter_python)}


def chosen(names: list[str] | None, adapters: list[str]) -> list[Tool]:
    """The tools named (all of ``GPU_TOOLS`` where ``names`` is None) and those given as ``NAME=COMMAND``.

    Raises:
        SystemExit: an unknown name, or an adapter without a command.
    """
    unknown = [name for name in names or () if name not in GPU_TOOLS]
    broken = [text for text in adapters if not text.partition("=")[2].strip()]
    if unknown or broken:
        raise SystemExit(f"unknown tool or adapter: {', '.join(unknown + broken)} (tools: {', '.join(GPU_TOOLS)}; adapters: NAME=COMMAND)")
    found = [GPU_TOOLS[name]() for name in (GPU_TOOLS if names is None else names)]
    own = [Tool(name, tuple(shlex.split(command))) for name, _, command in (text.partition("=") for text in adapters)]
    return [tool for tool in found if tool is not None] + own
