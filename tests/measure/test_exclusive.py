"""Two processes never measure one board at the same time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from pytest_tpf.measure.exclusive import SAY_AFTER_S, Turn, exclusive, lock_path

HOLDER = """
import sys, time
from pathlib import Path
from pytest_tpf.measure.exclusive import exclusive
with exclusive(sys.argv[2:], 10.0, Path(sys.argv[1])) as turn:
    print("held" if not turn.contended else "missing", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Start a process that holds locks until its standard input closes."""
    processes = []

    def hold(*devices):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(tmp_path), *devices], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        processes.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield hold
    for process in processes:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def test_a_board_that_another_process_holds_is_contended_and_its_holder_named(holder, tmp_path):
    other = holder("GPU-1")
    with exclusive(["GPU-1", "GPU-2"], 0.05, tmp_path) as turn:
        assert list(turn.contended) == ["GPU-1"]
        assert turn.contended["GPU-1"].startswith(f"pid {other.pid} (-c ")
        assert turn.unlocked == {}


def test_a_process_waits_for_its_turn_and_says_once_for_whom(holder, tmp_path):
    other, said = holder("GPU-1"), []

    def say(text):
        said.append(text)
        other.stdin.close()  # it may go on once we have said that we wait

    with exclusive(["GPU-1"], 30.0, tmp_path, say) as turn:
        assert (turn.contended, turn.unlocked) == ({}, {})
        assert turn.waited_s >= SAY_AFTER_S
        assert turn.waited_for.startswith(f"pid {other.pid} (")
    assert len(said) == 2
    assert said[0] == f"waiting for {turn.waited_for} to finish measuring GPU-1"
    assert said[1] == ""


def test_a_turn_that_comes_at_once_is_no_wait(tmp_path):
    with exclusive(["GPU-1"], 1.0, tmp_path) as turn:
        assert turn == Turn(contended={}, unlocked={}, waited_s=0.0, waited_for=None)


def test_the_file_names_its_owner_while_it_is_held_and_nobody_afterwards(tmp_path):
    with exclusive(["GPU-1"], 1.0, tmp_path):
        assert lock_path("GPU-1", tmp_path).read_text().startswith(f"{os.getpid()} ")
    assert lock_path("GPU-1", tmp_path).read_text() == ""


def test_a_dead_owner_blocks_nobody_and_its_name_is_replaced(holder, tmp_path):
    other = holder("GPU-1")
    os.kill(other.pid, signal.SIGKILL)
    other.wait()
    assert lock_path("GPU-1", tmp_path).read_text().startswith(f"{other.pid} ")
    with exclusive(["GPU-1"], 1.0, tmp_path) as turn:
        assert turn.contended == {}
        assert lock_path("GPU-1", tmp_path).read_text().startswith(f"{os.getpid()} ")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("1 0 pytest", "pid 1 (pytest; not visible from here)"),
        ("", "another process"),
        ("what is this", "another process"),
        ("1 0 \x1b[2Jpytest\n" + "x" * 400, "pid 1 (?[2Jpytest?" + "x" * 66 + "...; not visible from here)"),
    ],
    ids=["stale", "empty", "foreign", "hostile"],
)
def test_a_misleading_file_is_not_believed(holder, tmp_path, content, told):
    holder("GPU-1")
    lock_path("GPU-1", tmp_path).write_text(content)
    with exclusive(["GPU-1"], 0.0, tmp_path) as turn:
        assert turn.contended == {"GPU-1": told}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_does_not_keep_the_lock_of_its_dead_parent(tmp_path):
    source = """
import os, sys, time
from pathlib import Path
from pytest_tpf.measure.exclusive import exclusive
with exclusive(["GPU-1"], 10.0, Path(sys.argv[1])):
    child = os.fork()
    if child:
        print(child, flush=True)
        os._exit(0)
    sys.stdin.read()
"""
    done = subprocess.Popen([sys.executable, "-c", source, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    child = int(done.stdout.readline())
    try:
        done.wait()
        os.kill(child, 0)  # it lives
        with exclusive(["GPU-1"], 30.0, tmp_path) as turn:  # the child may not have run yet; a lock that it keeps, it keeps
            assert turn.contended == {}
    finally:
        done.stdin.close()
        done.stdout.close()


def test_the_lock_is_let_go_at_the_end(tmp_path):
    for _ in range(3):
        with exclusive(["GPU-1"], 0.0, tmp_path) as turn:
            assert turn.contended == {}


def test_two_that_need_two_boards_never_wait_for_each_other(tmp_path):
    order = ["GPU-1", "GPU-2"]
    held = []

    def work(devices):
        for _ in range(20):
            with exclusive(devices, 30.0, tmp_path) as turn:
                held.append(turn.contended)
                time.sleep(0.001)

    threads = [threading.Thread(target=work, args=(devices,)) for devices in (order, order[::-1])]
    [thread.start() for thread in threads]
    [thread.join(60) for thread in threads]
    assert held == [{}] * 40


def test_names_stay_in_their_folder_and_links_are_not_followed(tmp_path):
    assert lock_path("../../etc/passwd", tmp_path).parent == tmp_path
    lock_path("GPU-1", tmp_path).symlink_to(tmp_path / "elsewhere")
    with exclusive(["GPU-1"], 0.0, tmp_path) as turn:
        assert turn.contended == {}
        assert "can't be used" in turn.unlocked["GPU-1"]
    assert not (tmp_path / "elsewhere").exists()


def test_without_a_place_for_the_lock_nothing_is_contended_but_unlocked(tmp_path):
    with exclusive(["GPU-1", "GPU-2"], 0.0, tmp_path / "missing") as turn:
        assert turn.contended == {}
        assert set(turn.unlocked) == {"GPU-1", "GPU-2"}
        assert "No such file or directory" in turn.unlocked["GPU-1"]


def test_an_existing_file_is_opened_without_the_flag_that_sticky_folders_refuse(tmp_path, monkeypatch):
    """fs.protected_regular: O_CREAT on another user's file in /tmp is EACCES, even to root. Asked of the real call's arguments."""
    asked, real = [], os.open

    def noting(path, flags, *more):
        asked.append(flags)
        return real(path, flags, *more)

    lock_path("GPU-1", tmp_path).touch()
    monkeypatch.setattr(os, "open", noting)
    with exclusive(["GPU-1"], 0.0, tmp_path) as turn:
        assert (turn.contended, turn.unlocked) == ({}, {})
    assert asked
    assert not any(flags & os.O_CREAT for flags in asked)


@pytest.fixture
def open_folder():
    """A folder that other users can reach, which pytest's own aren't."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can be two users")
def test_users_share_one_lock_in_a_sticky_folder(open_folder):
    folder = open_folder
    folder.chmod(0o1777)
    source = """
import os, sys
from pathlib import Path
sys.path[:] = sys.argv[3:]
from pytest_tpf.measure.exclusive import exclusive
os.setuid(int(sys.argv[2]))  # now that everything is imported: the other user may not see the interpreter's files
with exclusive(["GPU-1"], 0.0, Path(sys.argv[1])) as turn:
    print(sorted(turn.contended), sorted(turn.unlocked))
"""

    def as_user(number):
        command = [sys.executable, "-c", source, str(folder), str(number), *sys.path]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    first = as_user(54321)
    assert first.stdout == "[] []\n", first.stderr
    assert as_user(54322).stdout == "[] []\n"
    with exclusive(["GPU-1"], 0.0, folder) as turn:
        assert (turn.contended, turn.unlocked) == ({}, {})
        assert as_user(54322).stdout == "['GPU-1'] []\n"
