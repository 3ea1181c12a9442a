"""Two processes never measure one board at the same time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from pytest_tpf.measure.exclusive import exclusive, lock_path

HOLDER = """
import sys, time
from pathlib import Path
from pytest_tpf.measure.exclusive import exclusive
with exclusive(sys.argv[2:], 10.0, Path(sys.argv[1])) as missing:
    print("held" if not missing else "missing", flush=True)
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


def test_a_board_that_another_process_holds_is_missing(holder, tmp_path):
    holder("GPU-1")
    with exclusive(["GPU-1", "GPU-2"], 0.05, tmp_path) as missing:
        assert missing == ("GPU-1",)


def test_a_process_waits_for_its_turn(holder, tmp_path):
    other = holder("GPU-1")
    threading.Timer(0.3, other.stdin.close).start()
    with exclusive(["GPU-1"], 10.0, tmp_path) as missing:
        assert missing == ()
        assert other.poll() is not None or other.stdin.closed


def test_a_dead_owner_blocks_nobody(holder, tmp_path):
    other = holder("GPU-1")
    os.kill(other.pid, signal.SIGKILL)
    other.wait()
    with exclusive(["GPU-1"], 1.0, tmp_path) as missing:
        assert missing == ()


def test_the_lock_is_let_go_at_the_end(tmp_path):
    for _ in range(3):
        with exclusive(["GPU-1"], 0.0, tmp_path) as missing:
            assert missing == ()


def test_two_that_need_two_boards_never_wait_for_each_other(tmp_path):
    order = ["GPU-1", "GPU-2"]
    held = []

    def work(devices):
        for _ in range(20):
            with exclusive(devices, 10.0, tmp_path) as missing:
                held.append(missing)
                time.sleep(0.001)

    threads = [threading.Thread(target=work, args=(devices,)) for devices in (order, order[::-1])]
    [thread.start() for thread in threads]
    [thread.join(30) for thread in threads]
    assert held == [()] * 40


def test_names_stay_in_their_folder_and_links_are_not_followed(tmp_path):
    assert lock_path("../../etc/passwd", tmp_path).parent == tmp_path
    lock_path("GPU-1", tmp_path).symlink_to(tmp_path / "elsewhere")
    with exclusive(["GPU-1"], 0.0, tmp_path) as missing:
        assert missing == ("GPU-1",)
    assert not (tmp_path / "elsewhere").exists()
