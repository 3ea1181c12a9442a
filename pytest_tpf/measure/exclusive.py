"""One measurer at a time: boards and RAPL packages have one counter each, which doesn't tell whose joules it counts.

Measured windows of all processes and xdist workers on this machine are serialised by advisory locks, one file a device. The kernel lets a
lock go with the process that held it, so a dead owner blocks nobody.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

fcntl: Any = importlib.import_module("fcntl") if os.name == "posix" else None

POLL_S = 0.01


@contextmanager
def exclusive(devices: Sequence[str], limit_s: float, folder: Path | None = None) -> Iterator[tuple[str, ...]]:
    """Hold the locks of ``devices`` while the context is open; waits at most ``limit_s`` seconds for each.

    Yields the devices that could not be had: what is measured on them meanwhile is contended.
    """
    home = Path(tempfile.gettempdir()) if folder is None else folder
    with ExitStack() as held:
        # One order for everybody, so that two processes that need two boards never wait for each other.
        yield tuple([device for device in sorted(set(devices)) if not _acquire(held, home, device, time.monotonic() + limit_s)])


def lock_path(device: str, folder: Path) -> Path:
    """The lock file of a device."""
    return folder / f"pytest-tpf-{re.sub(r'[^A-Za-z0-9-]', '_', device)}.lock"


def _acquire(held: ExitStack, folder: Path, device: str, deadline: float) -> bool:
    if fcntl is None:
        return True
    try:
        # Readable and writable for all users, for they share the board; never followed elsewhere, for /tmp is everybody's.
        descriptor = os.open(lock_path(device, folder), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    except OSError:
        return False
    held.callback(os.close, descriptor)
    with contextlib.suppress(OSError):
        os.fchmod(descriptor, 0o666)
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(POLL_S)
        except OSError:
            return False
        else:
            return True
