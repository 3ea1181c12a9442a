"""Tests of a model behind an API: the marker is the same, and so are the table and the report."""

from __future__ import annotations

import asyncio

import pytest


def asked(model, text, **more):
    return {"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": 4, "temperature": 0, **more}


@pytest.mark.tpf(max_ttft_s=5.0, max_tpot_s=2.0, max_output_tokens=4, rounds=20)
def test_streams(client, model):
    # An ordinary test of a streamed reply with one line added: the client is observed, the server's tokens and energy are counted.
    # Time to first token counts from the first digit: the server's first event only says who speaks.
    stream = client.chat.completions.create(**asked(model, "12+34="), stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == "46"


@pytest.mark.tpf(max_joules_per_token=20.0, min_quality=0.9)
def test_adds(tpf, client, model, problems, answers):
    def ask_each() -> list[str | None]:
        return [client.chat.completions.create(**asked(model, text)).choices[0].message.content for text in problems]

    replies = tpf(ask_each)
    tpf.quality([reply == answer for reply, answer in zip(replies, answers, strict=True)], metric="exact_match")


@pytest.mark.tpf(max_joules_per_token=20.0, min_quality=0.9, group="at a time")
@pytest.mark.parametrize("at_a_time", [1, 8])
def test_several_at_a_time(tpf, async_client, event_loop_runner, model, problems, answers, at_a_time):
    async def ask_all() -> list[str]:
        turns = asyncio.Semaphore(at_a_time)

        async def ask(text: str) -> str:
            async with turns:
                stream = await async_client.chat.completions.create(**asked(model, text), stream=True)
                return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

        return await asyncio.gather(*map(ask, problems))

    replies = tpf(lambda: event_loop_runner.run(ask_all()))
    tpf.quality([reply == answer for reply, answer in zip(replies, answers, strict=True)], metric="exact_match")
