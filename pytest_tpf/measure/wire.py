"""How the sampler's two ends talk: frames of a length and a marshalled value of builtins over pipes.

Both ends are the same interpreter and the same program, which is what ``marshal`` is for; it is built in (no import) and sends arrays of
readings as they are. Never feed it anything else.
"""

from __future__ import annotations

import marshal
import os
from collections.abc import Iterator
from typing import Any

_HEADER_BYTES = 4


def send(fd: int, message: Any) -> None:
    """Write one frame. Raises OSError where the other end is gone."""
    body = marshal.dumps(message)
    view = memoryview(len(body).to_bytes(_HEADER_BYTES, "little") + body)
    while view:
        view = view[os.write(fd, view) :]


class Inbox:
    """Frames that arrive in pieces on ``fd``."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.closed = False
        self._buffer = bytearray()

    def fill(self) -> None:
        """Read once what is there (blocks if nothing is); sets ``closed`` at the end of file."""
        piece = os.read(self.fd, 1 << 20)
        self.closed = not piece
        self._buffer += piece

    def messages(self) -> Iterator[Any]:
        """The complete messages among what was read, each once. Raises ValueError, EOFError or TypeError for bytes that aren't ours."""
        while len(self._buffer) >= _HEADER_BYTES:
            end = _HEADER_BYTES + int.from_bytes(self._buffer[:_HEADER_BYTES], "little")
            if len(self._buffer) < end:
                return
            body = bytes(self._buffer[_HEADER_BYTES:end])
            del self._buffer[:end]
            yield marshal.loads(body)
