"""An engine of the user's own: a callable, what it returns, and what the user says of it."""

import asyncio
import gc
import re
import types

import pytest

import pytest_tpf
from pytest_tpf.engines.intent import intended

TEXT = "forty six exactly"


class Words:
    """A library that nobody knows: it answers in words, in every way a library may."""

    def __init__(self, text=TEXT):
        self.text = text

    def whole(self, prompt, *, loud=False):
        return self.text.upper() if loud else self.text

    async def later(self, prompt):
        await asyncio.sleep(0)
        return self.text

    def promised(self, prompt):
        return self.later(prompt)

    def pieces(self, prompt):
        yield ""
        yield from self.text.split()

    async def pieces_later(self, prompt):
        for word in self.text.split():
            await asyncio.sleep(0)
            yield word

    async def opened_later(self, prompt):
        return self.pieces_later(prompt)

    def twice(self, prompt):
        return self.twice(prompt[1:]) if prompt else self.text

    def batch(self, prompts):
        return [self.text] * len(prompts)

    def failing(self, prompt):
        raise OSError("no such adapter")

    def failing_pieces(self, prompt):
        yield "forty"
        raise OSError("lost")

    @classmethod
    def of_class(cls, prompt):
        return TEXT

    @staticmethod
    def of_nobody(prompt):
        return TEXT


class Inheriting(Words):
    """Has every method from its base."""


def words(text):
    return len(text.split())


def observed(owner, method, use, **reading):
    """What is sent while ``use`` is called, and what it returns."""
    sent = []
    with pytest_tpf.engine(owner, method, **{"tokens": words, **reading}).observe(sent.append):
        result = use()
    return sent, result


def only(sent):
    (generation,) = sent
    (request,) = generation.requests
    return generation, request


async def all_of(stream):
    return [piece async for piece in stream]


@pytest.mark.parametrize("owner", [Words, Inheriting])
def test_a_call_is_a_generation_and_its_value_comes_back(owner):
    sent, result = observed(owner, "whole", lambda: owner().whole("12+34=", loud=True), model="words-1")
    generation, request = only(sent)
    assert result == TEXT.upper()
    assert (generation.engine, generation.model.name, generation.token_source) == (f"{owner.__name__}.whole", "words-1", "declared")
    assert (request.output_tokens, request.prompt_tokens, request.complete, request.first_token_s) == (3, None, True, None)
    assert generation.start_s == request.start_s <= request.end_s == generation.end_s


def test_the_prompt_is_counted_from_the_reply_and_the_arguments():
    prompts = []

    def count(reply, prompt, loud):
        prompts.append((reply, prompt, loud))
        return len(prompt)

    sent, _ = observed(Words, "whole", lambda: Words().whole("12+34=", loud=False), prompt_tokens=count)
    assert prompts == [(TEXT, "12+34=", False)]
    assert only(sent)[1].prompt_tokens == 6


@pytest.mark.parametrize("method", ["later", "promised"])
def test_a_coroutine_is_a_call_until_it_is_awaited(method):
    async def use():
        return await getattr(Words(), method)("12")

    sent, result = observed(Words, method, lambda: asyncio.run(use()))
    assert result == TEXT
    assert only(sent)[1].output_tokens == 3


def test_a_coroutine_function_stays_one():
    with pytest_tpf.engine(Words, "later", tokens=words).observe(pytest.fail):
        assert asyncio.iscoroutinefunction(Words().later)


def test_a_stream_is_counted_piece_by_piece_and_empty_pieces_are_no_token():
    sent, result = observed(Words, "pieces", lambda: list(Words().pieces("12")))
    generation, request = only(sent)
    assert result == ["", *TEXT.split()]
    assert (request.output_tokens, len(request.chunk_times_s), request.complete) == (3, 3, True)
    assert request.chunk_times_s == tuple(sorted(request.chunk_times_s))
    assert generation.first_token_s == request.first_token_s == request.chunk_times_s[0] >= request.start_s
    assert request.end_s == request.chunk_times_s[-1]


@pytest.mark.parametrize("method", ["pieces_later", "opened_later"])
def test_an_asynchronous_stream_is_counted_piece_by_piece(method):
    async def use():
        stream = getattr(Words(), method)("12")
        return await all_of(await stream if method == "opened_later" else stream)

    sent, result = observed(Words, method, lambda: asyncio.run(use()))
    assert result == TEXT.split()
    request = only(sent)[1]
    assert (request.output_tokens, len(request.chunk_times_s), request.complete) == (3, 3, True)


def test_a_stream_given_up_half_way_is_incomplete_and_told_at_once():
    sent = []
    with pytest_tpf.engine(Words, "pieces", tokens=words).observe(sent.append):
        for piece in Words().pieces("12"):
            if piece:
                break
        gc.collect()
        request = only(sent)[1]
        assert (request.output_tokens, request.complete) == (1, False)


def test_a_stream_that_is_still_held_at_the_end_is_told_then_and_goes_on():
    sent = []
    with pytest_tpf.engine(Words, "pieces", tokens=words).observe(sent.append):
        stream = Words().pieces("12")
        assert [next(stream), next(stream)] == ["", "forty"]
        assert sent == []
    assert list(stream) == ["six", "exactly"]
    assert (only(sent)[1].output_tokens, only(sent)[1].complete) == (1, False)


