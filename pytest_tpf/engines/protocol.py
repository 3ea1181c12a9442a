"""What an engine's observer reports: one ``Generation`` for each call that made tokens.

An observer watches from outside: no user code, and the engine's outputs stay bit-identical. It knows nothing of joules.
All times are ``time.perf_counter()`` seconds. A third party adds an engine with an entry point in the group
``pytest_tpf.engines`` whose object is a callable without arguments that returns an ``Engine``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

from pytest_tpf.records import Model, TokenSource, record


@record
class Request:
    """One sequence asked for (a row of the batch). ``output_tokens`` goes up to and including EOS, padding excluded.

    With several returned sequences per prompt they are one request whose ``output_tokens`` counts them all.
    ``first_token_s`` and ``end_s`` are instants; ``end_s`` is when its own last token appeared. ``chunk_times_s``: instants at which
    output appeared, in order. ``complete`` is False where the engine stopped early or failed, None where it can't be known.

    ``intended_s``: when a schedule wanted it sent; its times count from then. ``reasoning_tokens`` are among the output tokens and
    ``cached_tokens``, which cost next to nothing, among the prompt tokens; None where the engine doesn't tell them apart.
    """

    start_s: float
    end_s: float
    prompt_tokens: int | None
    output_tokens: int
    first_token_s: float | None = None
    chunk_times_s: tuple[float, ...] = ()
    complete: bool | None = None
    intended_s: float | None = None
    reasoning_tokens: int | None = None
    cached_tokens: int | None = None


@record
class Generation:
    """One observed call of an engine: the span in which it was generating, and its requests.

    ``static_batch``: all requests started together and nothing joined (then prefill/decode splits at ``first_token_s``).
    ``config``: the model's configuration as plain builtins (the keys of config.json), for FLOP and byte counts.
    ``device``: where it ran: ``cpu``, or the accelerator's UUID or ``cuda:0``.
    ``endpoint``: the server that generated, as ``http://host:port``; None where this process did. A meter that can't see it says nothing
    of its tokens.
    ``notes``: one-line remarks for the user.
    """

    engine: str
    model: Model
    start_s: float
    end_s: float
    requests: tuple[Request, ...]
    token_source: TokenSource
    first_token_s: float | None = None
    static_batch: bool = True
    config: Mapping[str, Any] | None = None
    device: str | None = None
    endpoint: str | None = None
    notes: tuple[str, ...] = ()


Sink = Callable[[Generation], None]


class Engine(Protocol):
    """Observes one kind of engine. ``module`` is the import that makes it observable: nothing happens until it is imported."""

    name: str
    module: str

    def observe(self, sink: Sink) -> AbstractContextManager[None]:
        """While the context is open, every generation is sent to ``sink`` (from whichever thread generated)."""

    def synchronize(self) -> None:
        """Wait until the work given to the accelerator is done; called at both ends of a window."""
