"""What observing costs a client with many streams open: CPU time of this process with the observer over without, less one.

    python -m benchmarks.served_cost [--streams 64] [--chunks 40] [--pairs 40] [--write]

A scripted server in another process answers each of ``--streams`` concurrent chat completions with ``--chunks`` chunks, one every
``--pace-ms``, as a server that decodes does; ``AsyncOpenAI`` reads them in one event loop. Observed and plain runs alternate in random
order, once for a caller who asks for usage, and once for one who doesn't: there the observer does, and pays for one more chunk in each
stream. Only this process's CPU time is taken; the server's is its own. The interval is a bootstrap over the pairs. ``--write`` puts the
result into docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import gc
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import openai
from tabulate import tabulate

from benchmarks.peers import ROOT
from benchmarks.published import machine, machine_line, replace_part
from benchmarks.quiet import Noise, Watch, require_quiet
from pytest_tpf.engines.openai import OpenAIEngine
from pytest_tpf.engines.protocol import Generation
from tests.served import sse

WARM_UP = 3
DRAWS = 2000
ASKED = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}
USAGE = {"stream_options": {"include_usage": True}}
CALLERS = {"the caller": ASKED | USAGE, "the observer": ASKED}
"""What is sent, by who asks for usage."""

Pair = tuple[float, float]
"""CPU seconds of a plain and an observed run."""


def serve(chunks: int, pace_s: float) -> None:
    """Play the server until standard input is closed; its URL is the first line of the output."""
    answer = sse.vllm([f" word{n}" for n in range(chunks)], chunks)
    with sse.scripted(script=lambda body: dataclasses.replace(answer(body), pace_s=pace_s)) as server:
        print(server.url, flush=True)
        sys.stdin.read()


@contextmanager
def served(chunks: int, pace_s: float) -> Iterator[str]:
    command = [sys.executable, "-m", "benchmarks.served_cost", "--serve", "--chunks", str(chunks), "--pace-ms", str(1000 * pace_s)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdin
        assert process.stdout
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()


async def read(client: openai.AsyncOpenAI, asked: dict[str, Any]) -> int:
    """How many characters a stream brought."""
    length = 0
    async for chunk in await client.chat.completions.create(**asked):
        length += sum(len(choice.delta.content or "") for choice in chunk.choices)
    return length


async def run(client: openai.AsyncOpenAI, asked: dict[str, Any], streams: int, engine: OpenAIEngine | None) -> float:
    """CPU seconds of reading ``streams`` at once."""
    seen: list[Generation] = []
    gc.collect()
    with engine.observe(seen.append) if engine else nullcontext():
        start_s = time.process_time()
        await asyncio.gather(*(read(client, asked) for _ in range(streams)))
        spent_s = time.process_time() - start_s
    assert [each.token_source for each in seen] == ["usage"] * (streams if engine else 0)
    return spent_s


async def measure(url: str, asked: dict[str, Any], streams: int, pairs: int) -> list[Pair]:
    measured = []
    unsure = openai.DefaultAsyncHttpxClient(verify=False)
    async with openai.AsyncOpenAI(base_url=url, api_key="none", http_client=unsure) as client:
        engine = OpenAIEngine()
        for _ in range(WARM_UP + pairs):
            costs = {way: await run(client, asked, streams, engine if way else None) for way in random.sample([0, 1], 2)}
            measured.append((costs[0], costs[1]))
    return measured[WARM_UP:]


def more(pairs: list[Pair]) -> float:
    """The observer's share: the median of the pairs' ratios, less one."""
    return statistics.median(observed_s / plain_s for plain_s, observed_s in pairs) - 1


def interval(pairs: list[Pair]) -> tuple[float, float]:
    """Its 95 % bootstrap interval."""
    drawn = sorted(more(random.choices(pairs, k=len(pairs))) for _ in range(DRAWS))
    return drawn[int(0.025 * DRAWS)], drawn[int(0.975 * DRAWS)]


def row(who: str, pairs: list[Pair], streams: int, chunks: int) -> list[Any]:
    plain_s, observed_s = (statistics.median(costs) for costs in zip(*pairs, strict=True))
    low, high = interval(pairs)
    each_us = 1e6 * (observed_s - plain_s) / streams / chunks
    share = f"{more(pairs):+.1%} ({low:+.1%} to {high:+.1%})"
    return [who, streams, chunks, len(pairs), f"{plain_s:.3f} s", f"{observed_s:.3f} s", share, f"{each_us:.1f} us"]


def text(found: dict[str, list[Pair]], noise: Noise, args: argparse.Namespace) -> str:
    about = (
        f"{time.strftime('%Y-%m-%d')}, openai {openai.__version__}, a chunk every {args.pace_ms:g} ms; "
        f"{machine_line(machine())}. Machine: {noise}."
    )
    headers = ["who asks for usage", "streams", "chunks each", "pairs", "client CPU, plain", "observed", "more (95 %)", "more, each chunk"]
    rows = [row(who, pairs, args.streams, args.chunks) for who, pairs in found.items()]
    return f"{about}\n\n{tabulate(rows, headers=headers, tablefmt='github')}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--streams", type=int, default=64)
    parser.add_argument("--chunks", type=int, default=40)
    parser.add_argument("--pace-ms", type=float, default=50.0)
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--noisy", action="store_true", help="write what a busy machine gave, too; the result says so")
    parser.add_argument("--write", action="store_true", help="into docs/benchmarks.md")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        serve(args.chunks, args.pace_ms / 1000)
        return
    if args.write:
        require_quiet(anyway=args.noisy)
    watch = Watch()
    with served(args.chunks, args.pace_ms / 1000) as url:
        found = {who: asyncio.run(measure(url, asked, args.streams, args.pairs)) for who, asked in CALLERS.items()}
    shown = text(found, watch.noise(), args)
    print(shown)
    if args.write:
        replace_part(ROOT / "docs" / "benchmarks.md", "served-cost", shown)


if __name__ == "__main__":
    main()
