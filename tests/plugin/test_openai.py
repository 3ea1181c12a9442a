"""A suite of a served model, as a user writes it: the official client, a marker, and nothing else. It runs once; the tests ask it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("openai")
tokenizers = pytest.importorskip("tokenizers")

from tests.served import sse  # noqa: E402

ROOT = Path(__file__).parents[2]
PACE_S = 0.1

CONFTEST = """
import openai, pytest

URL = {url!r}
MESSAGES = [{{"role": "user", "content": "hi"}}]

@pytest.fixture(scope="session")
def client():
    with openai.OpenAI(base_url=URL, api_key="none", max_retries=0) as made:
        yield made

@pytest.fixture
def ask(client):
    return lambda model, **more: client.chat.completions.create(model=model, messages=MESSAGES, **more)

@pytest.fixture
def read(ask):
    return lambda model: "".join(chunk.choices[0].delta.content or "" for chunk in ask(model, stream=True))
"""

SUITE = """
import asyncio, contextlib, threading, openai, pytest

@pytest.mark.tpf
def test_marked(read):
    assert read("vllm") == "abc"

@pytest.mark.tpf(max_ttft_s=0.15)
def test_slow(read): read("slow")

@pytest.mark.tpf(max_output_tokens=8)
def test_too_long(read): read("vllm")

@pytest.mark.tpf(max_output_tokens=9)
def test_short_enough(read): read("vllm")

@pytest.mark.tpf(min_quality=0.5)
def test_half_of_it_stops_early(tpf, read):
    with tpf.measure():
        replies = [read("whole"), read("cut")]
    tpf.quality([reply.startswith("a") for reply in replies], metric="begins")

@pytest.mark.tpf
def test_cumulative(read): read("cumulative")

@pytest.mark.tpf
def test_silent(read): read("silent")

@pytest.mark.tpf
def test_failing(ask):
    ask("message")
    with pytest.raises(openai.InternalServerError):
        ask("error")

@pytest.mark.tpf(rounds=2)
def test_left(ask, kept=[]):
    kept.append(ask("endless", stream=True))
    for chunk in kept[-1]:
        if chunk.usage.completion_tokens == 2:
            break

@pytest.mark.tpf
def test_going_on(ask):
    begun = threading.Event()

    def read():
        with contextlib.suppress(Exception):  # the client is closed while it waits
            for chunk in ask("endless", stream=True):
                if chunk.usage.completion_tokens == 2:
                    begun.set()

    threading.Thread(target=read, daemon=True).start()
    assert begun.wait(60)

@pytest.mark.asyncio
@pytest.mark.tpf
async def test_at_once(client):
    async def one(mine):
        asked = {"model": "vllm", "messages": [{"role": "user", "content": "hi"}], "stream": True}
        return [chunk async for chunk in await mine.chat.completions.create(**asked)]

    async with openai.AsyncOpenAI(base_url=client.base_url, api_key="none") as mine:
        await asyncio.gather(*(one(mine) for _ in range(8)))
"""

TOLD = {"completion_tokens_details": {"reasoning_tokens": 2}, "prompt_tokens_details": {"cached_tokens": 1}}
ENDLESS = sse.Answer(events=tuple(sse.chunk(sse.delta("a"), usage=sse.usage(n + 1)) for n in range(9)), held=frozenset(range(2, 9)))
ANSWERS = {
    "slow": sse.Answer(events=sse.transformers_serve(["a", "b", "c"], 4).events, pace_s=PACE_S),
    "whole": sse.transformers_serve(["a"], 4),
    "cut": sse.cut_off(["a", "b"]),
    "cumulative": sse.cumulative(["ab", "c"], [5, 8]),
    "silent": sse.llama_cpp(["ab", "c"]),
    "message": sse.message("a", count=sse.usage(4)),
    "error": sse.error(500),
    "endless": ENDLESS,
}
"""What each model answers."""


def script(body):
    return sse.vllm(["a", "b", "c"], 9, **TOLD)(body) if body["model"] == "vllm" else ANSWERS[body["model"]]


class Ran:
    """What a run of the suite left behind: its output, and the report's tests by name."""

    def __init__(self, folder, server):
        (folder / "conftest.py").write_text(CONFTEST.format(url=server.url))
        (folder / "pytest.ini").write_text("[pytest]\nasyncio_default_fixture_loop_scope = function\n")
        (folder / "test_it.py").write_text(SUITE)
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--tpf-report=report.json", "--tpf-gate=warn"]
        environment = {name: value for name, value in os.environ.items() if name != "CI"} | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300)
        self.output = done.stdout + done.stderr
        report = json.loads((folder / "report.json").read_text())
        self.tests = {test["nodeid"].partition("::")[2]: test for test in report["tests"]}


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    with sse.scripted(script=script) as server:
        yield Ran(tmp_path_factory.mktemp("served"), server)


