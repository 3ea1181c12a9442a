"""Where the servers are that generate: who listens at an endpoint is looked up while it is still there."""

from __future__ import annotations

import ipaddress
import os
import socket
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from pytest_tpf.engines._endpoint import is_here
from pytest_tpf.engines.protocol import Generation
from pytest_tpf.measure.reach import Server
from pytest_tpf.meters._process_tree import family

_PROC = Path("/proc")
_LISTENING = "0A"  # TCP_LISTEN of the kernel's tcp_states.h

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Servers:
    """The servers that were heard from, each looked up once. ``roots``: the processes whose trees are the tests' own."""

    def __init__(self, roots: Sequence[int]) -> None:
        self._roots = tuple(roots)
        self._lookups: dict[str, threading.Thread] = {}
        self._known: dict[str, Server] = {}
        self._lock = threading.Lock()

    @property
    def known(self) -> tuple[Server, ...]:
        """Those that were looked up."""
        for lookup in list(self._lookups.values()):
            lookup.join()
        return tuple(self._known.values())

    def note(self, generation: Generation) -> None:
        """Look up the server of a generation, unless it is known, or gave nothing.

        The kernel takes milliseconds for its table of sockets: an event loop, whose other requests are timed, doesn't wait for that.
        """
        endpoint = generation.endpoint
        if endpoint is None or not is_answered(generation):
            return
        with self._lock:
            if endpoint in self._lookups:
                return
            lookup = self._lookups[endpoint] = threading.Thread(target=self._look_up, args=(endpoint,), daemon=True)
            lookup.start()
        if not _in_event_loop():
            lookup.join()

    def _look_up(self, endpoint: str) -> None:
        self._known[endpoint] = find_server(endpoint, self._roots)


def _in_event_loop() -> bool:
    if (asyncio := sys.modules.get("asyncio")) is None:
        return False
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def is_answered(generation: Generation) -> bool:
    """Whether a server did anything: a call that was refused at once says nothing of one."""
    return not generation.requests or any(request.output_tokens for request in generation.requests)


def find_server(endpoint: str, roots: Sequence[int]) -> Server:
    """Who listens at ``endpoint``. It is ours where every socket that does is held by ``roots`` or their descendants.

    Linux tells (proc(5)); elsewhere, and where nobody is seen to listen, a server of this machine counts as somebody else's.
    """
    if not is_here(endpoint):
        return Server(endpoint=endpoint, place="elsewhere")
    sockets = _listening(endpoint)
    if sockets and sockets <= _held_by(family(*roots)):
        return Server(endpoint=endpoint, place="ours")
    return Server(endpoint=endpoint, place="machine", pid=next(_holders(sockets), None) if sockets else None)


def _listening(endpoint: str) -> frozenset[str]:
    """The inodes of the sockets that take what is sent to ``endpoint``: one bound to its very address, else one bound to all."""
    wanted, port = _addresses(endpoint), urlsplit(endpoint).port
    bound = [(address, inode) for address, inode in _bound_to(port or 0) if address in wanted or address.is_unspecified]
    exact = frozenset(inode for address, inode in bound if address in wanted)
    return exact or frozenset(inode for _, inode in bound)


def _addresses(endpoint: str) -> frozenset[Address]:
    try:
        found = socket.getaddrinfo(urlsplit(endpoint).hostname, None, type=socket.SOCK_STREAM)
    except OSError:
        return frozenset()
    return frozenset(_plain(ipaddress.ip_address(str(info[4][0]).partition("%")[0])) for info in found)


def _plain(address: Address) -> Address:
    """An IPv4 address that is written as an IPv6 one, as itself."""
    return address.ipv4_mapped or address if isinstance(address, ipaddress.IPv6Address) else address


def _bound_to(port: int) -> Iterator[tuple[Address, str]]:
    """Address and inode of every TCP socket that listens at ``port`` of this machine."""
    for table in ("tcp", "tcp6"):
        try:
            rows = (_PROC / "self" / "net" / table).read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for words in (row.split() for row in rows):
            address, _, hexadecimal = words[1].partition(":")
            if words[3] == _LISTENING and int(hexadecimal, 16) == port:
                yield _plain(_address(address)), words[9]


def _address(hexadecimal: str) -> Address:
    """The kernel prints an address in words of 32 bits, in the order of this machine's bytes."""
    words = [int(hexadecimal[i : i + 8], 16) for i in range(0, len(hexadecimal), 8)]
    return ipaddress.ip_address(b"".join(word.to_bytes(4, sys.byteorder) for word in words))


def _held_by(pids: Iterable[int]) -> set[str]:
    return {inode for pid in pids for inode in _sockets(pid)}


def _holders(sockets: frozenset[str]) -> Iterator[int]:
    """The processes that hold any of ``sockets``, as far as we may see."""
    for name in os.listdir(_PROC):
        if name.isdigit() and not sockets.isdisjoint(_sockets(int(name))):
            yield int(name)


def _sockets(pid: int) -> Iterator[str]:
    """The inodes of a process's sockets; none of one that has gone, or isn't ours to look into."""
    folder = f"/proc/{pid}/fd"
    try:
        names = os.listdir(folder)
    except OSError:
        return
    for name in names:
        try:
            target = os.readlink(f"{folder}/{name}")
        except OSError:
            continue
        if target.startswith("socket:["):
            yield target[8:-1]
