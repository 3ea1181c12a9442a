"""pytest-tpf: energy-to-token measurements from a pytest suite.

Importing this package is cheap on purpose: the public names load on first use.
"""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"

__all__ = ["__version__"]


def __getattr__(name: str) -> Any:
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
