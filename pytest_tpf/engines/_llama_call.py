"""One completion of a ``llama_cpp.Llama``: what is learnt of it token by token, and the request that follows."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from pytest_tpf.engines._gguf import Description
from pytest_tpf.engines.intent import intended_s
from pytest_tpf.engines.protocol import Request


class LlamaCall:
    """Instants are ``time.perf_counter()`` seconds. ``last_s``: when the engine last worked on it, which a reader may be long after.

    ``has_reason``: whether a finish reason is to come. ``is_idle``: a stream that nobody has begun to read, for which nothing was done.
    """

    def __init__(self, llama: Any, described: Description, start_s: float, has_reason: bool) -> None:
        self.llama, self.described, self.start_s, self.last_s = llama, described, start_s, start_s
        self.token_times_s: list[float] = []
        self.is_idle = False
        self._has_reason, self._finished, self._is_over = has_reason, False, False
        self._prompt_tokens: int | None = None
        self._evaluated: int | None = 0
        self._intended_s = intended_s()
        self._lock = threading.Lock()

    def prompted(self, tokens: int, knows_cached: bool) -> None:
        """The prompt has so many tokens. ``knows_cached``: what the context holds of it is left from earlier calls."""
        self._prompt_tokens = tokens
        self._evaluated = 0 if knows_cached else None

    def evaluated(self, tokens: int) -> None:
        """So many tokens are about to be worked on: the prompt's, until the first token is there."""
        if self._evaluated is not None and not self.token_times_s:
            self._evaluated += tokens

    def see(self, reply: Mapping[str, Any]) -> None:
        """A whole reply, or a chunk of one: it may hold the reason why the completion ended."""
        for choice in reply.get("choices", ()):
            self._finished |= bool(choice.get("finish_reason"))

    def end(self) -> bool:
        """The call is over; False where it was already."""
        with self._lock:
            was_over, self._is_over = self._is_over, True
        return not was_over

    def request(self) -> Request:
        """The one request of the call."""
        times_s, prompt = self.token_times_s, self._prompt_tokens
        cached = None if prompt is None or self._evaluated is None or not times_s else max(prompt - self._evaluated, 0)
        return Request(
            start_s=self.start_s,
            end_s=times_s[-1] if times_s else self.last_s,
            prompt_tokens=prompt,
            output_tokens=len(times_s),
            first_token_s=times_s[0] if times_s else None,
            chunk_times_s=tuple(times_s),
            complete=self._finished if self._has_reason else None,
            intended_s=self._intended_s,
            cached_tokens=cached,
        )
