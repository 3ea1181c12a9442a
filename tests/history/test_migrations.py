"""Histories of earlier versions become today's, once, whoever comes first; those of later versions are left alone."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect, text

from pytest_tpf.codec import as_dict
from pytest_tpf.history import _migrations
from pytest_tpf.history._schema import METADATA
from pytest_tpf.history.errors import HistoryError
from pytest_tpf.history.storage import open_store
from tests.history.saved import run

ROOT = Path(__file__).parents[2]
STEP = """
def step(connection):
    from sqlalchemy import text
    connection.execute(text("ALTER TABLE tpf_run ADD COLUMN colour TEXT"))
    connection.execute(text("UPDATE tpf_run SET colour = 'blue ' || report_id"))
"""
"""A second step, as one may come: it changes a table and fills it."""


def second_step():
    space: dict = {}
    exec(STEP, space)
    return space["step"]


@pytest.fixture
def engine(storage):
    made = create_engine(storage.replace("postgresql:", "postgresql+psycopg:"))
    yield made
    made.dispose()


def taken(engine) -> list[int]:
    with engine.connect() as connection:
        return list(connection.scalars(text("SELECT version FROM tpf_schema ORDER BY version")))


def test_the_tables_are_those_that_queries_see(storage, engine):
    open_store(storage).close()
    found = inspect(engine)
    assert set(found.get_table_names()) == set(METADATA.tables)
    for name, table in METADATA.tables.items():
        columns = {column["name"]: (column["nullable"], column["type"].python_type) for column in found.get_columns(name)}
        assert columns.keys() == set(table.columns.keys())
        for column in table.columns:
            nullable, kind = columns[column.name]
            assert kind is column.type.python_type
            assert column.primary_key or nullable == column.nullable
        assert set(found.get_pk_constraint(name)["constrained_columns"]) == {column.name for column in table.primary_key}


def test_a_version_1_history_is_brought_up_to_date_and_keeps_its_reports(storage, engine, monkeypatch):
    report, later = run(), run()
    with open_store(storage) as store:
        store.save(report)
    assert taken(engine) == [1]
    monkeypatch.setattr(_migrations, "STEPS", (*_migrations.STEPS, second_step()))
    for _ in range(2):
        with open_store(storage) as store:
            assert as_dict(store.load(store.runs()[0])) == as_dict(report)
    assert taken(engine) == [1, 2]
    with open_store(storage) as store:
        store.save(later)
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT report_id, colour FROM tpf_run ORDER BY id")).all()
    assert [tuple(row) for row in rows] == [(report.report_id, f"blue {report.report_id}"), (later.report_id, None)]


def test_a_history_from_nothing_takes_all_steps(storage, engine, monkeypatch):
    monkeypatch.setattr(_migrations, "STEPS", (*_migrations.STEPS, second_step()))
    with open_store(storage) as store:
        store.save(run())
    assert taken(engine) == [1, 2]


def test_a_step_that_fails_leaves_the_version_before_it(storage, engine, monkeypatch):
    with open_store(storage) as store:
        store.save(run())

    def broken(connection):
        second_step()(connection)
        connection.execute(text("SELECT * FROM nowhere"))

    with monkeypatch.context() as patched:
        patched.setattr(_migrations, "STEPS", (*_migrations.STEPS, broken))
        with pytest.raises(HistoryError, match="nowhere"):
            open_store(storage)
    assert taken(engine) == [1]
    assert "colour" not in {column["name"] for column in inspect(engine).get_columns("tpf_run")}
    with open_store(storage) as store:
        assert len(store.runs()) == 1


def test_two_first_users_at_once_take_each_step_once(storage, engine):
    with open_store(storage) as store:
        store.save(run())
    code = textwrap.dedent(
        """
        import sys
        from pytest_tpf.history import _migrations
        from pytest_tpf.history.storage import open_store
        from tests.history.saved import run
        from tests.history.test_migrations import second_step
        _migrations.STEPS = (*_migrations.STEPS, second_step())
        with open_store(sys.argv[1]) as store:
            store.save(run())
        """
    )
    command = [sys.executable, "-c", code, storage]
    processes = [subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) for _ in range(5)]
    assert [process.communicate()[1] for process in processes] == [""] * 5
    assert taken(engine) == [1, 2]
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM tpf_run")) == 6
        assert connection.scalar(text("SELECT count(colour) FROM tpf_run")) == 1


def test_a_newer_history_is_left_alone(storage, engine):
    with open_store(storage) as store:
        store.save(run())
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO tpf_schema VALUES (7, '2030-01-01T00:00:00Z', 'pytest-tpf 9.0')"))
    for create in (True, False):
        with pytest.raises(HistoryError) as caught:
            open_store(storage, create=create)
        said = "was written by a newer pytest-tpf (schema 7, this one knows 1); upgrade pytest-tpf"
        assert str(caught.value).endswith(f": {said}")
    assert taken(engine) == [1, 7]
