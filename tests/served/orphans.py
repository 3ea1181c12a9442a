"""A server that nobody here started: its parent ends at once, so it is no descendant of the tests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
LIMIT_S = 60.0


class Orphan(NamedTuple):
    port: int
    pid: int

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def orphan(folder: Path) -> Iterator[Orphan]:
    """``tests.served.tiny_server``, running until the context closes."""
    place = folder / "port"
    command = ["sh", "-c", '"$@" >/dev/null 2>&1 &', "sh", sys.executable, "-m", "tests.served.tiny_server", str(place)]
    subprocess.run(command, cwd=ROOT, check=True)
    end_s = time.monotonic() + LIMIT_S
    while not place.exists() and time.monotonic() < end_s:
        time.sleep(0.02)
    started = Orphan(*map(int, place.read_text(encoding="ascii").split()))
    try:
        yield started
    finally:
        os.kill(started.pid, signal.SIGTERM)
