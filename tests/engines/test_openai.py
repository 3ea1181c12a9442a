"""The official client against a scripted server: what is counted is what was sent, and nothing changes for the user."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import itertools
import json
import threading
import time
import weakref

import pytest

openai = pytest.importorskip("openai")
pydantic = pytest.importorskip("pydantic")

from pytest_tpf.engines.intent import intended  # noqa: E402
from pytest_tpf.engines.openai import OpenAIEngine  # noqa: E402
from tests.served import sse  # noqa: E402

MESSAGES = [{"role": "user", "content": "hi"}]
CHUNKS_NOTE = "stream chunks were counted as tokens"


@pytest.fixture(scope="module")
def server():
    with sse.scripted() as running:
        yield running


@pytest.fixture(autouse=True)
def _anew(request):
    if "server" in request.fixturenames:
        request.getfixturevalue("server").forget()


@pytest.fixture(scope="module")
def client(server):
    with openai.OpenAI(base_url=server.url, api_key="none", max_retries=0) as made:
        yield made


def async_client(server):
    unsure = openai.DefaultAsyncHttpxClient(verify=False)  # reading the authorities' certificates takes longer than a test
    return openai.AsyncOpenAI(base_url=server.url, api_key="none", max_retries=0, http_client=unsure)


@pytest.fixture
def sent():
    """What is observed while the test runs, in the order in which it was sent."""
    generations = []
    with OpenAIEngine().observe(generations.append):
        yield generations


def ask(client, **more):
    return client.chat.completions.create(**{"model": "m", "messages": MESSAGES} | more)


def stream(client, **more):
    return ask(client, stream=True, **more)


def only(generations):
    (generation,) = generations
    (request,) = generation.requests
    return generation, request


# --- times ------------------------------------------------------------------------------------------------------------


def go_through(chunks, exchanges):
    """Read a held stream: each chunk that has come lets the next be sent."""
    for _ in chunks:
        exchanges[-1].go()


async def go_through_async(chunks, exchanges):
    async for _ in chunks:
        exchanges[-1].go()


def read_chat(server, client):
    server.play(script=sse.vllm(["a", "b", "c"], 9, held=True))
    go_through(stream(client), server.exchanges)


def read_chat_async(server, client):
    async def read():
        async with async_client(server) as mine:
            await go_through_async(await stream(mine), server.exchanges)

    server.play(script=sse.vllm(["a", "b", "c"], 9, held=True))
    asyncio.run(read())


def read_completion(server, client):
    chunks = (sse.text_chunk(""), *map(sse.text_chunk, "abc"), sse.text_chunk("", finish="stop"), sse.DONE_EVENT)
    server.play(sse.Answer(events=chunks, held=frozenset(range(1, 5))))
    go_through(client.completions.create(model="m", prompt="hi", stream=True), server.exchanges)


def read_response(server, client):
    answer = sse.response_events(["b", "c"], 9, reasoning=["a"])
    server.play(sse.Answer(events=answer.events, held=frozenset(range(1, len(answer.events)))))
    go_through(client.responses.create(model="m", input="hi", stream=True), server.exchanges)


FIRST = {read_chat: 1, read_chat_async: 1, read_completion: 1, read_response: 3}
"""The place of the first event that holds a token; the reasons for the end follow the third one's successor, at most two later."""


@pytest.mark.parametrize("read", FIRST, ids=lambda read: read.__name__)
def test_times_are_those_of_the_script(server, client, sent, read):
    read(server, client)
    generation, request = only(sent)
    (exchange,) = server.exchanges
    first = FIRST[read]
    tokens = range(first, first + 3)
    for place, at_s in zip(tokens, request.chunk_times_s, strict=True):
        assert exchange.sent_s[place] <= at_s <= exchange.sent_s[place + 1]
    assert generation.first_token_s == request.first_token_s == request.chunk_times_s[0]
    assert generation.start_s == request.start_s <= exchange.sent_s[0]
    assert exchange.sent_s[tokens[-1] + 1] <= request.end_s <= generation.end_s
    assert request.complete is True


