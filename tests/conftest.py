"""Fixtures every test module may use."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from tests.meters.prom_server import Prometheus

settings.register_profile("unhurried", deadline=None)  # how long an example takes is the machine's load, not a result
settings.load_profile("unhurried")


@pytest.fixture(scope="session")
def prometheus_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A real Prometheus server that scrapes a known board; started once, because that takes seconds."""
    from tests.meters.prom_server import prometheus

    with prometheus(tmp_path_factory.mktemp("prometheus")) as running:
        yield running