def test_the_marker_is_all_it_takes(ran):
    workload, service = ran.tests["test_marked"]["workload"], ran.tests["test_marked"]["service"]
    assert (workload["engine"], workload["model"]["name"], workload["token_source"]) == ("openai", "scripted", "usage")
    assert (workload["output_tokens"], workload["prompt_tokens"], workload["requests"]) == (9, 5, 1)
    assert (workload["reasoning_tokens"], workload["cached_prompt_tokens"]) == (2, 1)
    assert (workload["accepted_tokens"], workload["incomplete_requests"]) == (9, 0)
    assert (service["ttft_s"]["count"], service["tpot_s"]["count"], service["inter_chunk_s"]["count"]) == (1, 1, 2)
    assert 0 < service["ttft_s"]["max"] <= service["e2e_s"]["max"]


def test_times_can_not_be_shorter_than_the_script(ran):
    """The first token is the second event, and each is held back; the first comes when the role does for whoever counts that."""
    test = ran.tests["test_slow"]
    assert test["service"]["ttft_s"]["max"] >= 2 * PACE_S
    assert test["service"]["e2e_s"]["max"] >= 5 * PACE_S
    assert [budget["verdict"] for budget in test["budgets"]] == ["fail"]


def test_a_token_budget_is_judged_by_what_the_server_counted(ran):
    verdicts = {name: [budget["verdict"] for budget in test["budgets"]] for name, test in ran.tests.items() if test["budgets"]}
    assert verdicts["test_too_long"] == ["fail"]
    assert verdicts["test_short_enough"] == ["pass"]
    assert "output_tokens_per_request 9 tokens/request > 8" in ran.output


def test_a_reply_that_stops_early_is_not_accepted_however_good_it_looks(ran):
    test = ran.tests["test_half_of_it_stops_early"]
    assert test["outcome"] == "passed"
    workload, goodput = test["workload"], test["service"]["goodput"]
    assert (workload["output_tokens"], workload["accepted_tokens"], workload["incomplete_requests"]) == (6, 4, 1)
    assert (goodput["good"], goodput["attempted"]) == (1, 2)


def test_the_report_says_where_the_count_comes_from(ran):
    counts = {name: test["workload"] for name, test in ran.tests.items()}
    assert (counts["test_cumulative"]["token_source"], counts["test_cumulative"]["output_tokens"]) == ("usage", 8)
    assert (counts["test_silent"]["token_source"], counts["test_silent"]["output_tokens"]) == ("chunks", 2)
    advised = {name for name, test in ran.tests.items() if "give --tpf-tokenizer DIR" in " ".join(test["warnings"])}
    assert advised == {"test_silent", "test_half_of_it_stops_early"}


def test_a_tokenizer_counts_where_the_server_does_not(suite):
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel({"?": 0}, unk_token="?"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Split("", "isolated")
    tokenizer.save(str(suite.path / "tokenizer.json"))
    with sse.scripted(script=script) as server:
        suite.pytester.makeconftest(CONFTEST.format(url=server.url))
        suite.run("@pytest.mark.tpf\ndef test_it(read): read('silent')", "--tpf-tokenizer=tokenizer.json").assert_outcomes(passed=1)
    workload = suite.test()["workload"]
    assert (workload["token_source"], workload["output_tokens"]) == ("tokenizer", 3)


def test_a_failed_call_is_a_request_and_no_token(ran):
    workload = ran.tests["test_failing"]["workload"]
    assert (workload["requests"], workload["output_tokens"], workload["incomplete_requests"]) == (2, 4, 1)


def test_a_stream_that_is_left_counts_in_its_round(ran):
    """Whoever breaks out of a stream and keeps it has made tokens; each round has its own."""
    test = ran.tests["test_left"]
    assert [one["output_tokens"] for one in test["rounds"]] == [2, 2]
    assert test["workload"]["incomplete_requests"] == 2


def test_what_is_still_read_when_the_test_ends_is_not_lost(ran):
    test = ran.tests["test_going_on"]
    assert (test["workload"]["output_tokens"], test["workload"]["incomplete_requests"]) == (2, 1)
    assert test["service"]["busy_s"] <= test["rounds"][0]["duration_s"]


def test_many_at_once_are_all_counted(ran):
    test = ran.tests["test_at_once"]
    assert (test["workload"]["requests"], test["workload"]["output_tokens"], test["workload"]["token_source"]) == (8, 72, "usage")
    assert test["energy"]["prefill_j"] is None
