"""A real PostgreSQL server from the system's package, with data of its own in a folder of its own, on a free port of this machine."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

PASSWORD = "hidden:p@ss/word"
_USER = "tpf"
_START_S = 60.0
_PLAIN_USERS = ("postgres", "nobody")  # the server refuses to run as root


class Postgres:
    """A running server; ``database()`` gives a URL to an empty database."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._count = 0

    def url(self, database: str, password: str = PASSWORD, user: str = _USER) -> str:
        from sqlalchemy import URL

        where = URL.create("postgresql", user, password, "127.0.0.1", self.port, database)
        return where.render_as_string(hide_password=False)

    def database(self) -> str:
        self._count += 1
        name = f"test_{self._count}"
        self.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def execute(self, statement: str, database: str = "postgres") -> None:
        import psycopg

        with psycopg.connect(self.url(database), autocommit=True) as connection:
            connection.execute(statement)  # type: ignore[call-overload]


@contextmanager
def postgres() -> Iterator[Postgres]:
    """The server; skips where it isn't installed, except in CI."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    program = str(programs[-1]) if programs else shutil.which("postgres")
    if program is None:
        reason = "the PostgreSQL server is not installed: apt-get install postgresql"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="tpf-postgres-"))  # not pytest's, which only its owner may enter
    try:
        yield from _running(Path(program), folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _running(program: Path, folder: Path) -> Iterator[Postgres]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    who = _unprivileged(folder)
    folder.joinpath("password").write_text(PASSWORD)
    made = ["-D", "data", "-U", _USER, "--pwfile", "password", "-A", "scram-sha-256", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"]
    subprocess.run([program.with_name("initdb"), *made], cwd=folder, check=True, capture_output=True, **who)
    settings = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": "", "fsync": "off", "shared_buffers": "16MB"}
    arguments = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    with folder.joinpath("log").open("wb") as log:
        process = subprocess.Popen([program, "-D", "data", *arguments], cwd=folder, stdout=log, stderr=log, **who)
    try:
        server = Postgres(port)
        _wait_for(server, process, folder / "log")
        yield server
    finally:
        process.send_signal(signal.SIGQUIT)
        process.wait()


def _unprivileged(folder: Path) -> dict[str, Any]:
    """For root: another user, to whom the folder is given."""
    if os.geteuid() != 0:
        return {}
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    entry = next(known[name] for name in _PLAIN_USERS if name in known)
    os.chown(folder, entry.pw_uid, entry.pw_gid)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _wait_for(server: Postgres, process: subprocess.Popen[bytes], log: Path) -> None:
    import psycopg

    limit = time.monotonic() + _START_S
    while True:
        assert process.poll() is None, log.read_text()
        try:
            server.execute("SELECT 1")
        except psycopg.OperationalError:
            assert time.monotonic() < limit, "waited too long"
            time.sleep(0.05)
        else:
            return
