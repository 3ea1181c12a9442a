"""The example ``examples/served`` as the tests use it: its folder, and its way to start a server."""

from __future__ import annotations

import importlib.util
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
SERVED = EXAMPLES / "served"
ADDER = EXAMPLES / "adder" / "models" / "adder-1m"


def serve_the_adder() -> AbstractContextManager[str]:
    """Starts the server; where it can't be had, the tests that ask for it are skipped."""
    for name in ("openai", "torch", "fastapi", "uvicorn"):
        pytest.importorskip(name)
    spec = importlib.util.spec_from_file_location("served_under_test", SERVED / "server.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.serving(str(ADDER))
