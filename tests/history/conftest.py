"""Both databases: SQLite in a folder, PostgreSQL from a real server that is started once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.history.postgres import Postgres, postgres


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    with postgres() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def storage(request: pytest.FixtureRequest, tmp_path) -> str:
    """The URL of an empty database."""
    if request.param == "postgresql":
        server: Postgres = request.getfixturevalue("postgres_server")
        return server.database()
    return f"sqlite:///{tmp_path}/.tpf/history.db"
