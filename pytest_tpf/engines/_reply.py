"""What a served reply tells, in the formats that OpenAI's API made common: chat completions, completions and responses. Pure: no clock.

Servers differ in what they send, so nothing is taken for granted: usage may come last, in every chunk (then the last one holds: it is
cumulative) or never; the first delta may hold nothing but a role; a stream may stop with status 200 in the middle of a sentence.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytest_tpf.records import record

Json = dict[str, Any]

_ENDINGS = ("response.completed", "response.incomplete")  # an incomplete one says why it ended, as finish_reason=length does
_STATES = ("completed", "incomplete")
_ENVELOPES = ("response", "x_groq")  # what else of an event may hold usage


@record
class Usage:
    """Tokens as the server counted them; ``output_tokens`` includes the reasoning tokens, ``prompt_tokens`` the cached ones."""

    output_tokens: int
    prompt_tokens: int | None = None
    reasoning_tokens: int | None = None
    cached_tokens: int | None = None


class Reply:
    """Collects one reply. Instants are the caller's clock (s).

    ``first_token_s``: when anything generated first arrived, in whichever channel (text, reasoning, a refusal, a tool's arguments).
    ``last_s``: when the last token or the finish reason did. ``usage``: the last one sent.
    """

    def __init__(self) -> None:
        self.model: str | None = None
        self.usage: Usage | None = None
        self.chunk_times_s: list[float] = []
        self.last_s: float | None = None
        self._parts: dict[int, list[str]] = {}
        self._finished: set[int] = set()

    @property
    def first_token_s(self) -> float | None:
        """When the first token arrived (s); None where the reply came in one piece, or nothing came."""
        return self.chunk_times_s[0] if self.chunk_times_s else None

    @property
    def texts(self) -> list[str]:
        """What was generated, all channels, for each sequence that has begun."""
        return ["".join(parts) for parts in self._parts.values()]

    @property
    def sequences(self) -> int:
        """How many sequences were seen."""
        return len(self._parts.keys() | self._finished)

    @property
    def complete(self) -> bool:
        """Whether every sequence gave the reason why it ended."""
        return bool(self._finished) and self._parts.keys() <= self._finished

    def chunk(self, data: Any, at_s: float) -> None:
        """Take one event of a stream, as parsed JSON."""
        if not isinstance(data, dict):
            return
        self._head(data)
        kind = data.get("type")
        if isinstance(kind, str) and kind.startswith("response."):
            generated, ended = self._event(kind, data)
        else:
            generated, ended = self._choices(data, "delta")
        if generated:
            self.chunk_times_s.append(at_s)
        if generated or ended:
            self.last_s = at_s

    def whole(self, data: Any, at_s: float) -> None:
        """Take a reply that came in one piece, as parsed JSON: when its first token was there can't be told."""
        if not isinstance(data, dict):
            return
        self._head(data)
        self._choices(data, "message")
        for item in _objects(data.get("output")):
            self._generated(0, _texts(item))
        if data.get("object") == "response" and data.get("status") in _STATES:
            self._finished.add(0)
        self.last_s = at_s

    def _head(self, data: Json) -> None:
        """What stands beside the output: the model's name, and usage in one of the places where servers put it."""
        model = data.get("model")
        if isinstance(model, str):
            self.model = model
        self._note_usage(data.get("usage"))
        for name in _ENVELOPES:
            if name in data and isinstance(inner := data[name], dict):
                self._head(inner)

    def _note_usage(self, found: Any) -> None:
        if found:
            self.usage = usage_of(found) or self.usage

    def _choices(self, data: Json, key: str) -> tuple[bool, bool]:
        """(whether anything was generated, whether a sequence ended). ``key`` holds what was generated: ``delta`` or ``message``."""
        generated = ended = False
        for place, choice in enumerate(_objects(data.get("choices"))):
            index = choice.get("index")
            number = index if isinstance(index, int) else place
            generated |= self._generated(number, _texts(choice.get(key))) or self._generated(number, [choice.get("text")])
            self._note_usage(choice.get("usage"))
            if choice.get("finish_reason"):
                self._finished.add(number)
                ended = True
        return generated, ended

    def _event(self, kind: str, data: Json) -> tuple[bool, bool]:
        """An event of the responses API, whose items are one sequence; audio is no text, and its transcript comes beside it."""
        is_text = kind.endswith(".delta") and not kind.endswith("audio.delta")
        ended = kind in _ENDINGS
        if ended:
            self._finished.add(0)
        return is_text and self._generated(0, [data.get("delta")]), ended

    def _generated(self, number: int, texts: Sequence[Any]) -> bool:
        found = [text for text in texts if text and isinstance(text, str)]
        if not found:
            return False
        self._parts.setdefault(number, []).extend(found)
        return True


def usage_of(found: Any) -> Usage | None:
    """The usage of a reply or a chunk; None where there is none, or it makes no sense.

    Reasoning tokens are among the output tokens, but for servers that add them on top: there, and only there, the total says so.
    """
    if not isinstance(found, dict):
        return None
    output, prompt = _count(found, "completion_tokens", "output_tokens"), _count(found, "prompt_tokens", "input_tokens")
    if output is None:
        return None
    reasoning = _count(_part(found, "completion_tokens_details", "output_tokens_details"), "reasoning_tokens")
    cached = _count(_part(found, "prompt_tokens_details", "input_tokens_details"), "cached_tokens")
    if reasoning and prompt is not None and _count(found, "total_tokens") == prompt + output + reasoning:
        output += reasoning
    return Usage(output_tokens=output, prompt_tokens=prompt, reasoning_tokens=reasoning, cached_tokens=cached)


def _part(found: Json, *names: str) -> Json:
    return next((found[name] for name in names if isinstance(found.get(name), dict)), {})


def _count(found: Json, *names: str) -> int | None:
    counts = (found.get(name) for name in names)
    return next((value for value in counts if isinstance(value, int) and not isinstance(value, bool) and value >= 0), None)


_NAMES = frozenset(
    {"role", "type", "id", "call_id", "status", "index", "annotations", "logprobs", "data", "obfuscation", "encrypted_content"}
)
"""What isn't generated: who speaks, what things are called by, and audio, which is no text."""
_TWICE = frozenset({"reasoning_details", "thinking_blocks"})
"""What some servers send reasoning under once more."""


def _texts(found: Any) -> list[str]:
    """Every text in a delta, a message or an output item, once."""
    if not isinstance(found, dict):
        return []
    is_twice = "reasoning_content" in found and found.get("reasoning")
    texts: list[str] = []
    for name, value in found.items():
        if value and name not in _NAMES and name not in _TWICE and not (is_twice and name == "reasoning_content"):
            _gather(value, texts)
    return texts


def _gather(found: Any, texts: list[str]) -> None:
    if isinstance(found, str):
        texts.append(found)
    elif isinstance(found, dict):
        for name, value in found.items():
            if name not in _NAMES:
                _gather(value, texts)
    elif isinstance(found, list):
        for value in found:
            _gather(value, texts)


def _objects(found: Any) -> list[Json]:
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []
