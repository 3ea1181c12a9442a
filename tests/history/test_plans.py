"""What a comparison asks is answered by indexes in both databases, whatever lies in the history: their own plans say so."""

from __future__ import annotations

import re

import pytest
from sqlalchemy import text
from sqlalchemy.dialects import postgresql, sqlite

from pytest_tpf.history import _queries
from pytest_tpf.history.runs import RunFilter
from pytest_tpf.history.storage import open_store
from tests.history.saved import HARDWARE, MAIN, nights

KEYS = [f"tests/test_a.py::test[{number}]" for number in range(30)]
FILTERS = {
    "latest": RunFilter(fingerprint=HARDWARE),
    "name": RunFilter(name="nightly"),
    "commit": RunFilter(commit=MAIN[:9]),
    "branch": RunFilter(branch="main", fingerprint=HARDWARE),
    "since": RunFilter(since="2026-01-20T00:00:00Z"),
    "report": RunFilter(report_id="0123"),
}


@pytest.fixture(scope="module")
def filled(tmp_path_factory, postgres_server):
    """Both databases with 70 runs on seven branches, under statistics that their planners believe."""
    urls = {"sqlite": f"sqlite:///{tmp_path_factory.mktemp('plans')}/history.db", "postgresql": postgres_server.database()}
    stores = {name: open_store(url) for name, url in urls.items()}
    for store in stores.values():
        for number, branch in enumerate(("main", "a", "b", "c", "d", "e", "f")):
            for report in nights(10, KEYS, branch=branch, commit=f"{number}" * 40):
                store.save(report, "nightly" if branch == "f" else None)
        store._database.shrink()
    yield stores
    for store in stores.values():
        store.close()


def plan(store, statement) -> str:
    dialect = sqlite.dialect() if store._database.file else postgresql.dialect()
    sql = str(statement.compile(dialect=dialect, compile_kwargs={"literal_binds": True})).replace("%%", "%")
    explain = "EXPLAIN QUERY PLAN " if store._database.file else "EXPLAIN "
    with store._database.reading() as connection:
        if not store._database.file:
            connection.execute(text("SET LOCAL enable_seqscan = off"))  # a small table is read whole otherwise
        return "\n".join(str(row[-1]) for row in connection.exec_driver_sql(explain + sql))


def scanned(plan_text: str) -> list[str]:
    """Tables that are read from end to end."""
    return re.findall(r"SCAN (tpf_\w+)(?! USING (?:COVERING )?INDEX)|Seq Scan on (\w+)", plan_text)


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
@pytest.mark.parametrize("fingerprint", [HARDWARE, None])
@pytest.mark.parametrize("keys", [KEYS[:1], KEYS])
def test_the_newest_rows_of_a_branch_come_from_the_end_of_one_index(filled, database, fingerprint, keys):
    statement = _queries.newest_of_branch(keys, "main", fingerprint, 5, lateral=database == "postgresql")
    how = plan(filled[database], statement)
    assert scanned(how) == []
    assert "tpf_test_newest" in how
    assert "TEMP B-TREE" not in how
    assert "Sort" not in how


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_the_rows_of_given_runs_are_looked_up(filled, database):
    how = plan(filled[database], _queries.references_of_runs(KEYS[:2], [3, 5, 7]))
    assert scanned(how) == []
    exact = r"\(series_id=\? AND is_reference=\? AND at_us=\?\)|\(is_reference = 1\) AND \(at_us = tpf_run\.at_us\)\)"
    assert "tpf_test_newest" in how
    assert re.search(exact, how)


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
@pytest.mark.parametrize("wanted", FILTERS)
def test_runs_are_looked_up(filled, database, wanted):
    how = plan(filled[database], _queries.runs_where(FILTERS[wanted], 20))
    assert scanned(how) == []
    assert "ndex" in how.replace("INDEX", "Index")


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_the_rows_of_a_run_are_looked_up(filled, database):
    store = filled[database]
    assert scanned(plan(store, _queries.ids_of_run(3))) == []
    assert scanned(plan(store, _queries.tests_by_id([1, 2, 3]))) == []
