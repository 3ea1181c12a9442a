"""Environments for the tools we are measured beside: made once, in the user's cache folder, never in ours."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "pytest-tpf-benchmarks"
ROOT = Path(__file__).resolve().parents[1]


def python_with(name: str, *requirements: str) -> Path | None:
    """The interpreter of the environment ``name`` that has ``requirements``; None where they can't be installed."""
    folder = CACHE / name
    python, done = folder / "bin" / "python", folder / ".done"
    if done.exists():
        return python
    print(f"installing {', '.join(requirements)} into {folder} (once) ...", file=sys.stderr)
    try:
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"{name}: not available: {error}", file=sys.stderr)
        return None
    done.touch()
    return python


def environment(**more: str) -> dict[str, str]:
    """The environment of a benchmarked process: byte code is cached, as on a user's machine."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONDONTWRITEBYTECODE", "CI")}
    return kept | {"PYTHONPATH": str(ROOT)} | more


def zeus_python() -> Path | None:
    """An interpreter with Zeus."""
    return python_with("zeus", "zeus")


def codecarbon_python() -> Path | None:
    """An interpreter with CodeCarbon."""
    return python_with("codecarbon", "codecarbon>=3,<4")


def energy_reporter_python() -> Path | None:
    """An interpreter with pytest-energy-reporter and the pytest it pins. It imports matplotlib and doesn't declare it."""
    return python_with("energy-reporter", "pytest-energy-reporter>=0.5,<0.6", "matplotlib")


def version_of(python: Path | str, distribution: str) -> str:
    """The version of ``distribution`` in the environment of ``python``."""
    script = f"import importlib.metadata; print(importlib.metadata.version({distribution!r}))"
    return subprocess.run([str(python), "-c", script], check=True, capture_output=True, text=True).stdout.strip()


def nvidia_smi_folder(folder: Path) -> Path:
    """A folder for ``PATH`` whose ``nvidia-smi`` does nothing: tools that look for that program then look at NVML."""
    program = folder / "bin" / "nvidia-smi"
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text("#!/bin/sh\nexit 0\n")
    program.chmod(0o755)
    return program.parent


def plugins_python() -> Path | None:
    """An interpreter with pytest, this plugin and pytest-benchmark."""
    return python_with("plugins", "pytest==9.2.0", "pytest-benchmark==5.3.1", str(ROOT))


def zeus_package() -> Path | None:
    """A folder with Zeus and what its device layer imports, to be put on a path: 8 MB instead of the 420 MB of all it depends on.

    None where it can't be installed. The wheel also holds top-level folders named ``tests`` and ``docs``: put the folder last.
    """
    folder = CACHE / "zeus-device-layer"
    if folder.exists():
        return folder
    draft = folder.with_name(f"{folder.name}.{os.getpid()}")  # renamed when whole: test workers may install at the same time
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", str(draft), "--upgrade"]
    try:
        subprocess.run([*pip, "httpx>=0.27"], check=True)
        subprocess.run([*pip, "--no-deps", "zeus==0.16.0"], check=True)
        draft.rename(folder)
    except (OSError, subprocess.CalledProcessError) as error:
        shutil.rmtree(draft, ignore_errors=True)
        print(f"zeus: not available: {error}", file=sys.stderr)
    return folder if folder.exists() else None


def gate_python() -> Path | None:
    """An interpreter with pytest-benchmark and pytest-xdist, without this plugin."""
    return python_with("gate", "pytest==9.2.0", "pytest-benchmark==5.3.1", "pytest-xdist>=3.6")