def test_a_reply_in_one_piece_has_a_beginning_and_an_end(server, client, sent):
    server.play(sse.message("hey", count=sse.usage(3)))
    ask(client)
    generation, request = only(sent)
    assert generation.start_s == request.start_s < server.exchanges[0].sent_s[0] <= request.end_s == generation.end_s
    assert (generation.first_token_s, request.first_token_s, request.chunk_times_s) == (None, None, ())


@pytest.mark.parametrize("is_stream", [False, True])
def test_a_server_that_is_late_has_been_waited_for(server, client, sent, is_stream):
    """As one that queues: not even a status comes."""
    server.play(dataclasses.replace(sse.cut_off(["a"]) if is_stream else sse.message("a", count=sse.usage(1)), late=True))
    reader = threading.Thread(target=lambda: list(ask(client, stream=is_stream)))
    reader.start()
    while not server.exchanges:
        time.sleep(0.001)
    let_go_s = time.perf_counter()
    server.exchanges[0].go()
    reader.join()
    _, request = only(sent)
    assert request.start_s < let_go_s < (request.first_token_s if is_stream else request.end_s)


def test_a_schedule_is_known_to_the_request(server, client, sent):
    server.play(sse.message("hey", count=sse.usage(3)))
    with intended(12.5):
        ask(client)
    assert only(sent)[1].intended_s == 12.5


# --- dialects ---------------------------------------------------------------------------------------------------------

