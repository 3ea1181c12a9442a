"""When a request should have been sent: a schedule says so, and whoever observes the request reads it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_INTENDED: ContextVar[float | None] = ContextVar("pytest_tpf_intended_s", default=None)


def intended_s() -> float | None:
    """The instant (``time.perf_counter()`` seconds) at which this request was to be sent; None where no schedule sends it."""
    return _INTENDED.get()


@contextmanager
def intended(at_s: float) -> Iterator[None]:
    """Requests sent by this thread or task while the context is open were to be sent at ``at_s``."""
    token = _INTENDED.set(at_s)
    try:
        yield
    finally:
        _INTENDED.reset(token)
