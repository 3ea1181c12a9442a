"""Is the client itself in time? A beat that is due every few milliseconds, and when it came.

What arrives while the client is busy with something else is read later, and looks as if the server had been slow. So a thread asks for a
beat the way in which replies wake whoever reads them: another thread by its turn at the interpreter, an event loop through its selector.
A beat that comes late tells how late a reply would have been read.
"""

from __future__ import annotations

import contextlib
import functools
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

PERIOD_S = 0.010

Beat = tuple[float, float]
"""When it was due and when it came (``time.perf_counter()`` seconds). While one is overdue no other is asked for."""

Wake = Callable[[Callable[[], Any]], Any]


@contextmanager
def beating(beats: list[Beat], wake: Wake = lambda beat: beat()) -> Iterator[None]:
    """Beats are added to ``beats`` while the context is open; one that is overdue at its end is the last.

    ``wake``: has a function called by whoever reads the replies: at once for threads, ``loop.call_soon_threadsafe`` for a loop.
    """
    heart = _Heart(beats, wake)
    thread = threading.Thread(target=heart.run, name="tpf-heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        heart.stop()
        thread.join()


class _Heart:
    def __init__(self, beats: list[Beat], wake: Wake) -> None:
        self._beats, self._wake = beats, wake
        self._overdue_s: float | None = None
        self._stopped = threading.Event()

    def run(self) -> None:
        due_s = time.perf_counter() + PERIOD_S
        with contextlib.suppress(RuntimeError):  # the loop was closed: nobody reads any more
            while not self._stopped.wait(max(0.0, due_s - time.perf_counter())):
                if self._overdue_s is None:
                    self._overdue_s = due_s
                    self._wake(functools.partial(self._beat, due_s))
                due_s += PERIOD_S * max(1, math.ceil((time.perf_counter() - due_s) / PERIOD_S))

    def stop(self) -> None:
        self._stopped.set()
        if (due_s := self._overdue_s) is not None:  # what held it up was the last that happened
            self._beat(due_s)

    def _beat(self, due_s: float) -> None:
        if self._overdue_s == due_s:
            self._beats.append((due_s, time.perf_counter()))
            self._overdue_s = None
