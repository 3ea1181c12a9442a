"""What a reply tells, whatever its dialect: usage is never added up, what is empty is no token, and only a finish reason completes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_tpf.engines._reply import Reply, Usage, usage_of
from tests.served import sse

EMPTY_DELTAS = (
    {},
    {"role": "assistant"},
    {"role": "assistant", "content": ""},
    {"content": None, "tool_calls": None, "reasoning_content": ""},
    {"content": [], "annotations": [{"type": "url_citation", "url_citation": {"url": "u", "title": "t"}}]},
    {"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": {"arguments": ""}}]},
    {"audio": {"id": "a1", "data": "AAAA"}},
)
TOKEN_DELTAS = (
    {"content": "x"},
    {"content": " "},
    {"reasoning_content": "x", "content": None},
    {"reasoning": "x", "role": "assistant"},
    {"refusal": "x"},
    {"tool_calls": [{"index": 0, "function": {"name": "x"}}]},
    {"function_call": {"arguments": "x"}},
    {"audio": {"id": "a1", "transcript": "x"}},
    {"content": [{"type": "text", "text": "x"}]},
)


def read(*chunks):
    """A reply of which chunk number k arrived at k seconds."""
    reply = Reply()
    for at_s, data in enumerate(chunks):
        reply.chunk(data, float(at_s))
    return reply


@given(
    st.lists(
        st.tuples(st.sampled_from([(each, False) for each in EMPTY_DELTAS] + [(each, True) for each in TOKEN_DELTAS]), st.integers(0, 2))
    )
)
def test_the_first_token_is_the_first_delta_that_holds_something(deltas):
    reply = read(*(sse.chunk(sse.delta(held, index=index)) for (held, _), index in deltas))
    places = [float(place) for place, ((_, is_token), _) in enumerate(deltas) if is_token]
    assert reply.chunk_times_s == places
    assert reply.first_token_s == (places[0] if places else None)
    assert reply.last_s == (places[-1] if places else None)
    assert not reply.complete


@given(st.lists(st.integers(0, 10**6), min_size=1), st.booleans())
def test_usage_is_what_was_sent_last_and_never_added_up(counts, with_choices):
    reply = read(*(sse.chunk(*([sse.delta("x")] if with_choices else []), usage=sse.usage(count)) for count in counts))
    assert reply.usage == Usage(output_tokens=counts[-1], prompt_tokens=5)


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["x", "", "end"]))))
def test_complete_is_when_every_sequence_that_began_has_finished(steps):
    reply = read(*(sse.chunk(sse.delta(None, index=i, finish="stop") if what == "end" else sse.delta(what, index=i)) for i, what in steps))
    begun = {index for index, what in steps if what == "x"}
    finished = {index for index, what in steps if what == "end"}
    assert reply.complete == (bool(finished) and begun <= finished)
    assert reply.sequences == len(begun | finished)


@given(st.permutations([(0, "a"), (0, "b"), (1, "c"), (1, "d"), (2, "e")]))
def test_sequences_that_arrive_mixed_are_told_apart(order):
    reply = read(*(sse.chunk(sse.delta(text, index=index)) for index, text in order))
    assert sorted(reply.texts) == sorted("".join(text for i, text in order if i == index) for index in range(3))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "choices",
                    "delta",
                    "message",
                    "usage",
                    "response",
                    "type",
                    "index",
                    "output",
                    "status",
                    "object",
                    "text",
                    "completion_tokens",
                ]
            )
            | st.text(max_size=3),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.lists(JSON, max_size=5), st.sampled_from(["chunk", "whole"]))
def test_no_reply_is_odd_enough_to_raise(replies, how):
    reply = Reply()
    for data in replies:
        getattr(reply, how)(data, 1.0)
    assert reply.first_token_s is None or reply.first_token_s == 1.0
    assert all(reply.texts)


@pytest.mark.parametrize("place", ["top", "choice", "x_groq"])
def test_usage_is_found_where_servers_put_it(place):
    count = sse.usage(7, 3)
    last = sse.chunk(sse.delta(None, finish="stop"))
    if place == "top":
        last["usage"] = count
    elif place == "choice":
        last["choices"][0]["usage"] = count
    else:
        last["x_groq"] = {"id": "q", "usage": count}
    assert read(sse.chunk(sse.delta("x"), usage=None), last).usage == Usage(output_tokens=7, prompt_tokens=3)


@pytest.mark.parametrize(
    "nonsense", [{}, [], None, "7", {"completion_tokens": -1}, {"completion_tokens": True}, {"completion_tokens": "7"}]
)
def test_usage_that_makes_no_sense_leaves_what_was_known(nonsense):
    assert usage_of(nonsense) is None
    assert read(sse.chunk(usage=sse.usage(4)), sse.chunk(usage=nonsense)).usage == Usage(output_tokens=4, prompt_tokens=5)


def test_reasoning_and_cached_tokens_are_told_apart():
    count = sse.usage(9, 5, completion_tokens_details={"reasoning_tokens": 6}, prompt_tokens_details={"cached_tokens": 4})
    assert usage_of(count) == Usage(output_tokens=9, prompt_tokens=5, reasoning_tokens=6, cached_tokens=4)


def test_reasoning_that_a_server_counts_on_top_is_output_all_the_same():
    on_top = {"completion_tokens": 3, "prompt_tokens": 5, "total_tokens": 14, "completion_tokens_details": {"reasoning_tokens": 6}}
    assert usage_of(on_top) == Usage(output_tokens=9, prompt_tokens=5, reasoning_tokens=6)


def test_text_that_is_sent_under_two_names_is_there_once():
    twice = {"reasoning": "think", "reasoning_content": "think", "reasoning_details": [{"type": "reasoning.text", "text": "think"}]}
    assert read(sse.chunk(sse.delta(twice))).texts == ["think"]


def test_a_tool_call_is_its_name_and_arguments():
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    assert read(sse.chunk(sse.delta({"tool_calls": [call]}))).texts == ['add{"a": 1}']


# --- the responses API ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ending", "complete"), [("completed", True), ("incomplete", True), ("failed", False), (None, False)])
def test_a_response_is_complete_when_it_says_why_it_ended(ending, complete):
    answer = sse.response_events(["a", "b"], 5, ending=ending, reasoning=["r"])
    reply = read(*answer.events)
    assert reply.complete is complete
    assert reply.texts == ["rab"]
    kinds = [event["type"] for event in answer.events]
    assert reply.chunk_times_s == [float(place) for place, kind in enumerate(kinds) if kind.endswith(".delta")]
    assert reply.model == "scripted"
    assert reply.usage == (None if ending is None else Usage(output_tokens=5, prompt_tokens=5, reasoning_tokens=1, cached_tokens=2))


def test_audio_is_no_text_and_its_transcript_is():
    kinds = ["response.audio.delta", "response.output_audio.delta", "response.audio.transcript.delta"]
    reply = read(*({"type": kind, "delta": "x"} for kind in kinds))
    assert reply.chunk_times_s == [2.0]


@pytest.mark.parametrize(("status", "complete"), [("completed", True), ("incomplete", True), ("in_progress", False), ("failed", False)])
def test_a_response_in_one_piece(status, complete):
    reasoning = {"type": "reasoning", "id": "i0", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "secret"}
    reply = Reply()
    reply.whole(sse.response(reasoning, sse.said("ab"), status=status, output_tokens=4), 2.0)
    assert (reply.complete, reply.texts, reply.sequences, reply.last_s) == (complete, ["hmab"], 1, 2.0)
    assert reply.first_token_s is None


def test_a_completion_in_one_piece():
    choices = [{"index": index, "text": text, "finish_reason": "stop"} for index, text in enumerate(["ab", "c"])]
    reply = Reply()
    reply.whole({"object": "text_completion", "model": "m", "choices": choices, "usage": sse.usage(3)}, 2.0)
    assert (reply.complete, reply.texts, reply.sequences, reply.first_token_s) == (True, ["ab", "c"], 2, None)


def test_chunks_of_the_older_completions():
    reply = read(sse.text_chunk(""), sse.text_chunk("a"), sse.text_chunk("b", finish="length"))
    assert (reply.chunk_times_s, reply.texts, reply.complete) == ([1.0, 2.0], ["ab"], True)
