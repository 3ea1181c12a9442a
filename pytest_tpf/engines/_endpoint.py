"""Where a server is."""

from __future__ import annotations

import ipaddress
import socket
from functools import cache
from urllib.parse import urlsplit


def endpoint_of(url: str) -> str | None:
    """Scheme, host and port of ``url``, without what else stands in it (a path, a password); None where it names no host."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if not host:
        return None
    name = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{name}:{port or (443 if parts.scheme == 'https' else 80)}"


@cache
def is_here(endpoint: str) -> bool:
    """Whether the host of an endpoint is this machine: the loopback, or an address of its own."""
    host = urlsplit(endpoint).hostname or ""
    try:
        addresses = {info[4][0] for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except OSError:
        return False
    return any(ipaddress.ip_address(str(each).partition("%")[0]).is_loopback or _is_own(str(each)) for each in addresses)


def _is_own(address: str) -> bool:
    """Whether a socket can be bound to the address, which only its own machine can."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True
