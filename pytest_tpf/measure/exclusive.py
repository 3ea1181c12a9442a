"""One measurer at a time: boards and RAPL packages have one counter each, which doesn't tell whose joules it counts.

Measured windows of all processes and xdist workers on this machine are serialised by advisory locks, one file a device. The kernel lets a
lock go with the process that held it, so a dead owner blocks nobody. The file's content names the owner, for whoever waits; it decides
nothing, for it may be stale.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from pytest_tpf.records import record

fcntl: Any = importlib.import_module("fcntl") if os.name == "posix" else None

POLL_S = 0.01
SAY_AFTER_S = 0.3
"""A wait shorter than this isn't worth a word."""

_MOST_BYTES = 512
_MOST_COMMAND = 80
_held: set[int] = set()  # descriptors of locks that this process holds


@record
class Turn:
    """What came of asking for the devices. All texts are for people.

    ``contended``: devices that somebody else still measures, and who. ``unlocked``: devices that nobody can be kept from measuring
    meanwhile, and why. ``waited_s``: how long the turn took to come, and for whom (``waited_for``, None where it came at once).
    """

    contended: dict[str, str]
    unlocked: dict[str, str]
    waited_s: float = 0.0
    waited_for: str | None = None


class _Unlockable(Exception):
    """There can be no lock here; the text says why."""


@contextmanager
def exclusive(
    devices: Sequence[str], limit_s: float, folder: Path | None = None, say: Callable[[str], None] = lambda text: None
) -> Iterator[Turn]:
    """Hold the locks of ``devices`` while the context is open; waits at most ``limit_s`` seconds for each.

    What is measured on a contended device isn't this process's alone. ``say`` is told once whom a longer wait is for, and "" when it ends.
    """
    home = _common_folder() if folder is None else folder
    contended: dict[str, str] = {}
    unlocked: dict[str, str] = {}
    waits: list[tuple[float, str]] = []
    with ExitStack() as held:
        # One order for everybody, so that two processes that need two boards never wait for each other.
        for device in sorted(set(devices)):
            try:
                descriptor = _opened(held, lock_path(device, home))
                waited_s, owner, ours = _wait(descriptor, time.monotonic() + limit_s, device, say)
            except _Unlockable as why:
                unlocked[device] = str(why)
                continue
            if owner:
                waits.append((waited_s, owner))
            if ours:
                _sign(held, descriptor)
            else:
                contended[device] = owner
        longest = max(waits, default=(0.0, None))
        yield Turn(contended=contended, unlocked=unlocked, waited_s=sum(wait for wait, _ in waits), waited_for=longest[1])


def lock_path(device: str, folder: Path) -> Path:
    """The lock file of a device."""
    return folder / f"pytest-tpf-{re.sub(r'[^A-Za-z0-9-]', '_', device)}.lock"


def _common_folder() -> Path:
    """Where everybody on this machine looks: TMPDIR often differs from user to user and from job to job, /tmp doesn't."""
    shared = Path("/tmp")
    with contextlib.suppress(OSError):  # no folder takes files: the lock file's own error will say so
        return shared if os.access(shared, os.W_OK) else Path(tempfile.gettempdir())
    return shared


# --- the lock ---------------------------------------------------------------------------------------------------------


def _opened(held: ExitStack, path: Path) -> int:
    if fcntl is None:
        raise _Unlockable("this system has no file locks")
    try:
        descriptor = _open(path)
    except OSError as error:
        raise _Unlockable(f"the lock file {path} can't be used: {error.strerror}") from None
    _held.add(descriptor)
    held.callback(_closed, descriptor)
    return descriptor


def _closed(descriptor: int) -> None:
    if descriptor in _held:  # else this is a forked child, which has closed its copy
        _held.discard(descriptor)
        os.close(descriptor)


def _open(path: Path) -> int:
    """Open or make the lock file; readable and writable for all users, for they share the board. Links are not followed.

    An existing file is opened without O_CREAT: in a sticky folder Linux refuses that flag for another user's file
    (fs.protected_regular), even to root. Reading is enough to lock, where its owner has not opened it to us yet.
    """
    flags = os.O_CLOEXEC | os.O_NOFOLLOW
    for _ in range(3):
        try:
            return os.open(path, os.O_RDWR | flags)
        except FileNotFoundError:
            pass
        except PermissionError:
            return os.open(path, os.O_RDONLY | flags)
        with contextlib.suppress(FileExistsError):  # another process was quicker: open that one's
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | flags, 0o666)
            with contextlib.suppress(OSError):
                os.fchmod(descriptor, 0o666)
            return descriptor
    raise OSError(errno.EAGAIN, "it comes and goes")


def _wait(descriptor: int, deadline: float, device: str, say: Callable[[str], None]) -> tuple[float, str, bool]:
    """(seconds waited, who held it, "" where nobody did, whether it is ours now)."""
    started, owner, said = time.monotonic(), "", False
    try:
        while not _locked(descriptor):
            waited_s = time.monotonic() - started
            owner = owner or _owner(descriptor)
            if time.monotonic() >= deadline:
                return waited_s, _owner(descriptor), False
            if not said and waited_s >= SAY_AFTER_S:
                said, owner = True, _owner(descriptor)
                say(f"waiting for {owner} to finish measuring {device}")
            time.sleep(POLL_S)
    finally:
        if said:
            say("")
    return time.monotonic() - started, owner, True


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:  # a network file system without locks
        raise _Unlockable(f"its folder knows no locks: {error.strerror}") from None
    return True


def _leave_to_parent() -> None:
    """In a forked child: its copies of the descriptors would keep the locks beyond the owner's death."""
    for descriptor in _held:
        with contextlib.suppress(OSError):
            os.close(descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_leave_to_parent)


# --- who holds it -----------------------------------------------------------------------------------------------------


def _sign(held: ExitStack, descriptor: int) -> None:
    """Write who holds the lock, and wipe it before the lock is let go. A file that can't be written stays as it is."""
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])
    line = f"{os.getpid()} {_started(os.getpid())} {command}"
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, line.encode("utf-8", "backslashreplace")[:_MOST_BYTES], 0)
        held.callback(_wiped, descriptor)


def _wiped(descriptor: int) -> None:
    if descriptor in _held:
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)


def _owner(descriptor: int) -> str:
    """Who holds the lock, as far as its file tells: anybody may write there, so it is cut and made printable."""
    try:
        pid, start, *command = os.pread(descriptor, _MOST_BYTES, 0).decode("utf-8", "replace").split(" ")
        number = int(pid)
    except (OSError, ValueError):
        return "another process"
    name = "".join(char if char.isprintable() else "?" for char in " ".join(command))
    shown = f"{name[: _MOST_COMMAND - 3]}..." if len(name) > _MOST_COMMAND else name
    # Another start: its number means somebody else here. It is in another container, or died and left a child that holds the lock.
    remarks = [shown, "" if _started(number) == start else "not visible from here"]
    return f"pid {number} ({'; '.join(filter(None, remarks)) or 'unnamed'})"


def _started(pid: int) -> str:
    """When a process started, in clock ticks since the machine did (proc(5), field 22); "?" where that can't be seen."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[19].decode()
    except (OSError, IndexError):
        return "?"
