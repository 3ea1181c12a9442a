"""The sampler's helper as a process: started, talked to in frames, ended. One life; ``sampler`` starts another where this one is lost.

Every wait has an end, and nothing here outlives the process that started it.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import IO, Any

from pytest_tpf.measure import wire

_STOP_LIMIT_S = 1.0
_BOOT = "import sys; sys.path[:] = sys.argv[1:]; from pytest_tpf.measure.sampler_process import main; main()"


class Lost(Exception):
    """The helper is gone or doesn't answer; the text says in one line what is known."""


class Helper:
    """A running helper. ``path`` and ``environment`` are those of the process that measures when it first started one."""

    def __init__(self, path: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start it, without waiting for its meters. Raises OSError."""
        self._stderr = _last_words_file()
        self._last_words = ""
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _BOOT, *path],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr or subprocess.DEVNULL,
                bufsize=0,
                env=environment,
                start_new_session=True,  # Ctrl-C is for pytest alone
            )
        except BaseException:
            self._forget_last_words()
            raise
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._in_fd = self.process.stdin.fileno()
        self._inbox = wire.Inbox(self.process.stdout.fileno())

    def send(self, message: Any) -> None:
        """Send one message. Raises Lost."""
        try:
            wire.send(self._in_fd, message)
        except OSError:
            raise self._lost("stopped") from None

    def receive(self, limit_s: float) -> Any:
        """The next message that arrives within ``limit_s`` seconds. Raises Lost."""
        deadline = time.monotonic() + limit_s
        poll = select.poll()
        poll.register(self._inbox.fd, select.POLLIN)
        while True:
            try:
                message = next(self._inbox.messages(), None)
            except (ValueError, EOFError, TypeError):
                raise self._lost("sent something unreadable") from None
            if message is not None:
                return message
            if self._inbox.closed:
                raise self._lost("stopped")
            if not poll.poll(max(deadline - time.monotonic(), 0.0) * 1000):
                raise self._lost(f"does not answer (waited {limit_s:.3g} s)")
            self._inbox.fill()

    def end(self) -> None:
        """Close its stdin, wait, terminate, wait, kill: it is gone and reaped afterwards."""
        process = self.process
        if process.stdin is not None:
            with contextlib.suppress(OSError):
                process.stdin.close()
        for insist in (None, process.terminate, process.kill):
            if insist is not None:
                insist()
            try:
                process.wait(_STOP_LIMIT_S)
                break
            except subprocess.TimeoutExpired:
                continue
        if process.stdout is not None:
            process.stdout.close()
        self._last_words = self._last_words or self._read_last_words()
        self._forget_last_words()

    def _lost(self, what: str) -> Lost:
        """One that is alive but mute is ended, so that a late answer can't be taken for another."""
        self.end()
        return Lost(f"the sampler's process {what} (exit status {self.process.returncode}){self._last_words}")

    def _read_last_words(self) -> str:
        if self._stderr is None or self._stderr.closed:
            return ""
        self._stderr.seek(max(self._stderr.seek(0, os.SEEK_END) - 2000, 0))
        lines = self._stderr.read().decode(errors="replace").strip().splitlines()
        return f": {lines[-1].strip()}" if lines else ""

    def _forget_last_words(self) -> None:
        if self._stderr is not None:
            self._stderr.close()


def _last_words_file() -> IO[bytes] | None:
    """Where the helper's errors go; None where no folder takes a temporary file: measuring goes on without its last words."""
    try:
        return tempfile.TemporaryFile()
    except OSError:
        return None
