"""A real ``llama_cpp.server`` through the official client: no usage in its streams, whatever was asked for. Run by ``make test-servers``.

It is started with ``--interrupt_requests false``: by default a request that arrives ends the stream under way, with status 200.
"""

import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest

pytest.importorskip("gguf")
pytest.importorskip("llama_cpp.server.app")
openai = pytest.importorskip("openai")

from pytest_tpf.engines.openai import OpenAIEngine  # noqa: E402
from tests.servers import adder_gguf  # noqa: E402

LIMIT_S = 120.0
ANSWER, ANSWER_TOKENS = "46", 2  # its end of sequence isn't in the server's usage
ASKED = {"model": "adder", "temperature": 0.0, "max_tokens": 8}
TOKENIZER = str(adder_gguf.ADDER / "tokenizer.json")


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    adder_gguf.write(folder / "adder.gguf")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "llama_cpp.server", "--model", "adder.gguf", "--host", "127.0.0.1", "--port", str(port)]
    options = ["--n_ctx", "64", "--n_threads", "1", "--interrupt_requests", "false"]
    log = folder / "log"
    with log.open("wb") as output, subprocess.Popen([*command, *options], cwd=folder, stdout=output, stderr=output) as server:
        try:
            _wait_for(f"http://127.0.0.1:{port}/v1/models", server, log)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.terminate()


def _wait_for(url, server, log):
    end_s = time.monotonic() + LIMIT_S
    while time.monotonic() < end_s and server.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=LIMIT_S).close()
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
        else:
            return
    pytest.fail(f"the server didn't come up: {log.read_text(errors='replace')[-2000:]}")


@pytest.fixture
def client(url):
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0) as client:
        yield client


def chat(client, prompt="12+34=", **how):
    return client.chat.completions.create(messages=[{"role": "user", "content": prompt}], **ASKED, **how)


def completion(client, prompt="12+34=", **how):
    return client.completions.create(prompt=prompt, **ASKED, **how)


def text_of(stream):
    choices = [choice for chunk in stream for choice in chunk.choices]
    return "".join((choice.text if hasattr(choice, "text") else choice.delta.content) or "" for choice in choices)


def observed(use, tokenizer=None):
    """What is sent while ``use`` is called, and what it returns."""
    sent = []
    with OpenAIEngine(tokenizer).observe(sent.append):
        result = use()
    return sent, result


CALLS = pytest.mark.parametrize("call", [chat, completion])


@CALLS
def test_a_whole_reply_is_counted_by_its_usage(client, call):
    (generation,), reply = observed(lambda: call(client))
    (request,) = generation.requests
    assert (generation.token_source, request.output_tokens) == ("usage", ANSWER_TOKENS)
    assert (request.output_tokens, request.prompt_tokens) == (reply.usage.completion_tokens, reply.usage.prompt_tokens)
    assert (request.complete, request.first_token_s) == (True, None)


@CALLS
@pytest.mark.parametrize(("tokenizer", "source"), [(TOKENIZER, "tokenizer"), (None, "chunks")])
def test_a_stream_without_usage_counts_as_much_as_the_server_does_of_the_whole(client, call, tokenizer, source):
    (generation,), text = observed(lambda: text_of(call(client, stream=True)), tokenizer)
    (request,) = generation.requests
    assert text == ANSWER
    assert (generation.token_source, request.output_tokens, request.complete) == (source, call(client).usage.completion_tokens, True)
    assert request.start_s < request.first_token_s == request.chunk_times_s[0] <= request.end_s
    assert generation.endpoint == str(client.base_url).removesuffix("/v1/")


@CALLS
def test_a_stream_that_is_left_is_incomplete(client, call):
    def leave():
        with call(client, stream=True) as stream:
            for chunk in stream:
                if text_of([chunk]):
                    break

    (generation,), _ = observed(leave)
    assert (generation.requests[0].output_tokens, generation.requests[0].complete) == (1, False)


def test_streams_at_once_are_each_counted(client):
    prompts = ["12+34=", "20+30=", "99+99=", "45+54="]

    def together():
        with ThreadPoolExecutor(len(prompts)) as pool:
            return list(pool.map(lambda prompt: text_of(chat(client, prompt, stream=True)), prompts))

    generations, texts = observed(together)
    requests = [generation.requests[0] for generation in generations]
    assert texts == ["46", "50", "198", "99"]
    assert sorted(request.output_tokens for request in requests) == sorted(map(len, texts))
    assert all(request.complete for request in requests)


def test_a_request_that_is_refused_is_an_attempt_without_tokens(client):
    def refused():
        with pytest.raises(openai.APIStatusError):
            completion(client, "1" * 500)

    (generation,), _ = observed(refused)
    assert (generation.requests[0].output_tokens, generation.requests[0].complete) == (0, False)
