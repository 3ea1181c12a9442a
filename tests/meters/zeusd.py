"""Zeus's daemon, as far as its client asks it for the energy of processors: HTTP on a Unix socket.

The answers have the form that Zeus 0.16's client (``zeus/utils/zeusd.py``) reads; the packages draw a constant power.
"""

from __future__ import annotations

import json
import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

CPU_W, DRAM_W = 65.0, 7.5


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path.startswith("/discover"):
            content: object = {
                "gpus": [],
                "cpus": [{"id": 0, "dram_available": True}],
                "enabled_api_groups": ["cpu-read"],
                "auth_required": False,
            }
        else:
            t = time.perf_counter()
            content = {"0": {"cpu_energy_uj": int(CPU_W * t * 1e6), "dram_energy_uj": int(DRAM_W * t * 1e6)}}
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        return "unix"

    def log_message(self, *_: object) -> None:
        pass


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


@contextmanager
def zeusd(folder: Path) -> Iterator[Path]:
    """A daemon while the context lasts; its socket."""
    path = folder / "zeusd.sock"
    with _Server(str(path), _Answers) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield path
        finally:
            server.shutdown()
            thread.join()
