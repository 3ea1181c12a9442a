"""`transformers serve` as a process of the tests' own: its energy is then theirs, and it ends with them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import openai

READY_LIMIT_S = 300.0  # it takes five seconds; a machine that others keep busy takes minutes


@contextmanager
def serving(model: str) -> Iterator[str]:
    """The base URL of a server of the model in a folder, ready to answer until the context closes."""
    port = _free_port()
    base_url = f"http://127.0.0.1:{port}/v1"
    command = [Path(sys.executable).with_name("transformers"), "serve", model, "--host=127.0.0.1", f"--port={port}", "--log-level=error"]
    with tempfile.TemporaryDirectory() as folder, open(Path(folder, "log"), "w+b") as log:
        offline = {"HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": folder}  # nothing is looked for on the hub
        one_thread = {"OMP_NUM_THREADS": "1"}  # the quickest for a model this small, and the steadiest on a busy machine
        with subprocess.Popen(command, env=os.environ | offline | one_thread, stdin=subprocess.DEVNULL, stdout=log, stderr=log) as server:
            try:
                _wait_until_it_answers(base_url, model, server)
                yield base_url
            except ServerFailed as failed:
                log.seek(0)
                raise ServerFailed(f"{failed}:\n{log.read().decode(errors='replace')[-2000:]}") from None
            finally:
                server.terminate()
                try:
                    server.wait(10)
                except subprocess.TimeoutExpired:
                    server.kill()


class ServerFailed(Exception):
    """It ended, or did not get ready; with the end of its log."""


def _wait_until_it_answers(base_url: str, model: str, server: subprocess.Popen[bytes]) -> None:
    """Until it makes a token: that it listens, or calls itself healthy, doesn't mean that its model is loaded."""
    end_s = time.monotonic() + READY_LIMIT_S
    with openai.OpenAI(base_url=base_url, api_key="none", max_retries=0) as client:
        while server.poll() is None and time.monotonic() < end_s:
            try:
                client.completions.create(model=model, prompt="1+1=", max_tokens=1)
            except openai.APIConnectionError:
                time.sleep(0.1)
            else:
                return
    raise ServerFailed("the server did not get ready" if server.poll() is None else f"the server ended with {server.returncode}")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])
