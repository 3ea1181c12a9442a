"""The judge's end of an adapter process: start it, order windows, survive whatever it does."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers import environment, nvidia_smi_folder
from tests.standin import Standin

READY_LIMIT_S = 60.0
ANSWER_LIMIT_S = 20.0  # beyond the window itself

Answer = dict[str, Any]
NO_VARIABLES: Mapping[str, str] = {}
_HIDDEN = ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER")


@contextlib.contextmanager
def started(command: Sequence[str], standin: Standin, more: Mapping[str, str] = NO_VARIABLES) -> Iterator[AdapterProcess]:
    """An adapter whose process sees the boards of ``standin``, has a home and a folder of its own, and the variables ``more``."""
    with tempfile.TemporaryDirectory() as folder:
        variables = {name: value for name, value in environment().items() if name not in _HIDDEN}
        path = os.pathsep.join([str(nvidia_smi_folder(Path(folder))), variables.get("PATH", "")])
        variables |= {"PATH": path, "HOME": folder} | standin.environment(Path(folder)) | dict(more)
        adapter = AdapterProcess(command, variables, folder)
        try:
            yield adapter
        finally:
            adapter.close()


class AdapterProcess:
    """One adapter, started at once. ``greeting`` waits until its tool is ready; every failure is an answer with
    ``refused``, ``error`` or ``died``.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], folder: str) -> None:
        self._stderr = tempfile.TemporaryFile(mode="w+", errors="replace")  # noqa: SIM115  closed in close()
        self._process = subprocess.Popen(
            command,
            env=environment,
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
        )
        self._greeting: Answer | None = None
        self._due_s = 0.0  # when the window that was ordered will be over

    @property
    def pid(self) -> int:
        """The adapter's process id."""
        return self._process.pid

    def greeting(self) -> Answer:
        """What the adapter said when its tool was set up; again: the same."""
        if self._greeting is None:
            self._greeting = self._receive(READY_LIMIT_S)
        return self._greeting

    def window(self, begin_s: float, length_s: float) -> Answer:
        """Let the tool measure a window that begins at ``begin_s`` (perf_counter) and is ``length_s`` long."""
        self.order(begin_s, length_s)
        return self.answer()

    def order(self, begin_s: float, length_s: float) -> None:
        """Order a window without waiting for it; ``answer`` does."""
        self._due_s = max(begin_s, time.perf_counter()) + length_s
        if self.greeting().get("ready"):
            try:
                self._process.stdin.write(json.dumps({"begin_s": begin_s, "length_s": length_s}) + "\n")
                self._process.stdin.flush()
            except OSError:
                self._greeting = {"died": self._last_words()}

    def answer(self) -> Answer:
        """The answer to the last order."""
        greeting = self.greeting()
        return self._receive(self._due_s - time.perf_counter() + ANSWER_LIMIT_S) if greeting.get("ready") else greeting

    def close(self) -> None:
        """End the adapter, gently and then not."""
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        try:
            self._process.wait(5.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._stderr.close()

    def _receive(self, limit_s: float) -> Answer:
        watchdog = threading.Timer(limit_s, self._process.kill)
        watchdog.start()
        try:
            line = self._process.stdout.readline()
        finally:
            watchdog.cancel()
        return json.loads(line) if line.strip() else {"died": self._last_words()}

    def _last_words(self) -> str:
        deadline = time.monotonic() + 2.0
        while self._process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        self._stderr.seek(0)
        lines = self._stderr.read()[-2000:].strip().splitlines()
        return f"the adapter ended ({self._process.returncode}): {lines[-1].strip() if lines else 'without a word'}"[:300]
