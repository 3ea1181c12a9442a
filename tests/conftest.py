"""Fixtures every test module may use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from tests.meters.prom_server import Prometheus

_NEIGHBOURS = ("anyio", "hypothesispytest", "randomly", "rerunfailures", "timeout")


def neighbours_off(*but: str) -> str:
    """Options without the plugins that are installed for the tests about them: what they do to a run, and their start-up, is theirs."""
    return " ".join(f"-p no:{name}" for name in _NEIGHBOURS if name not in but)


# How long an example takes is the machine's load, not a result. `make test` tries the same examples every time, so that what is red has
# become so by a change; `make stress` looks for new ones.
settings.register_profile("known", deadline=None, max_examples=50, derandomize=True)
settings.register_profile("new", deadline=None, max_examples=200)
settings.load_profile(os.environ.get("EXAMPLES", "known"))


@pytest.fixture(scope="session")
def prometheus_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A real Prometheus server that scrapes a known board; started once, because that takes seconds."""
    from tests.meters.prom_server import prometheus

    with prometheus(tmp_path_factory.mktemp("prometheus")) as running:
        yield running


@pytest.fixture(scope="module")
def transformers_serve() -> Iterator[str]:
    """The base URL of a real `transformers serve` of the adder, started as its example starts it; once a module: it takes seconds."""
    from tests.examples.served import serve_the_adder

    with serve_the_adder() as base_url:
        yield base_url


@pytest.fixture(scope="session", autouse=True)
def _neighbours_off() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTEST_ADDOPTS", neighbours_off())
        yield


@pytest.fixture
def pytester(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """Pytest's own, which forgets PYTEST_ADDOPTS; a test about a neighbour says so with neighbours_off."""
    monkeypatch.setenv("PYTEST_ADDOPTS", neighbours_off())
    return pytester