def test_what_a_stream_can_do_besides_it_still_can():
    stream = []

    def use():
        stream.append(Words().pieces("12"))
        next(stream[0])
        stream[0].close()
        return list(stream[0])

    assert observed(Words, "pieces", use)[1] == []


@pytest.mark.parametrize(("method", "tokens"), [("failing", 0), ("failing_pieces", 1)])
def test_a_call_that_raises_is_an_attempt_with_what_it_had_made(method, tokens):
    def use():
        with pytest.raises(OSError, match=r"no such adapter|lost"):
            list(getattr(Words(), method)("12"))

    request = only(observed(Words, method, use)[0])[1]
    assert (request.output_tokens, request.complete) == (tokens, False)


def test_what_calls_itself_is_one_call():
    assert only(observed(Words, "twice", lambda: Words().twice("abc"))[0])[1].output_tokens == 3


def test_a_list_of_counts_has_a_request_for_each():
    sent, _ = observed(
        Words,
        "batch",
        lambda: Words().batch(["a", "bc"]),
        tokens=lambda replies: [words(reply) for reply in replies],
        prompt_tokens=lambda replies, prompts: [len(prompt) for prompt in prompts],
        complete=lambda replies: [True, False],
    )
    (generation,) = sent
    assert [(r.output_tokens, r.prompt_tokens, r.complete) for r in generation.requests] == [(3, 1, True), (3, 2, False)]
    assert not generation.static_batch


def test_a_reply_may_say_that_it_is_not_complete():
    sent, _ = observed(Words, "pieces", lambda: list(Words().pieces("12")), complete=lambda last: last.endswith("."))
    assert only(sent)[1].complete is False


@pytest.mark.parametrize("method", ["of_class", "of_nobody"])
@pytest.mark.parametrize("owner", [Words, Inheriting])
def test_class_and_static_methods_are_observed_and_put_back(owner, method):
    before = dict(vars(owner))
    sent, result = observed(owner, method, lambda: getattr(owner, method)("12"), prompt_tokens=lambda reply, prompt: len(prompt))
    assert (result, only(sent)[1].prompt_tokens) == (TEXT, 2)
    assert dict(vars(owner)) == before


def test_one_object_alone_can_be_observed():
    mine, other = Words(), Words()
    sent, _ = observed(mine, "whole", lambda: [mine.whole("a"), other.whole("b")])
    assert only(sent)[0].engine == "Words.whole"
    assert vars(mine) == {"text": TEXT}


def test_a_function_of_a_module_is_observed():
    module = types.ModuleType("shouting")
    original = module.shout = lambda prompt: prompt.upper()
    sent, _ = observed(module, "shout", lambda: module.shout("a b"))
    assert (only(sent)[0].engine, only(sent)[1].output_tokens) == ("shouting.shout", 2)
    assert module.shout is original


@pytest.mark.parametrize(
    ("reading", "why"),
    [
        ({"tokens": lambda reply: reply["n"]}, "TypeError: string indices must be integers.*, of a str"),
        ({"tokens": lambda reply: None}, "tokens gave None, not a whole number"),
        ({"tokens": lambda reply: -1}, "tokens gave -1"),
        ({"tokens": lambda reply: True}, "tokens gave True"),
        ({"tokens": lambda reply: 2.0}, "tokens gave 2.0"),
        ({"prompt_tokens": lambda reply, prompt: "six"}, "prompt_tokens gave 'six'"),
        ({"prompt_tokens": lambda reply, prompt: [1, 2]}, "prompt_tokens gave 2 values for 1 requests"),
        ({"complete": lambda reply: []}, "complete gave 0 values for 1 requests"),
    ],
)
def test_a_reading_that_fails_is_told_and_the_library_goes_on(reading, why):
    sent, result = observed(Words, "whole", lambda: Words().whole("12"), **reading)
    (generation,) = sent
    assert result == TEXT
    assert generation.requests == ()
    (note,) = generation.notes
    assert note.startswith("Words.whole: the tokens of a call could not be counted: ")
    assert re.search(why, note)


class Slotted:
    __slots__ = ()

    def run(self):
        return ""


@pytest.mark.parametrize(
    ("owner", "method", "why"),
    [
        (Words, "wohle", "Words.wohle can't be observed: there is no such method"),
        (Words(), "text", "Words.text can't be observed: there is no such method"),
        (Slotted(), "run", "give its class, Slotted"),
        (Words(), "__repr__", "give its class, Words"),
        (str, "upper", "it can't be replaced"),
    ],
)
def test_what_cannot_be_observed_is_refused_with_the_reason(owner, method, why):
    with pytest.raises(pytest.UsageError, match=why):
        pytest_tpf.engine(owner, method, tokens=len)


def test_a_request_counts_from_when_it_was_intended():
    def use():
        with intended(12.5):
            return Words().whole("12")

    assert only(observed(Words, "whole", use)[0])[1].intended_s == 12.5
