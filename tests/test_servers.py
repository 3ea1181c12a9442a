"""Where a server is: real sockets of this process, of a child, and of a process that is nobody's child here."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys

import pytest

from pytest_tpf.engines.protocol import Generation, Request
from pytest_tpf.records import Model
from pytest_tpf.servers import Servers, find_server
from tests.served.orphans import orphan

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux tells who listens")

LISTEN = """
import socket, sys
listening = socket.create_server((sys.argv[1], 0), family=socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET)
print(listening.getsockname()[1], flush=True)
sys.stdin.read()
"""


def place(host, port, *roots):
    return find_server(f"http://{host}:{port}", roots or (os.getpid(),)).place


def test_a_socket_of_this_process_is_ours():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        assert place("127.0.0.1", listening.getsockname()[1]) == "ours"
        assert place("localhost", listening.getsockname()[1]) == "ours"


@pytest.mark.parametrize("bound_to", ["127.0.0.1", "0.0.0.0"])
def test_a_socket_of_a_child_is_ours_and_nobody_elses(bound_to):
    with subprocess.Popen([sys.executable, "-c", LISTEN, bound_to], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        port = int(child.stdout.readline())
        assert place("127.0.0.1", port) == "ours"
        assert place("127.0.0.1", port, child.pid) == "ours"
        found = find_server(f"http://127.0.0.1:{port}", (1 << 21,))  # a tree that has nothing
        assert (found.place, found.pid) == ("machine", child.pid)
        child.communicate()


@pytest.mark.skipif(not socket.has_ipv6, reason="there is no IPv6 here")
@pytest.mark.parametrize("bound_to", ["::1", "::"])
def test_addresses_of_ipv6_are_read_too(bound_to):
    try:
        listening = socket.create_server((bound_to, 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("there is no IPv6 here")
    with listening:
        assert place("[::1]", listening.getsockname()[1]) == "ours"


def test_the_same_port_at_another_address_is_another_server(tmp_path):
    with orphan(tmp_path) as theirs, socket.create_server(("127.0.0.2", theirs.port)) as ours:
        assert place("127.0.0.2", ours.getsockname()[1]) == "ours"
        assert place("127.0.0.1", theirs.port) == "machine"


def test_a_server_that_was_started_elsewhere_is_ours_once_it_is_named(tmp_path):
    with orphan(tmp_path) as theirs:
        found = find_server(theirs.endpoint, (os.getpid(),))
        assert (found.place, found.pid) == ("machine", theirs.pid)
        assert place("127.0.0.1", theirs.port, os.getpid(), theirs.pid) == "ours"


def test_nobody_listening_is_not_ours():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    found = find_server(f"http://127.0.0.1:{port}", (os.getpid(),))
    assert (found.place, found.pid) == ("machine", None)


def test_an_address_of_another_machine_is_elsewhere():
    assert find_server("http://192.0.2.1:8000", (os.getpid(),)).place == "elsewhere"
    assert find_server("https://no-such-host.invalid:443", (os.getpid(),)).place == "elsewhere"


def generation(endpoint, *outputs):
    requests = tuple(Request(start_s=0.0, end_s=1.0, prompt_tokens=1, output_tokens=n, complete=bool(n)) for n in outputs)
    return Generation(engine="t", model=Model(), start_s=0.0, end_s=1.0, requests=requests, token_source="usage", endpoint=endpoint)


def test_a_server_is_looked_up_while_it_is_there_and_once():
    servers = Servers((os.getpid(),))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        endpoint = f"http://127.0.0.1:{listening.getsockname()[1]}"
        servers.note(generation(endpoint, 3))
    servers.note(generation(endpoint, 3))
    assert [(each.endpoint, each.place) for each in servers.known] == [(endpoint, "ours")]


def test_a_call_that_was_refused_tells_of_no_server_and_neither_does_this_process():
    servers = Servers((os.getpid(),))
    servers.note(generation("http://127.0.0.1:9", 0))
    servers.note(generation(None, 3))
    assert servers.known == ()


def test_an_event_loop_finds_the_server_as_well():
    servers = Servers((os.getpid(),))

    async def generate(endpoint):
        servers.note(generation(endpoint, 3))
        return servers.known

    with socket.create_server(("127.0.0.1", 0)) as listening:
        (found,) = asyncio.run(generate(f"http://127.0.0.1:{listening.getsockname()[1]}"))
    assert found.place == "ours"
