"""Was the same work done, between rounds and between runs?"""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_tpf.judge.workload import FirstTokens, cached_prefill, comparable_workload, lengths_differ
from pytest_tpf.records import Model, Round, Workload

MODEL = Model(name="Llama", parameters=8, dtype="bfloat16", quantization=None, digest="sha256:1")
WORK = Workload(
    engine="transformers",
    model=MODEL,
    requests=60,
    rounds=5,
    calls_per_round=3,
    warmup_rounds=1,
    prompt_tokens=6000,
    output_tokens=3840,
    accepted_tokens=None,
    token_source="engine",
)


def one(output_tokens=64, prompt_tokens=100, requests=2) -> Round:
    return Round(duration_s=1.0, output_tokens=output_tokens, prompt_tokens=prompt_tokens, requests=requests, it_j=10.0)


def test_the_same_length_every_round_is_no_news():
    assert lengths_differ([one(), one(), one()]) is None


def test_a_shorter_answer_to_the_same_prompts_is_told():
    assert lengths_differ([one(64), one(64), one(48)]) == (24.0, 32.0)


@pytest.mark.parametrize(
    "rounds",
    [[one(64)], [], [one(64, 100), one(48, 90)], [one(64, 100, 2), one(64, 100, 4)], [one(64, requests=0), one(48, requests=0)]],
    ids=["one", "none", "other prompts", "other requests", "no requests"],
)
def test_rounds_that_were_asked_other_things_are_not_held_against_each_other(rounds):
    assert lengths_differ(rounds) is None


def first(ttft_s, tpot_s: float | None = 0.01, prompt=512.0) -> FirstTokens:
    return FirstTokens(ttft_s=ttft_s, tpot_s=tpot_s, prompt_tokens_per_request=prompt)


def test_a_sharp_fall_of_the_first_token_suggests_a_cache():
    assert cached_prefill([first(0.5), first(0.05), first(0.06), first(0.04)]) == (0.5, 0.05)


@pytest.mark.parametrize(
    "rounds",
    [
        [first(0.5)],
        [first(0.5), first(0.4), first(0.45)],
        [first(0.5), first(0.05), first(0.5)],
        [first(0.5, prompt=16), first(0.05, prompt=16)],
        [first(0.5, tpot_s=0.1), first(0.05)],
        [first(None), first(0.05), first(0.05)],
        [first(0.5, prompt=512), first(0.05, prompt=64)],
        [first(0.5, prompt=None), first(0.05, prompt=None)],
    ],
    ids=["one", "noise", "not kept", "short prompts", "cold engine", "unseen", "other prompts", "unknown prompts"],
)
def test_what_has_another_reason_is_not_called_a_cache(rounds):
    assert cached_prefill(rounds) is None


def test_the_same_work_is_comparable_however_many_rounds_it_took():
    twice = dataclasses.replace(WORK, rounds=10, requests=120, prompt_tokens=12000, output_tokens=7680, warmup_rounds=3)
    assert comparable_workload(WORK, WORK) == []
    assert comparable_workload(WORK, twice) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"output_tokens": 2880}, "output tokens per request are 48, were 64 (-25.0%)"),
        ({"prompt_tokens": 12000}, "prompt tokens per request are 200, were 100 (+100.0%)"),
        ({"prompt_tokens": None}, "prompt tokens per request are known in the old run only"),
        ({"requests": 30, "prompt_tokens": 3000, "output_tokens": 1920}, "requests per call are 2, were 4 (-50.0%)"),
        ({"engine": "vllm"}, "engine is vllm, was transformers"),
        ({"token_source": "tokenizer"}, "token source is tokenizer, was engine"),
        ({"model": dataclasses.replace(MODEL, dtype="float16")}, "dtype is float16, was bfloat16"),
        ({"model": dataclasses.replace(MODEL, digest="sha256:2")}, "model digest is sha256:2, was sha256:1"),
        ({"model": dataclasses.replace(MODEL, quantization="int4")}, "quantization is int4, was none"),
        ({"model": dataclasses.replace(MODEL, parameters=7)}, "parameters is 7, was 8"),
    ],
)
def test_other_work_is_told_in_one_line(changes, said):
    assert comparable_workload(WORK, dataclasses.replace(WORK, **changes)) == [said]


def test_what_a_run_does_not_know_is_not_held_against_it():
    assert comparable_workload(WORK, dataclasses.replace(WORK, engine=None, model=dataclasses.replace(MODEL, digest=None))) == []


def test_lengths_within_the_tolerance_are_the_same_work():
    nearly = dataclasses.replace(WORK, output_tokens=3800)
    assert comparable_workload(WORK, nearly) == []
    assert comparable_workload(WORK, nearly, tolerance=0.005) == ["output tokens per request are 63.33, were 64 (-1.0%)"]


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 50), st.integers(0, 50))
def test_any_counts_are_compared_without_falling_over(old_tokens, new_tokens, old_requests, new_requests):
    old = dataclasses.replace(WORK, output_tokens=old_tokens, requests=old_requests)
    new = dataclasses.replace(WORK, output_tokens=new_tokens, requests=new_requests)
    assert bool(comparable_workload(old, new)) == bool(comparable_workload(new, old)) or old_tokens != new_tokens
