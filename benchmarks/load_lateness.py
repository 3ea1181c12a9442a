"""How late a client is with so many streams at once: ``tpf.load`` on a server whose every chunk comes when it is set to.

    python -m benchmarks.load_lateness [--write]

A scripted server in another process answers each chat completion with ``--chunks`` chunks, one every ``--pace-ms``. The official client
reads them in one event loop (``AsyncOpenAI``) or in threads (``OpenAI``), in a suite that pytest runs; lateness is what its report says
(docs/how-to/load.md). The server sends to all streams at the same moments, which is the worst a client can meet. ``--write`` puts the
result into docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import openai
from tabulate import tabulate

from benchmarks.peers import ROOT
from benchmarks.published import machine, machine_line, replace_part
from benchmarks.quiet import Noise, Watch, require_quiet
from benchmarks.served_cost import served

STREAMS = (1, 8, 32, 64)

SUITE = """
import os
import openai
import pytest

OPTIONS = {"base_url": os.environ["SERVER"], "api_key": "none", "max_retries": 0}
ASKED = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}
streams = pytest.mark.parametrize("streams", STREAMS)
measured = pytest.mark.tpf(rounds=3, warmup=1)


@measured
@streams
@pytest.mark.asyncio
async def test_loop(tpf, streams):
    async with openai.AsyncOpenAI(http_client=openai.DefaultAsyncHttpxClient(verify=False), **OPTIONS) as client:

        async def ask(number):
            async for chunk in await client.chat.completions.create(**ASKED):
                pass

        await tpf.load(range(max(8, 2 * streams)), ask, concurrency=streams)


@measured
@streams
def test_threads(tpf, streams):
    with openai.OpenAI(http_client=openai.DefaultHttpxClient(verify=False), **OPTIONS) as client:

        def ask(number):
            for chunk in client.chat.completions.create(**ASKED):
                pass

        tpf.load(range(max(8, 2 * streams)), ask, concurrency=streams)
"""
OFF = ("cacheprovider", "randomly", "rerunfailures", "timeout")
NAMES = {"test_loop": "one event loop", "test_threads": "threads"}


def measure(url: str) -> dict[str, dict[str, Any]]:
    """The report's tests by name."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "test_load.py").write_text(SUITE.replace("STREAMS", str(STREAMS), 1))
        command = [sys.executable, "-m", "pytest", "-q", "--tpf-gate=warn", "--tpf-report=report.json"]
        command += [option for name in OFF for option in ("-p", f"no:{name}")]
        environment = {**os.environ, "SERVER": url, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(done.stdout)
        report = json.loads((Path(folder) / "report.json").read_text())
    return {test["nodeid"].partition("::")[2]: test for test in report["tests"]}


def row(name: str, streams: int, test: dict[str, Any]) -> list[Any]:
    late = test["service"]["load"]["lateness_s"]
    ttft = test["service"]["ttft_s"]
    told = "client_late: left out" if "client_late" in test["conditions"]["flags"] else f"{1e3 * ttft['p50']:.1f} ms"
    return [NAMES[name], streams, f"{1e3 * late['p50']:.1f} ms", f"{1e3 * late['p95']:.1f} ms", told]


def text(found: dict[str, dict[str, Any]], noise: Noise, args: argparse.Namespace) -> str:
    about = (
        f"{time.strftime('%Y-%m-%d')}, openai {openai.__version__}, {args.chunks} chunks a stream behind one with the role, one every "
        f"{args.pace_ms:g} ms: the first token comes after {2 * args.pace_ms:g} ms; "
        f"{machine_line(machine())}. Machine: {noise}."
    )
    headers = ["client", "streams", "late, median", "late, p95", "TTFT, median"]
    rows = [row(name, streams, found[f"{name}[{streams}]"]) for name in NAMES for streams in STREAMS]
    return f"{about}\n\n{tabulate(rows, headers=headers, tablefmt='github')}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chunks", type=int, default=20)
    parser.add_argument("--pace-ms", type=float, default=50.0)
    parser.add_argument("--noisy", action="store_true", help="write what a busy machine gave, too; the result says so")
    parser.add_argument("--write", action="store_true", help="into docs/benchmarks.md")
    args = parser.parse_args()
    if args.write:
        require_quiet(anyway=args.noisy)
    watch = Watch()
    with served(args.chunks, args.pace_ms / 1000) as url:
        found = measure(url)
    shown = text(found, watch.noise(), args)
    print(shown)
    if args.write:
        replace_part(ROOT / "docs" / "benchmarks.md", "load-lateness", shown)


if __name__ == "__main__":
    main()
