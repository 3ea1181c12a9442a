"""A real `transformers serve` through the official client: what is observed is what the server itself says."""

from __future__ import annotations

import asyncio
import itertools
import time

import pytest

openai = pytest.importorskip("openai")

from pytest_tpf.engines.openai import OpenAIEngine  # noqa: E402
from tests.examples.served import ADDER  # noqa: E402

PROBLEMS = {"12+34=": "46", "10+11=": "21", "85+67=": "152"}


@pytest.fixture(scope="module")
def client(transformers_serve):
    with openai.OpenAI(base_url=transformers_serve, api_key="none", max_retries=0) as made:
        yield made


@pytest.fixture
def sent():
    generations = []
    with OpenAIEngine().observe(generations.append):
        yield generations


def asked(text, **more):
    return {"model": str(ADDER), "messages": [{"role": "user", "content": text}], "max_tokens": 4, "temperature": 0} | more


def counted(generation):
    (request,) = generation.requests
    return request.prompt_tokens, request.output_tokens, request.complete, generation.token_source


@pytest.mark.parametrize("problem", PROBLEMS)
def test_what_is_counted_is_the_servers_usage_streamed_or_not(client, sent, problem):
    whole = client.chat.completions.create(**asked(problem))
    with client.chat.completions.create(**asked(problem), stream=True) as stream:
        chunks = list(stream)
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    told = [chunk.usage for chunk in chunks if chunk.usage]
    assert whole.choices[0].message.content == said == PROBLEMS[problem]
    usage = whole.usage.prompt_tokens, whole.usage.completion_tokens
    assert [(each.prompt_tokens, each.completion_tokens) for each in told] == [usage]
    assert [counted(each) for each in sent] == [(*usage, True, "usage")] * 2
    assert usage == (len(problem), len(said) + 1)  # a token a character, and the end


def test_the_first_token_is_not_the_event_that_says_who_speaks(client, sent):
    chunks, seen_s = [], []
    with client.chat.completions.create(**asked("12+34="), stream=True) as stream:
        for chunk in stream:
            chunks.append(chunk)
            seen_s.append(time.perf_counter())
    deltas = [chunk.choices[0].delta for chunk in chunks]
    assert (deltas[0].role, deltas[0].content, deltas[1].content) == ("assistant", None, "4")
    (generation,) = sent
    (request,) = generation.requests
    # An event is stamped after the one before it was read, and before it is read itself.
    assert seen_s[0] <= request.first_token_s == generation.first_token_s <= seen_s[1]
    assert len(request.chunk_times_s) == sum(bool(delta.content) for delta in deltas) < request.output_tokens
    assert all(a <= b for a, b in itertools.pairwise((request.start_s, *request.chunk_times_s, request.end_s, generation.end_s)))


def test_completions_stream_their_first_token_with_their_first_event(client, sent):
    with client.completions.create(model=str(ADDER), prompt="12+34=", max_tokens=4, temperature=0, stream=True) as stream:
        chunks = list(stream)
    assert "".join(chunk.choices[0].text for chunk in chunks) == "46"
    (generation,) = sent
    assert counted(generation) == (6, 3, True, "usage")
    assert generation.requests[0].first_token_s == generation.requests[0].chunk_times_s[0]


def test_an_answer_that_was_cut_at_its_length_is_whole(client, sent):
    reply = client.chat.completions.create(**asked("85+67=", max_tokens=2))
    assert (reply.choices[0].finish_reason, reply.choices[0].message.content) == ("length", "15")
    assert counted(sent[0]) == (6, 2, True, "usage")


def test_a_stream_that_is_left_early_is_not_complete(client, sent):
    with client.chat.completions.create(**asked("85+67="), stream=True) as stream:
        next(itertools.islice(stream, 1, None))
    (generation,) = sent
    assert generation.requests[0].complete is False


def test_the_model_is_known_from_its_folder(client, sent):
    client.chat.completions.create(**asked("12+34="))
    (generation,) = sent
    assert (generation.model.name, generation.model.dtype, generation.config["hidden_size"]) == ("adder-1m", "bfloat16", 160)
    assert (generation.endpoint, generation.device) == (str(client.base_url).removesuffix("/v1/"), None)


def test_a_model_that_the_server_has_not_is_a_failed_request(client, sent):
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(**asked("12+34=", model="another"))
    assert [(each.requests[0].output_tokens, each.requests[0].complete) for each in sent] == [(0, False)]


def test_several_at_a_time_are_each_counted_for_themselves(transformers_serve, sent):
    async def ask_all():
        async with openai.AsyncOpenAI(base_url=transformers_serve, api_key="none", max_retries=0) as client:

            async def ask(text):
                stream = await client.chat.completions.create(**asked(text), stream=True)
                return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

            return await asyncio.gather(*map(ask, PROBLEMS))

    assert asyncio.run(ask_all()) == list(PROBLEMS.values())
    assert sorted(counted(each)[1] for each in sent) == sorted(len(answer) + 1 for answer in PROBLEMS.values())