REASONED = {"completion_tokens_details": {"reasoning_tokens": 4}, "prompt_tokens_details": {"cached_tokens": 3}}
DIALECTS = {
    "usage_last": (sse.vllm(["a", "b"], 9, **REASONED), (9, 5, "usage", True)),
    "usage_absent": (lambda body: sse.llama_cpp(["a", "b"]), (2, None, "chunks", True)),
    "usage_cumulative": (lambda body: sse.cumulative(["a", "b"], [4, 9]), (9, 5, "usage", True)),
    "cut_off": (lambda body: sse.cut_off(["a", "b"]), (2, None, "chunks", False)),
    "cut_off_without_done": (lambda body: sse.cut_off(["a", "b"], done=False), (2, None, "chunks", False)),
    "nothing_but_a_role": (lambda body: sse.cut_off([]), (0, None, "chunks", False)),
    "no_done": (lambda body: sse.transformers_serve(["a", "b"], 9), (9, 5, "usage", True)),
    "refused_400": (sse.refusing_options(400, sse.llama_cpp(["a", "b"])), (2, None, "chunks", True)),
    "refused_422": (sse.refusing_options(422, sse.transformers_serve(["a"], 9)), (9, 5, "usage", True)),
    "reasoning_content": (sse.vllm([{"reasoning_content": "hm"}, {"content": ""}, "a"], 9), (9, 5, "usage", True)),
    "reasoning": (lambda body: sse.llama_cpp([{"reasoning": "hm", "content": None}, "a"]), (2, None, "chunks", True)),
    "tool_calls": (
        sse.vllm([{"tool_calls": [{"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}], 9),
        (9, 5, "usage", True),
    ),
    "usage_of_nothing": (sse.vllm(["a", "b"], 0), (2, 5, "chunks", True)),
}


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_dialect_is_counted(server, client, sent, dialect, is_async):
    script, expected = DIALECTS[dialect]
    server.play(script=script)
    if is_async:
        asyncio.run(read_async(server))
    else:
        list(stream(client))
    generation, request = only(sent)
    assert (request.output_tokens, request.prompt_tokens, generation.token_source, request.complete) == expected
    assert any(CHUNKS_NOTE in note for note in generation.notes) == (generation.token_source == "chunks" and request.output_tokens > 0)
    assert (generation.engine, generation.model.name, generation.endpoint) == ("openai", "scripted", server.url.removesuffix("/v1"))
    assert generation.static_batch


async def read_async(server, **more):
    async with async_client(server) as mine:
        return [chunk async for chunk in await stream(mine, **more)]


def test_reasoning_and_cached_tokens_are_told_apart(server, client, sent):
    server.play(script=DIALECTS["usage_last"][0])
    list(stream(client))
    _, request = only(sent)
    assert (request.reasoning_tokens, request.cached_tokens) == (4, 3)


@pytest.mark.parametrize("finished", [(0,), (0, 1)])
def test_a_call_for_several_choices_is_complete_with_the_last(server, client, sent, finished):
    tokens = [sse.chunk(sse.delta(text, index=index)) for text, index in zip("abcd", [0, 1, 1, 0], strict=True)]
    ends = [sse.chunk(sse.delta(None, index=index, finish="stop")) for index in finished]
    server.play(sse.Answer(events=(*tokens, *ends, sse.chunk(usage=sse.usage(11)), sse.DONE_EVENT)))
    list(stream(client, n=2))
    generation, request = only(sent)
    assert (request.output_tokens, len(request.chunk_times_s), request.complete) == (11, 4, finished == (0, 1))
    assert not generation.static_batch


# --- every way to ask -------------------------------------------------------------------------------------------------


class Sum(pydantic.BaseModel):
    total: int


ADD = sse.message('{"total": 3}', count=sse.usage(6))


def parsed(client):
    assert client.chat.completions.parse(model="m", messages=MESSAGES, response_format=Sum).choices[0].message.parsed.total == 3


def raw(client):
    assert client.chat.completions.with_raw_response.create(model="m", messages=MESSAGES).parse().choices[0].message.content


def read_later(how):
    def read(client):
        with client.chat.completions.with_streaming_response.create(model="m", messages=MESSAGES) as response:
            how(response)

    return read


def posted(client):
    assert client.post("/chat/completions", cast_to=object, body={"model": "m", "messages": MESSAGES})["usage"]


WAYS = {
    "create": ask,
    "parse": parsed,
    "with_raw_response": raw,
    "with_streaming_response_parse": read_later(lambda response: response.parse()),
    "with_streaming_response_json": read_later(lambda response: response.json()),
    "with_streaming_response_lines": read_later(lambda response: list(response.iter_lines())),
    "post": posted,
}


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_a_reply_in_one_piece(server, client, sent, way):
    server.play(ADD)
    WAYS[way](client)
    generation, request = only(sent)
    assert (request.output_tokens, request.prompt_tokens, generation.token_source, request.complete) == (6, 5, "usage", True)
    assert generation.notes == ()


@pytest.mark.parametrize("way", ["create", "parse", "with_raw_response", "with_streaming_response"])
def test_every_asynchronous_way_to_a_reply_in_one_piece(server, sent, way):
    async def read():
        async with async_client(server) as mine:
            if way == "create":
                await ask(mine)
            elif way == "parse":
                await mine.chat.completions.parse(model="m", messages=MESSAGES, response_format=Sum)
            elif way == "with_raw_response":
                (await mine.chat.completions.with_raw_response.create(model="m", messages=MESSAGES)).parse()
            else:
                async with mine.chat.completions.with_streaming_response.create(model="m", messages=MESSAGES) as response:
                    await response.parse()

    server.play(ADD)
    asyncio.run(read())
    generation, request = only(sent)
    assert (request.output_tokens, generation.token_source, request.complete) == (6, "usage", True)


def raw_stream(client):
    return list(client.chat.completions.with_raw_response.create(model="m", messages=MESSAGES, stream=True).parse())


def helper_stream(client):
    with client.chat.completions.stream(model="m", messages=MESSAGES) as events:
        seen = list(events)
        assert events.get_final_completion().choices[0].message.content == "ab"
    return seen


@pytest.mark.parametrize("way", [stream, raw_stream, helper_stream], ids=lambda way: way.__name__)
def test_every_way_to_a_stream_is_asked_for_usage(server, client, sent, way):
    server.play(script=sse.vllm(["a", "b"], 9))
    assert list(way(client))
    generation, request = only(sent)
    assert (request.output_tokens, generation.token_source, len(request.chunk_times_s)) == (9, "usage", 2)


def test_a_stream_on_the_wire_is_left_as_it_is(server, client, sent):
    """Who reads the wire sees all that is on it, so nothing is asked for; what the client makes of it is counted."""
    server.play(script=sse.vllm(["a", "b"], 9))
    with client.chat.completions.with_streaming_response.create(model="m", messages=MESSAGES, stream=True) as response:
        assert len(list(response.parse())) == 4
    with client.chat.completions.with_streaming_response.create(model="m", messages=MESSAGES, stream=True) as response:
        assert len([line for line in response.iter_lines() if line]) == 5
    assert [asked.get("stream_options") for asked in server.asked] == [None, None]
    parsed_one, past_us = sent
    assert (parsed_one.requests[0].output_tokens, parsed_one.token_source) == (2, "chunks")
    assert past_us.requests == ()
    assert "past the client" in past_us.notes[0]


def test_completions_and_responses_in_one_piece(server, client, sent):
    choices = [{"index": index, "text": text, "finish_reason": "stop", "logprobs": None} for index, text in enumerate("ab")]
    server.play(
        sse.Answer(body={"id": "t", "object": "text_completion", "created": 1, "model": "s", "choices": choices, "usage": sse.usage(4)})
    )
    assert client.completions.create(model="m", prompt=["x", "y"]).choices[1].text == "b"
    server.play(sse.Answer(body=sse.response(sse.said("ab"), output_tokens=7, reasoning=3)))
    assert client.responses.create(model="m", input="hi").output_text == "ab"
    completion, response = sent
    assert (completion.requests[0].output_tokens, completion.requests[0].complete, completion.static_batch) == (4, True, False)
    assert (response.requests[0].output_tokens, response.requests[0].reasoning_tokens, response.requests[0].cached_tokens) == (7, 3, 2)
    assert (response.requests[0].complete, response.static_batch) == (True, True)


def test_what_generates_no_text_is_not_observed(server, client, sent):
    server.play(sse.Answer(body={"object": "list", "data": [], "model": "e", "usage": sse.usage(0)}))
    client.post("/embeddings", cast_to=object, body={"input": "hi"})
    client.post("/responses/compact", cast_to=object, body={"input": "hi"})
    assert sent == []


# --- nothing changes for the user -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", DIALECTS)
def test_what_the_caller_reads_stays_as_it_was(server, client, dialect):
    server.play(script=DIALECTS[dialect][0])
    plain = [chunk.model_dump_json() for chunk in stream(client)]
    with OpenAIEngine().observe(lambda generation: None):
        observed = [chunk.model_dump_json() for chunk in stream(client)]
        observed_async = [chunk.model_dump_json() for chunk in asyncio.run(read_async(server))]
    assert plain == observed == observed_async
    assert len(plain) > 0


def test_options_that_the_caller_gave_are_left_alone(server, client, sent):
    server.play(script=sse.vllm(["a"], 9))
    given = {"include_usage": True, "continuous_usage_stats": True}
    chunks = list(stream(client, stream_options=given))
    assert chunks[-1].usage.completion_tokens == 9
    assert chunks[-1].choices == []
    list(stream(client, extra_body={"stream_options": {"include_usage": False}}))
    server.play(ADD)
    ask(client)
    assert [asked.get("stream_options") for asked in server.asked] == [given, {"include_usage": False}, None]
    assert [generation.token_source for generation in sent] == ["usage", "chunks", "usage"]


def test_a_stream_that_is_read_after_the_observer_has_gone_shows_no_more(server, client):
    server.play(script=sse.vllm(["a"], 9))
    generations = []
    with OpenAIEngine().observe(generations.append):
        unread = stream(client)
    assert [len(chunk.choices) for chunk in unread] == [1, 1, 1]
    (generation,) = generations
    assert generation.requests == ()
    assert "nobody read it" in generation.notes[0]


@pytest.mark.parametrize("is_observed", [False, True])
def test_a_stream_that_was_read_is_gone_without_the_garbage_collector(server, client, is_observed):
    server.play(script=sse.vllm(["a"], 9))
    with OpenAIEngine().observe(lambda generation: None) if is_observed else contextlib.nullcontext():
        gc.disable()
        try:
            chunks = stream(client)
            traces = [weakref.ref(chunks), weakref.ref(chunks.response)]
            list(chunks)
            del chunks
            assert [trace() for trace in traces] == [None, None]
        finally:
            gc.enable()


def test_the_client_is_left_as_it_was(server, client):
    before = [vars(openai._base_client.SyncAPIClient)["request"], vars(openai._streaming.Stream)["__init__"]]
    with OpenAIEngine().observe(lambda generation: None):
        assert vars(openai._base_client.SyncAPIClient)["request"] is not before[0]
    assert [vars(openai._base_client.SyncAPIClient)["request"], vars(openai._streaming.Stream)["__init__"]] == before


# --- servers that refuse the option -----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 422, 500, 501])
def test_a_refusal_is_remembered_for_that_model(server, client, status):
    server.play(script=sse.refusing_options(status, sse.llama_cpp(["a"])))
    engine, generations = OpenAIEngine(), []
    for model in ("m", "m", "other"):
        with engine.observe(generations.append):
            list(stream(client, model=model))
    assert ["stream_options" in asked for asked in server.asked] == [True, False, False, True, False]
    assert [generation.requests[0].output_tokens for generation in generations] == [1, 1, 1]
    assert server.exchanges[0].sent_s[0] <= generations[0].start_s <= server.exchanges[1].sent_s[0]  # the refused one is over


def test_a_refusal_of_something_else_is_the_callers_and_not_remembered(server, client, sent):
    server.play(sse.error(400, "too long"))
    with pytest.raises(openai.BadRequestError, match="too long"):
        stream(client)
    server.play(script=sse.vllm(["a"], 9))
    list(stream(client))
    assert ["stream_options" in asked for asked in server.asked] == [True, False, True]
    failed, fine = sent
    assert (failed.requests[0].output_tokens, failed.requests[0].complete) == (0, False)
    assert fine.token_source == "usage"


def test_a_server_that_took_the_option_is_not_asked_twice_when_it_fails(server, client, sent):
    server.play(script=sse.vllm(["a"], 9))
    list(stream(client))
    server.play(sse.error(500))
    with pytest.raises(openai.InternalServerError):
        stream(client)
    assert len(server.exchanges) == 2
    assert sent[1].requests[0].complete is False


# --- what goes wrong --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_stream", [False, True])
def test_a_call_that_failed_is_a_request_without_tokens(server, client, sent, is_stream):
    server.play(sse.error(429, "busy"))
    with pytest.raises(openai.RateLimitError, match="busy"):
        ask(client, stream=is_stream)
    generation, request = only(sent)
    assert (request.output_tokens, request.complete, request.first_token_s) == (0, False, None)
    assert generation.model.name == "m"


def test_nobody_there(sent):
    with openai.OpenAI(base_url="http://127.0.0.1:9/v1", api_key="none", max_retries=0) as client, pytest.raises(openai.APIConnectionError):
        ask(client)
    assert only(sent)[1].complete is False


def test_a_call_that_was_tried_again_is_one_call(server, client, sent):
    answers = [sse.error(503), sse.error(503), ADD]
    server.play(*answers)
    ask(client.with_options(max_retries=2))
    _, request = only(sent)
    assert len(server.exchanges) == 3
    assert (request.output_tokens, request.complete) == (6, True)
    assert request.start_s <= server.exchanges[0].sent_s[0]
    assert server.exchanges[2].sent_s[0] <= request.end_s


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_a_connection_that_breaks_keeps_what_had_come(server, client, sent, is_async):
    answer = sse.cut_off(["a", "b"], done=False)
    server.play(sse.Answer(events=answer.events, drops=True))
    with pytest.raises(Exception, match=r"(?i)connection|peer|closed"):
        asyncio.run(read_async(server)) if is_async else list(stream(client))
    generation, request = only(sent)
    assert (request.output_tokens, request.complete, generation.token_source) == (2, False, "chunks")


def test_an_error_in_the_midst_of_a_stream_ends_it(server, client, sent):
    server.play(sse.Answer(events=(sse.chunk(sse.delta("a")), {"error": {"message": "out of memory"}}, sse.DONE_EVENT)))
    with pytest.raises(openai.APIError, match="out of memory"):
        list(stream(client))
    assert (only(sent)[1].output_tokens, only(sent)[1].complete) == (1, False)


def test_what_is_no_json_is_the_clients_to_refuse(server, client, sent):
    server.play(sse.Answer(events=(sse.chunk(sse.delta("a")), "data: {oh\n\n")))
    with pytest.raises(json.JSONDecodeError):
        list(stream(client))
    gc.collect()
    assert only(sent)[1].output_tokens == 1


ENDLESS = sse.Answer(events=tuple(sse.chunk(sse.delta("a")) for _ in range(50)), held=frozenset(range(2, 50)))
"""Two tokens, and then it waits for a word that doesn't come."""


def test_a_stream_left_by_its_context_ends_there(server, client, sent):
    server.play(ENDLESS)
    with stream(client) as chunks:
        next(iter(chunks))
        assert sent == []
    _, request = only(sent)
    assert (request.output_tokens, request.complete) == (1, False)


def test_a_stream_left_by_a_break_ends_with_the_round(server, client):
    server.play(ENDLESS)
    engine, generations = OpenAIEngine(), []
    with engine.observe(generations.append):
        chunks = stream(client)
        for _ in chunks:
            break
        assert generations == []
        engine.synchronize()
        assert only(generations)[1].output_tokens == 1
        chunks.close()
    assert len(generations) == 1


def test_a_stream_that_another_thread_reads_goes_on_past_the_round(server, client):
    engine, generations = OpenAIEngine(), []
    server.play(script=sse.vllm(["a", "b"], 9))
    is_first, may_go_on = threading.Event(), threading.Event()

    def read():
        for _ in stream(client):
            is_first.set()
            may_go_on.wait(60)

    with engine.observe(generations.append):
        reader = threading.Thread(target=read)
        reader.start()
        assert is_first.wait(60)
        engine.synchronize()
        assert generations == []
        may_go_on.set()
        reader.join()
        assert only(generations)[1].output_tokens == 9


def test_a_stream_that_nobody_reads_is_told_of_at_the_end(server, client):
    server.play(ENDLESS)
    generations = []
    with OpenAIEngine().observe(generations.append):
        unread = stream(client)
        assert generations == []
    (generation,) = generations
    assert generation.requests == ()
    assert "count them with tpf.count" in generation.notes[0]
    unread.close()


def test_a_stream_that_is_thrown_away_ends_when_it_is_collected(server, client, sent):
    server.play(ENDLESS)
    for _ in stream(client):
        break
    gc.collect()
    assert only(sent)[1].output_tokens == 1


@pytest.mark.parametrize("when", ["asked", "midway"])
def test_a_cancelled_task_ends_its_call(server, sent, when):
    async def begin(mine, begun):
        async for _ in await stream(mine):
            begun.set()

    async def run():
        begun = asyncio.Event()
        async with async_client(server) as mine:
            task = asyncio.create_task(begin(mine, begun))
            if when == "midway":
                await begun.wait()
            else:
                while not server.exchanges:
                    await asyncio.sleep(0.001)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    server.play(dataclasses.replace(ENDLESS, late=when == "asked"))
    asyncio.run(run())
    _, request = only(sent)
    assert request.complete is False
    assert (request.output_tokens > 0) == (when == "midway")


# --- many at once -----------------------------------------------------------------------------------------------------


def numbered(body):
    """As many tokens as the prompt says, in about half as many chunks."""
    number = int(body["messages"][0]["content"])
    return sse.vllm(["x"] * (number // 2 + 1), number, prompt=number + 1)(body)


def test_many_at_once_are_told_apart(server, sent):
    async def one(mine, number):
        async for chunk in await stream(mine, messages=[{"role": "user", "content": str(number)}]):
            assert len(chunk.choices) == 1

    async def all_at_once():
        async with async_client(server) as mine:
            await asyncio.gather(*(one(mine, number) for number in range(1, 65)))

    server.play(script=numbered)
    asyncio.run(all_at_once())
    requests = [generation.requests[0] for generation in sent]
    assert sorted((r.output_tokens, r.prompt_tokens, len(r.chunk_times_s)) for r in requests) == [
        (n, n + 1, n // 2 + 1) for n in range(1, 65)
    ]
    assert all(r.complete and r.start_s < r.first_token_s <= r.end_s for r in requests)
    assert all(earlier <= later for r in requests for earlier, later in itertools.pairwise(r.chunk_times_s))


def test_threads_are_told_apart(server, client, sent):
    def one(number):
        list(stream(client, messages=[{"role": "user", "content": str(number)}]))

    server.play(script=numbered)
    threads = [threading.Thread(target=one, args=(number,)) for number in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(generation.requests[0].output_tokens for generation in sent) == list(range(1, 9))


def test_observers_inside_each_other_see_the_same(server, client):
    inner, outer = [], []
    server.play(script=sse.vllm(["a", "b"], 9))
    with OpenAIEngine().observe(outer.append):
        with OpenAIEngine().observe(inner.append):
            shown = list(stream(client))
        list(stream(client))
    assert [len(chunk.choices) for chunk in shown] == [1, 1, 1, 1]
    assert [generation.requests[0].output_tokens for generation in inner] == [9]
    assert [generation.requests[0].output_tokens for generation in outer] == [9, 9]


# --- counted here -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model's folder: a token for each letter."""
    tokenizers = pytest.importorskip("tokenizers")
    made = tmp_path_factory.mktemp("model") / "lettered"
    made.mkdir()
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel({letter: n for n, letter in enumerate("?abc")}, unk_token="?"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Split("", "isolated")
    tokenizer.save(str(made / "tokenizer.json"))
    (made / "config.json").write_text(json.dumps({"model_type": "llama", "dtype": "bfloat16"}))
    return made


def test_a_tokenizer_counts_where_the_server_does_not(server, client, folder):
    server.play(sse.llama_cpp(["abc", "ab"]))
    generations = []
    for place in (folder, folder / "tokenizer.json"):
        with OpenAIEngine(tokenizer=str(place)).observe(generations.append):
            list(stream(client))
    assert [(g.requests[0].output_tokens, g.token_source, g.notes) for g in generations] == [(5, "tokenizer", ())] * 2


def test_each_sequence_is_counted_by_itself(server, client, folder):
    texts = [sse.chunk(sse.delta(text, index=index)) for text, index in zip(["a", "bc", "b", "a"], [0, 1, 0, 1], strict=True)]
    server.play(sse.Answer(events=(*texts, sse.DONE_EVENT)))
    generations = []
    with OpenAIEngine(tokenizer=str(folder)).observe(generations.append):
        list(stream(client, n=2))
    assert only(generations)[1].output_tokens == 5


@pytest.mark.parametrize("revision", ["", "@main"])
def test_a_served_folder_on_this_machine_is_looked_into(server, client, sent, folder, revision):
    server.play(sse.message("abca", model=f"{folder}{revision}"))
    ask(client)
    generation, request = only(sent)
    assert (request.output_tokens, generation.token_source) == (4, "tokenizer")
    assert (generation.model.name, generation.model.dtype) == ("lettered", "bfloat16")
    assert generation.config["model_type"] == "llama"


def test_without_usage_and_tokenizer_a_reply_in_one_piece_counts_nothing_and_says_so(server, client, sent):
    server.play(sse.message("abca"))
    ask(client)
    (generation,) = sent
    assert generation.requests == ()
    assert generation.notes == (
        "openai: a reply's tokens could not be counted (the server sent no usage, and no tokenizer is at hand); "
        "count them with tpf.count(output_tokens=...)",
    )


def test_a_tokenizer_that_can_not_be_read_leaves_the_next_best_count(server, client, tmp_path):
    (tmp_path / "tokenizer.json").write_text("{}")
    server.play(sse.llama_cpp(["abc", "ab"]))
    generations = []
    with OpenAIEngine(tokenizer=str(tmp_path)).observe(generations.append):
        list(stream(client))
    assert (only(generations)[1].output_tokens, only(generations)[0].token_source) == (2, "chunks")
