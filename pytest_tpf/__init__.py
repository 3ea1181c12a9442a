"""pytest-tpf: energy-to-token measurements from a pytest suite.

Importing this package is cheap on purpose: every pytest run does it. The public names load on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_tpf.engines.custom import engine
    from pytest_tpf.engines.protocol import Engine, Generation, Request
    from pytest_tpf.fixture import Tpf, Window
    from pytest_tpf.meters.protocol import Channel, ChannelInfo, Meter, MeterOptions, MeterUnavailable, Opened, ReadFault, Status
    from pytest_tpf.records import Model, Report, TestRecord

__version__ = "0.1.0"

__all__ = [
    "Channel",
    "ChannelInfo",
    "Engine",
    "Generation",
    "Meter",
    "MeterOptions",
    "MeterUnavailable",
    "Model",
    "Opened",
    "ReadFault",
    "Report",
    "Request",
    "Status",
    "TestRecord",
    "Tpf",
    "Window",
    "__version__",
    "engine",
]

_HOMES = {
    "engines.custom": ("engine",),
    "engines.protocol": ("Engine", "Generation", "Request"),
    "fixture": ("Tpf", "Window"),
    "meters.protocol": ("Channel", "ChannelInfo", "Meter", "MeterOptions", "MeterUnavailable", "Opened", "ReadFault", "Status"),
    "records": ("Model", "Report", "TestRecord"),
}


def __getattr__(name: str) -> Any:
    home = next((module for module, names in _HOMES.items() if name in names), None)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"{__name__}.{home}"), name)
