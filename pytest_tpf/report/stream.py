"""JSON from a file that may be anything, value by value: only the value being read is in memory.

The standard library's parser reads every value; what stands here is the buffer before it, and what JSON of ours may not have: a key
twice, numbers that are no floats or 64-bit integers, nesting without end.
"""

from __future__ import annotations

import codecs
import json
import math
import re
from collections.abc import Sequence
from typing import Any, BinaryIO, NoReturn

from pytest_tpf.report.errors import ReportError
from pytest_tpf.report.wording import show

MAX_VALUE_CHARS = 8 * 2**20  # a test takes about 4 kB; parsed JSON takes up to some 40 times its text
_CHUNK_BYTES = 2**18
_MAX_INTEGER_CHARS = 20  # 64 bits and a sign
_MAX_FLOAT_CHARS = 400  # longer than any float's shortest and any exact decimal that people write
_LONGEST_WORD = 16  # a word, number's sign or escape that was cut off begins at most this far before the cut
_BLANK = re.compile(r"[ \t\n\r]*")
_OTHER_FORMATS = {
    codecs.BOM_UTF8: "starts with a byte order mark; JSON is plain UTF-8",
    b"\x1f\x8b": "is compressed (gzip); unpack it first",
    b"PK\x03\x04": "is an archive (zip); unpack it first",
}


class JsonStream:
    """Values and punctuation of a JSON text, in turn.

    Every method raises ReportError where the text isn't UTF-8, isn't JSON or breaks a bound.
    """

    def __init__(self, file: BinaryIO, max_bytes: int, if_larger: str = "", max_value_chars: int = MAX_VALUE_CHARS) -> None:
        self._file, self._left_bytes = file, max_bytes
        self._max_value_chars = max_value_chars
        self._if_larger = f"larger than {max_bytes} bytes{if_larger}"
        self._utf8 = codecs.getincrementaldecoder("utf-8")()
        self._read_bytes = 0
        self._buffer, self._at, self._ended = "", 0, False
        self._line, self._column = 1, 1  # where the buffer begins

    def next_is(self, char: str) -> bool:
        """Whether the next character that isn't blank is ``char``, which is then taken."""
        found = self._peek() == char
        self._at += found
        return found

    def expect(self, char: str) -> None:
        """Take ``char``."""
        if not self.next_is(char):
            self._not_json(f"Expecting {char!r}", self._at)

    def at_end(self) -> bool:
        """Whether nothing but blanks follows."""
        return not self._peek()

    def end(self) -> None:
        """Nothing may follow."""
        if self._peek():
            self._not_json("Extra data", self._at)

    def value(self) -> Any:
        """The next value, whole."""
        self._peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._buffer, self._at)
            except json.JSONDecodeError as error:
                if not (self._may_be_cut_off(error) and self._more()):
                    self._not_json(error.msg, error.pos)
            except RecursionError:
                raise ReportError("nested too deeply") from None
            else:
                if end < len(self._buffer) or not self._more():  # else a number may go on
                    self._at = end
                    return value

    def _may_be_cut_off(self, error: json.JSONDecodeError) -> bool:
        return error.msg.startswith("Unterminated string") or error.pos > len(self._buffer) - _LONGEST_WORD

    def _peek(self) -> str:
        while True:
            if blank := _BLANK.match(self._buffer, self._at):
                self._at = blank.end()
            if self._at < len(self._buffer):
                return self._buffer[self._at]
            if not self._more():
                return ""

    def _more(self) -> bool:
        """Let go of what was read, and double what lies ahead; False at the end of the file."""
        if self._ended:
            return False
        self._forget()
        if len(self._buffer) > self._max_value_chars:
            raise ReportError(f"a value is longer than {self._max_value_chars} characters (line {self._line}, column {self._column})")
        chunk = self._file.read(min(max(_CHUNK_BYTES, len(self._buffer)), self._max_value_chars + 1 - len(self._buffer)))
        self._left_bytes -= len(chunk)
        if self._left_bytes < 0:
            raise ReportError(self._if_larger)
        self._ended = not chunk
        self._buffer += self._decoded(chunk)
        return True

    def _forget(self) -> None:
        self._line, self._column = self._place(self._at)
        self._buffer, self._at = self._buffer[self._at :], 0

    def _decoded(self, chunk: bytes) -> str:
        if self._read_bytes == 0:
            _refuse_other_formats(chunk)
        begun = len(self._utf8.getstate()[0])
        try:
            text = self._utf8.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            raise ReportError(f"not UTF-8 (byte {self._read_bytes - begun + error.start}: {error.reason})") from None
        self._read_bytes += len(chunk)
        return text

    def _place(self, position: int) -> tuple[int, int]:
        lines = self._buffer.count("\n", 0, position)
        before = self._buffer.rfind("\n", 0, position)
        return self._line + lines, position - before if lines else self._column + position

    def _not_json(self, message: str, position: int) -> NoReturn:
        line, column = self._place(position)
        raise ReportError(f"not JSON (line {line}, column {column}: {message})")


def _refuse_other_formats(beginning: bytes) -> None:
    for start, complaint in _OTHER_FORMATS.items():
        if beginning.startswith(start):
            raise ReportError(complaint)


def parse_json(text: bytes) -> Any:
    """A whole JSON text that may be anything, held in memory; whoever reads it has bounded its size.

    Raises:
        ReportError: as a stream of the same bytes would.
    """
    _refuse_other_formats(text)
    try:
        return _DECODER.decode(text.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ReportError(f"not UTF-8 (byte {error.start}: {error.reason})") from None
    except json.JSONDecodeError as error:
        raise ReportError(f"not JSON (line {error.lineno}, column {error.colno}: {error.msg})") from None
    except RecursionError:
        raise ReportError("nested too deeply") from None


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    parsed = dict(pairs)
    if len(parsed) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ReportError(key_twice(twice))
    return parsed


def key_twice(key: str) -> str:
    """The complaint, wherever it is noticed."""
    return f"key {show(key)} stands twice in one object"


def _constant(name: str) -> NoReturn:
    raise ReportError(f"{name} is not JSON: numbers are finite")


def _integer(digits: str) -> int:
    if len(digits) > _MAX_INTEGER_CHARS:
        raise ReportError(f"an integer has more than {_MAX_INTEGER_CHARS} digits")
    return int(digits)


def _float(digits: str) -> float:
    value = float(digits) if len(digits) <= _MAX_FLOAT_CHARS else math.inf
    if not math.isfinite(value):
        raise ReportError(f"number {digits[:20]}{'...' if len(digits) > 20 else ''} is out of range")
    return value


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_constant, parse_int=_integer, parse_float=_float)
