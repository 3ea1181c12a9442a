"""Writers at once, writers that die, databases that can't be used: nothing is lost or half there, and one line says what is wrong."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from pytest_tpf.codec import as_dict
from pytest_tpf.history.errors import HistoryError
from pytest_tpf.history.storage import DEFAULT_URL, nearest_folder, open_store
from tests.history.postgres import PASSWORD
from tests.history.saved import a_test, run

ROOT = Path(__file__).parents[2]


def python(code: str, *arguments: str) -> subprocess.Popen[str]:
    """A process that runs ``code`` after the imports that all of them need."""
    before = "import os, signal, sys\nfrom pytest_tpf.history.storage import open_store\nfrom tests.history.saved import a_test, run\n"
    command = [sys.executable, "-c", before + textwrap.dedent(code), *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def complaint(url: str, **options) -> str:
    with pytest.raises(HistoryError) as caught, open_store(url, **options) as store:
        store.save(run())
    text = str(caught.value)
    assert "\n" not in text
    assert PASSWORD not in text
    return text


# --- several at once --------------------------------------------------------------------------------------------------


def test_eight_processes_that_open_and_save_at_once_lose_nothing(storage):
    code = """
        with open_store(sys.argv[1]) as store:
            for number in range(5):
                report = run(*(a_test(f"tests/test_{sys.argv[2]}.py::test[{one % 30}]") for one in range(number * 10 + 1)))
                store.save(report)
                store.save(run(a_test("tests/test_shared.py::test"), a_test(f"tests/test_shared.py::test[{number}]")))
                print(report.report_id)
    """
    processes = [python(code, storage, str(number)) for number in range(8)]
    answers = [process.communicate() for process in processes]
    assert [(process.returncode, err) for process, (_, err) in zip(processes, answers, strict=True)] == [(0, "")] * 8
    with open_store(storage) as store:
        runs = {info.report_id: info for info in store.runs()}
        assert {line for out, _ in answers for line in out.split()} <= runs.keys()
        assert len(runs) == 80
        assert sum(info.tests for info in runs.values()) == sum(len(list(store.tests_of(info))) for info in runs.values()) == 8 * (105 + 10)
        found = store.find("main", None)
        assert found is not None
        (rows,) = store.earlier(found, ["tests/test_shared.py::test"], None, 100).values()
        assert len(rows) == 40


def test_a_writer_that_is_killed_before_its_end_leaves_nothing_and_no_lock(storage):
    with open_store(storage) as store:
        store.save(run())
    code = """
        from sqlalchemy import Engine, event
        event.listen(Engine, "commit", lambda connection: os.kill(os.getpid(), signal.SIGKILL))
        with open_store(sys.argv[1]) as store:
            store.save(run(*(a_test(f"tests/test_a.py::test[{number}]") for number in range(600))))
    """
    process = python(code, storage)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    with open_store(storage) as store:
        assert len(store.runs()) == 1
        assert store.save(run()).is_new
        assert len(store.runs()) == 2


def test_a_writer_waits_for_the_other(storage):
    code = """
        from sqlalchemy import Engine, event
        with open_store(sys.argv[1]) as store:
            event.listen(Engine, "commit", lambda connection: (print("writing", flush=True), sys.stdin.readline()))
            store.save(run())
    """
    with open_store(storage) as store:
        store.save(run())
        first = python(code, storage)
        assert first.stdout is not None
        assert first.stdout.readline() == "writing\n"
        second = python("with open_store(sys.argv[1]) as store: print(store.save(run()).is_new)", storage)
        assert len(store.runs()) == 1
        first.communicate("on\n")
        assert second.communicate()[0] == "True\n"
        assert len(store.runs()) == 3


# --- what can't be used -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("history.db", "the storage is not a URL of a database; expected sqlite:///.tpf/history.db or postgresql://user@host/database"),
        ("", "the storage is not a URL"),
        ("sqlite://", "the storage names no file"),
        ("sqlite:///:memory:", "the storage names no file"),
        ("sqlite://host/file.db", "the storage names no file"),
        ("mysql://root:hidden@host/x", "storage 'mysql' is not supported; expected sqlite:///"),
        ("postgresql+asyncpg://root:hidden@host/x", "storage 'postgresql+asyncpg' is not supported"),
        ("postgresql://user:hidden@host:port/x", "the storage is not a URL"),
    ],
)
def test_a_wrong_url_is_said_without_its_password(url, text, tmp_path):
    said = complaint(url, folder=tmp_path)
    assert said.startswith(text)
    assert "hidden" not in said
    assert list(tmp_path.iterdir()) == []


def test_no_server(tmp_path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        said = complaint(f"postgresql://me:hidden@127.0.0.1:{port}/tpf?sslpassword=hidden")
    assert said.startswith(f"postgresql://me@127.0.0.1:{port}/tpf: ")
    assert "hidden" not in said
    assert "refused" in said


def test_a_server_that_lets_nobody_in(postgres_server):
    assert "password authentication failed" in complaint(postgres_server.url("postgres", "wrong" + PASSWORD))
    assert 'database "nowhere" does not exist' in complaint(postgres_server.url("nowhere"))


def test_a_user_who_may_only_read(postgres_server):
    url = postgres_server.database()
    name = url.rpartition("/")[2]
    with open_store(url) as store:
        store.save(run())
    postgres_server.execute("CREATE ROLE reader LOGIN PASSWORD 'reads'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader", name)
    reader = postgres_server.url(name, "reads", "reader")
    with open_store(reader) as store:
        assert len(store.runs()) == 1
    assert "permission denied for table tpf_run" in complaint(reader)


def test_a_server_that_goes_away(postgres_server):
    url = postgres_server.database()
    with open_store(url) as store:
        store.save(run())
        postgres_server.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{url.rpartition('/')[2]}'")
        assert store.save(run()).is_new
        lost = pytest.raises(HistoryError, match=r"^postgresql://tpf@127\.0\.0\.1:\d+/test_\d+: .*terminat")
        with lost, store._database.writing() as connection:
            postgres_server.execute(f"SELECT pg_terminate_backend({connection.scalar(text('SELECT pg_backend_pid()'))})")
            connection.execute(text("SELECT 1"))
        assert len(store.runs()) == 2


def test_a_file_of_something_else(tmp_path):
    path = tmp_path / "history.db"
    path.write_text("nothing of the kind" * 1000)
    assert complaint(f"sqlite:///{path}") == f"{path}: is not an SQLite database; name another file, or move this one away"
    assert path.read_text() == "nothing of the kind" * 1000


def test_a_database_of_another_program(tmp_path):
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE customers (name)")
    other.close()
    assert complaint(f"sqlite:///{path}") == f"{path}: holds another program's tables; name a file of its own for the history"


def test_a_damaged_database(tmp_path):
    url, path = f"sqlite:///{tmp_path}/history.db", tmp_path / "history.db"
    with open_store(url) as store:
        store.save(run(*(a_test(f"tests/test_a.py::test[{number}]") for number in range(100))))
    content = bytearray(path.read_bytes())
    content[4096:] = os.urandom(len(content) - 4096)
    path.write_bytes(content)
    assert complaint(url).startswith(f"{path}: is damaged; move it away, or restore it from a copy")


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    said = complaint("sqlite:///file/history.db", folder=tmp_path)
    assert said.startswith(f"{tmp_path}/file/history.db: its folder can't be made")
    assert complaint(f"sqlite:///{tmp_path}").startswith(f"{tmp_path}: can't be opened")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody who may not write")
def test_a_folder_that_may_not_be_written(tmp_path):
    with open_store(f"sqlite:///{tmp_path}/history.db") as store:
        store.save(run())
    for path in (tmp_path, *tmp_path.parents):
        if path.stat().st_mode & 0o005 != 0o005:
            path.chmod(path.stat().st_mode | 0o055)
    code = """
        from pytest_tpf.history.errors import HistoryError
        import tests.report.factory, pytest_tpf.history.store
        report = run()
        open_store(f"sqlite:///{sys.argv[1]}/history.db").close()  # imports what nobody else may read in some checkouts
        os.setuid(65534)
        for file in ("history.db", "new.db", "below/new.db"):
            try:
                with open_store(f"sqlite:///{sys.argv[1]}/{file}") as store:
                    print(len(store.runs()))
                    store.save(report)
            except HistoryError as error:
                print(error)
    """
    out, err = python(code, str(tmp_path)).communicate()
    assert err == ""
    *old, new, below = out.splitlines()
    assert old[-1].startswith(f"{tmp_path}/history.db: can't be ")
    assert new == f"{tmp_path}/new.db: can't be opened: no permission, or a folder of the path is missing"
    assert below == f"{tmp_path}/below/new.db: its folder can't be made: Permission denied"


def test_a_full_disk_leaves_what_was_there(tmp_path):
    url = f"sqlite:///{tmp_path}/history.db"
    with open_store(url) as store:
        store.save(run())
    code = """
        import resource
        from pytest_tpf.history.errors import HistoryError
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
        try:
            with open_store(sys.argv[1]) as store:
                store.save(run(*(a_test(f"tests/test_a.py::test[{number}]") for number in range(600))))
        except HistoryError as error:
            print(error)
    """
    out, err = python(code, url).communicate()
    assert err == ""
    assert out.startswith(f"{tmp_path}/history.db: can't be read or written: the disk is full")
    with open_store(url) as store:
        assert [info.tests for info in store.runs()] == [3]
        assert store.save(run()).is_new


def test_a_database_that_somebody_keeps_locked(tmp_path, monkeypatch):
    url = f"sqlite:///{tmp_path}/history.db"
    with open_store(url) as store:
        store.save(run())
    monkeypatch.setattr("pytest_tpf.history._database.WAIT_S", 0.1)
    other = sqlite3.connect(tmp_path / "history.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert "history.db: is kept locked by another process" in complaint(url)
    with open_store(url) as store:
        assert len(store.runs()) == 1
    other.close()


def test_a_row_that_was_damaged(storage):
    with open_store(storage) as store:
        store.save(run())
        engine = create_engine(storage.replace("postgresql:", "postgresql+psycopg:"))
        with engine.begin() as connection:
            connection.execute(text("UPDATE tpf_test SET content = :junk"), {"junk": b"junk"})
        engine.dispose()
        with pytest.raises(HistoryError, match="a stored part is damaged"):
            store.load(store.runs()[0])


# --- where it lies ----------------------------------------------------------------------------------------------------


def test_the_default_is_made_in_the_folder_and_never_committed(tmp_path):
    with open_store(folder=tmp_path) as store:
        store.save(run())
        assert store.where == str(tmp_path / ".tpf" / "history.db")
    assert (tmp_path / ".tpf" / ".gitignore").read_text() == "*\n"
    (tmp_path / "tests" / "deep").mkdir(parents=True)
    assert nearest_folder(tmp_path / "tests" / "deep") == tmp_path
    assert nearest_folder(tmp_path.parent) == tmp_path.parent


def test_who_only_reads_makes_nothing(tmp_path, postgres_server):
    assert "there is no history yet; pytest --tpf-save begins one" in complaint(DEFAULT_URL, folder=tmp_path, create=False)
    assert list(tmp_path.iterdir()) == []
    url = postgres_server.database()
    assert "there is no history yet" in complaint(url, create=False)
    with open_store(url) as store:
        report = run()
        store.save(report)
    with open_store(url, create=False) as store:
        assert as_dict(store.load(store.runs()[0])) == as_dict(report)


def test_without_sqlalchemy_one_line_says_what_to_install():
    code = """
        sys.modules["sqlalchemy"] = None
        try:
            open_store()
        except Exception as error:
            print(type(error).__name__, error)
    """
    out, _ = python(code).communicate()
    assert out == 'HistoryError the history needs SQLAlchemy: pip install "pytest-tpf[history]"\n'
