"""A report from a file that may be anything: bounded memory, no code, no network, one clear line for what is wrong."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from typing import Any, BinaryIO

from pytest_tpf.report.errors import ReportError
from pytest_tpf.report.stream import MAX_VALUE_CHARS, JsonStream, key_twice
from pytest_tpf.report.walk import check_depth
from pytest_tpf.report.wording import kind, printable

MAX_BYTES = 64 * 2**20  # of a report that is held whole: some 15,000 tests; parsed JSON takes up to some 25 times its text
MAX_UNORDERED_BYTES = 4 * 2**20
MAX_SCANNED_BYTES = 4 * 2**30  # of a report that is read test by test: about a million tests

Part = tuple[str | int, Any]
"""A member of the report by its name, or one of its tests by its number; ``tests`` itself comes before them, empty."""


def read_report(path: str | os.PathLike[str], *, max_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """The parsed report in ``path``, held whole; it is JSON and an object, but not validated (see ``validate``).

    Raises:
        ReportError: not a readable file, larger than ``max_bytes``, not UTF-8, not JSON, a key twice, NaN or infinity, a number beyond
            64 bits or a float's range, nested too deeply, or not an object.
    """
    report: dict[str, Any] = {}
    for key, value in scan_report(path, max_bytes=max_bytes):
        if isinstance(key, int):
            report["tests"].append(value)
        else:
            report[key] = value
    return report


def scan_report(path: str | os.PathLike[str], *, max_bytes: int = MAX_SCANNED_BYTES) -> Iterator[Part]:
    """The parts of the report in ``path``, one after the other, so that only one test at a time is in memory. Not validated.

    ``schema_version`` comes before the first test, wherever the file has it. Where ``tests`` is no array, it comes as it is.

    Raises:
        ReportError: as ``read_report``, when the scan gets there.
    """
    with _named(path), _opened(path) as file:
        yield from _parts(file, max_bytes)


def scan_objects(
    path: str | os.PathLike[str], array: str, *, max_bytes: int = MAX_SCANNED_BYTES, max_value_chars: int = MAX_VALUE_CHARS
) -> Iterator[Iterator[Part]]:
    """The objects that stand one after the other in ``path``, each as its members, to be read before the next one is asked for.

    The items of the member ``array``, where it is one, come one at a time with their numbers, after the member itself, empty.

    Raises:
        ReportError: as ``read_report``, when the scan gets there.
    """
    with _named(path), _opened(path) as file:
        stream = JsonStream(file, max_bytes, max_value_chars=max_value_chars)
        while not stream.at_end():
            if stream.next_is("["):  # which needn't be read to be refused
                raise ReportError("holds array, expected object")
            if not stream.next_is("{"):
                raise ReportError(f"holds {kind(stream.value())}, expected object")
            yield _members_of(path, stream, array)


def _members_of(path: str | os.PathLike[str], stream: JsonStream, array: str) -> Iterator[Part]:
    seen: set[str] = set()
    with _named(path):  # whoever reads the members isn't within the scan's own
        for name in _members(stream):
            if name in seen:
                raise ReportError(key_twice(name))
            seen.add(name)
            if name == array and stream.next_is("["):
                yield name, []
                yield from enumerate(_items(stream))
            else:
                yield name, _bounded(stream.value())


def scan_values(path: str | os.PathLike[str], *, max_bytes: int = MAX_SCANNED_BYTES) -> Iterator[Any]:
    """The values that stand one after the other in ``path``, as in JSON lines; one at a time is in memory.

    Raises:
        ReportError: as ``read_report``, but that a value needn't be an object, when the scan gets there.
    """
    with _named(path), _opened(path) as file:
        stream = JsonStream(file, max_bytes)
        while not stream.at_end():
            yield _bounded(stream.value())


@contextlib.contextmanager
def _named(path: str | os.PathLike[str]) -> Iterator[None]:
    """Every error says which file it is about."""
    where = printable(os.fspath(path))
    try:
        yield
    except (OSError, ValueError) as error:  # ValueError: a path that no file can have
        raise ReportError(f"{where}: can't be read: {getattr(error, 'strerror', None) or error}") from None
    except ReportError as error:
        raise ReportError(f"{where}: {error}") from None


def _opened(path: str | os.PathLike[str]) -> BinaryIO:
    # without O_NONBLOCK, opening a pipe waits until somebody writes to it
    file = open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb", buffering=0)  # noqa: SIM115 - the caller closes it
    mode = os.fstat(file.fileno()).st_mode
    if stat.S_ISREG(mode):
        return file
    file.close()
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    raise ReportError("is not a regular file; save the report to one first")


def _parts(file: BinaryIO, max_bytes: int) -> Iterator[Part]:
    stream = JsonStream(file, max_bytes)
    if not stream.next_is("{"):
        whole = stream.value()
        stream.end()
        raise ReportError(f"holds {kind(whole)}, expected object")
    seen: set[str] = set()
    for name in _names(stream):
        if name in seen:
            raise ReportError(key_twice(name))
        seen.add(name)
        if name == "tests" and stream.next_is("["):
            if "schema_version" not in seen:
                yield from _version_ahead(file)
            yield name, []
            yield from enumerate(_items(stream))
        else:
            yield name, _bounded(stream.value())


def _names(stream: JsonStream) -> Iterator[str]:
    """The names of a file's only object, as ``_members``."""
    yield from _members(stream)
    stream.end()


def _members(stream: JsonStream) -> Iterator[str]:
    """The names of an object whose brace was taken; the caller takes each value."""
    more = not stream.next_is("}")
    while more:
        name = stream.value()
        if not isinstance(name, str):
            raise ReportError(f"a key is {kind(name)}, expected string")
        stream.expect(":")
        yield name
        more = stream.next_is(",")
        if not more:
            stream.expect("}")


def _items(stream: JsonStream) -> Iterator[Any]:
    """The values of an array whose bracket was taken."""
    more = not stream.next_is("]")
    while more:
        yield _bounded(stream.value())
        more = stream.next_is(",")
        if not more:
            stream.expect("]")


def _version_ahead(file: BinaryIO) -> Iterator[Part]:
    """Of a report that has its version behind its tests (JSON objects have no order): a scan of its own, which isn't worth much time."""
    here = file.tell()
    file.seek(0)
    stream = JsonStream(file, MAX_UNORDERED_BYTES, " with its schema_version behind its tests; put it first")
    stream.expect("{")
    for name in _names(stream):
        value = None
        if name == "tests" and stream.next_is("["):
            for _ in _items(stream):
                pass
        else:
            value = stream.value()
        if name == "schema_version":
            yield name, value
            break
    file.seek(here)


def _bounded(value: Any) -> Any:
    check_depth(value)
    return value
