"""A real Prometheus server on a free port, an exporter of its own whose values are functions of time, and a server that lies."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

EVERY_S = 0.2
POWER_W = 250.0
BOARD = 'DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{gpu="0",UUID="GPU-one",modelName="Tested X1",Hostname="node7"}'
"""A board that draws ``POWER_W``, as NVIDIA's exporter shows it."""
EPOCH = time.time()

_START_S = 60.0

Value = Callable[[float], float | None]
"""What a metric shows at a time of day; None = it isn't there."""
Answer = tuple[int, dict[str, str], bytes]


@contextmanager
def served(answer: Callable[[BaseHTTPRequestHandler], Answer]) -> Iterator[str]:
    """An HTTP server in a thread: its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = answer(self)
            try:
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)
            except OSError:
                pass  # whoever asked has gone

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Exporter:
    """Metrics by their name and labels as Prometheus writes them; ``silent_until``: until then it answers errors."""

    def __init__(self) -> None:
        self.metrics: dict[str, Value] = {BOARD: lambda t: round(1000 * POWER_W * (t - EPOCH))}
        self.silent_until = 0.0

    def __call__(self, request: BaseHTTPRequestHandler) -> Answer:
        now = time.time()
        if now < self.silent_until:
            return 500, {}, b""
        values = {name: value(now) for name, value in list(self.metrics.items())}
        text = "".join(f"{name} {value!r}\n" for name, value in values.items() if value is not None)
        return 200, {"Content-Type": "text/plain; version=0.0.4"}, text.encode()


class Prometheus:
    """A running server that scrapes ``exporter``, as two jobs."""

    def __init__(self, url: str, exporter: Exporter) -> None:
        self.url, self.exporter = url, exporter

    def ask(self, query: str) -> list[dict[str, Any]]:
        with urllib.request.urlopen(f"{self.url}/api/v1/query?{urllib.parse.urlencode({'query': query})}", timeout=5) as answer:
            result: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        return result

    def wait_for(self, metric: str, samples: int = 8) -> None:
        """Until every series of the metric has so many samples."""
        wait_until(
            lambda: bool(found := self.ask(f"count_over_time({metric}[5m])")) and all(float(r["value"][1]) >= samples for r in found)
        )


@contextmanager
def prometheus(folder: Path) -> Iterator[Prometheus]:
    """The real server; skips where it isn't installed, except in CI."""
    binary = shutil.which("prometheus")
    if binary is None:
        reason = "the Prometheus server is not installed: apt-get install prometheus"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    exporter = Exporter()
    with served(exporter) as exporter_url:
        target = exporter_url.removeprefix("http://")
        jobs = "".join(f"- job_name: {job}\n  static_configs: [{{targets: ['{target}']}}]\n" for job in ("a", "b"))
        folder.joinpath("prometheus.yml").write_text(f"global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}\nscrape_configs:\n{jobs}")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        command = [
            binary,
            "--config.file=prometheus.yml",
            "--storage.tsdb.path=data",
            f"--web.listen-address={address}",
            "--log.level=warn",
        ]
        with folder.joinpath("log").open("wb") as log:
            process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
        try:
            wait_until(lambda: process.poll() is not None or _answers(f"http://{address}/-/ready"))
            assert process.poll() is None, folder.joinpath("log").read_text()
            server = Prometheus(f"http://{address}", exporter)
            server.wait_for(BOARD, 3)
            yield server
        finally:
            process.kill()
            process.wait()


def wait_until(true: Callable[[], bool]) -> None:
    limit = time.monotonic() + _START_S
    while not true():
        assert time.monotonic() < limit, "waited too long"
        time.sleep(0.05)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False


class Liar:
    """A server that answers what it is told to: ``series`` (labels and a value by time) by default, its clock ``ahead_s``."""

    def __init__(self, *series: tuple[dict[str, str], Value], every_s: float = EVERY_S) -> None:
        self.series, self.every_s, self.ahead_s = series, every_s, 0.0
        self.answer: Callable[[str], Answer | None] = lambda query: None
        self.asked: list[tuple[str, dict[str, str]]] = []

    def __call__(self, request: BaseHTTPRequestHandler) -> Answer:
        fields = {k: v[0] for k, v in urllib.parse.parse_qs(urllib.parse.urlsplit(request.path).query).items()}
        query, now = fields.get("query", ""), time.time() + self.ahead_s
        self.asked.append((query, dict(request.headers)))
        if (answer := self.answer(query)) is not None:
            return answer
        if query == "time()":
            return success("scalar", [now, f"{now:.3f}"])
        if "[" not in query or query.startswith("scrape_duration"):
            return success("matrix", [])
        rows = []
        for labels, value in self.series:
            times = [n * self.every_s for n in range(int((now - 10) / self.every_s), int(now / self.every_s) + 1)]
            values = [[t, f"{v!r}"] for t in times if (v := value(t - self.ahead_s)) is not None]
            rows.append({"metric": labels, "values": values})
        return success("matrix", rows)


def success(kind: str, result: Any) -> Answer:
    body = json.dumps({"status": "success", "data": {"resultType": kind, "result": result}})
    return 200, {"Content-Type": "application/json"}, body.encode()
