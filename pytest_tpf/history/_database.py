"""A connection to SQLite or PostgreSQL: what differs between the two, and their errors as one line."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from pytest_tpf.history.errors import HistoryError
from pytest_tpf.report.text import plain

WAIT_S = 60
"""How long a writer waits for its turn. Writers take turns in both databases: a save is short, and nothing can be in each other's way."""

_CONNECT_S = 10
_WRITERS_LOCK = 26050117330001  # any number, but always the same one
_EXAMPLES = "sqlite:///.tpf/history.db or postgresql://user@host/database"
_WRITES = "tpf_writes"
_HINTS = (
    ("database is locked", f"is kept locked by another process (waited {WAIT_S} s); try again when it has finished"),
    ("file is not a database", "is not an SQLite database; name another file, or move this one away"),
    ("malformed", "is damaged; move it away, or restore it from a copy (what it still holds: sqlite3 FILE .recover)"),
    ("readonly database", "can't be written: no permission"),
    ("disk is full", "can't be written: the disk is full"),
    ("disk I/O error", "can't be read or written: the disk is full or broken (disk I/O error)"),
    ("unable to open database file", "can't be opened: no permission, or a folder of the path is missing"),
)


class Database:
    """One database. ``where`` names it in messages, without password.

    Raises:
        HistoryError: from every method, where the database fails.
    """

    def __init__(self, url: str, folder: Path) -> None:
        parsed = _parsed(url, folder)
        self.file = Path(parsed.database or "") if parsed.get_backend_name() == "sqlite" else None
        self.where = plain(str(self.file) if self.file else _shown(parsed))
        self.engine = _engine(parsed, self.where)

    def make_folder(self) -> None:
        """For a file: its folder; ``.tpf`` also gets a ``.gitignore``, so that nobody commits a database by accident."""
        if self.file is None:
            return
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            ignore = self.file.parent / ".gitignore"
            if self.file.parent.name == ".tpf" and not ignore.exists():
                ignore.write_text("*\n")
        except OSError as error:
            raise HistoryError(f"{self.where}: its folder can't be made: {error.strerror or error}") from None

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that sees one state of the database, whatever others write."""
        with self._told(), self.engine.connect() as connection:
            if connection.dialect.name == "postgresql":
                connection = connection.execution_options(isolation_level="REPEATABLE READ")
            with connection.begin():
                yield connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction of the one writer; all of it is kept, or nothing. Waits up to ``WAIT_S`` for its turn."""
        with self._told(), self.engine.connect() as connection:
            connection = connection.execution_options(**{_WRITES: True})
            with connection.begin():
                if connection.dialect.name == "postgresql":
                    connection.execute(text(f"SET LOCAL lock_timeout = '{WAIT_S}s'"))
                    connection.execute(text(f"SELECT pg_advisory_xact_lock({_WRITERS_LOCK})"))
                yield connection

    def shrink(self) -> None:
        """Give the room of deleted rows back."""
        # outside of a transaction
        with self._told(), self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            if self.file is None:
                connection.execute(text("VACUUM (ANALYZE) tpf_test, tpf_run, tpf_series, tpf_label"))
            else:
                driver = connection.connection.cursor()
                driver.execute("VACUUM")
                driver.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, sqlite3.Error) as error:
            cause = error.orig if isinstance(error, DBAPIError) else error
            raise HistoryError(f"{self.where}: {_reason(cause)}") from None


def _parsed(url: str, folder: Path) -> URL:
    """The URL with its driver, a relative file made absolute."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise HistoryError(f"the storage is not a URL of a database; expected {_EXAMPLES}") from None
    if parsed.drivername in ("postgres", "postgresql", "postgresql+psycopg"):
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername not in ("sqlite", "sqlite+pysqlite"):
        raise HistoryError(f"storage {plain(parsed.drivername)!r} is not supported; expected {_EXAMPLES}")
    if parsed.database in (None, "", ":memory:") or parsed.host:
        raise HistoryError(f"the storage names no file; expected {_EXAMPLES}")
    return URL.create("sqlite", database=str((folder / str(parsed.database)).absolute()))


def _shown(url: URL) -> str:
    """Without password, and without the query, which may hold one, too."""
    return URL.create("postgresql", url.username, None, url.host, url.port, url.database).render_as_string()


def _engine(url: URL, where: str) -> Engine:
    if url.get_backend_name() == "sqlite":
        engine = create_engine(url, connect_args={"timeout": WAIT_S})
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    try:
        options = {"connect_timeout": _CONNECT_S, "application_name": "pytest-tpf"}
        missing = {name: value for name, value in options.items() if name not in url.query}
        return create_engine(url, connect_args=missing, pool_pre_ping=True)  # a suite may run for hours between two questions
    except ImportError:
        raise HistoryError(f'{where}: PostgreSQL needs psycopg: pip install "pytest-tpf[postgres]"') from None


def _prepare_sqlite(connection: sqlite3.Connection, _: Any) -> None:
    connection.isolation_level = None  # transactions begin where we say so, not where the driver does
    connection.execute("PRAGMA foreign_keys = ON")
    if connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
        with contextlib.suppress(sqlite3.OperationalError):  # a folder that can't be written, or somebody else is just doing it
            connection.execute("PRAGMA journal_mode = WAL")


def _begin_sqlite(connection: Connection) -> None:
    # a transaction that begins by reading and then writes fails at once where another has written in between
    writes = connection.get_execution_options().get(_WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _reason(error: BaseException | None) -> str:
    lines = str(error).strip().splitlines()
    said = lines[0] if lines else type(error).__name__
    return next((hint for sign, hint in _HINTS if sign in said), plain(said))
