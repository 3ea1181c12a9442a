"""Inference tests whose energy counts: run ``pytest examples/adder`` and look at the table."""

from __future__ import annotations

import pytest


@pytest.mark.tpf(max_joules_per_token=5.0, rounds=20)
def test_adds(model, tokenizer):
    # An ordinary test with one line added: generate is observed, its energy and tokens are counted.
    # One answer of so small a model takes less than a meter can tell, so the body runs twenty times.
    prompt = tokenizer("12+34=", return_tensors="pt", return_token_type_ids=False).to(model.device)
    out = model.generate(**prompt, max_new_tokens=8, do_sample=False)
    assert tokenizer.decode(out[0], skip_special_tokens=True).endswith("46")


@pytest.mark.tpf(max_joules_per_token=5.0, min_quality=0.95, max_time_s=3, group="batch size")
@pytest.mark.parametrize("batch_size", [1, 16])
def test_adds_in_batches(tpf, adder, problems, answers, batch_size):
    replies = tpf(adder.solve, problems, batch_size)
    tpf.quality([reply == answer for reply, answer in zip(replies, answers, strict=True)], metric="exact_match")


@pytest.mark.tpf(max_output_tokens=4, max_joules_per_request=10.0, max_ttft_s=2.0, rounds=3)
def test_keeps_its_budgets(tpf, adder, problems):
    replies = tpf(adder.solve, problems, 16)
    assert all(reply.isdigit() for reply in replies)


@pytest.mark.tpf(min_quality=0.95, max_time_s=3, group="model size")
@pytest.mark.parametrize("size", ["1m", "0.1m"])
def test_a_tenth_of_the_size(tpf, adder, small_adder, problems, answers, size):
    replies = tpf({"1m": adder, "0.1m": small_adder}[size].solve, problems, 16)
    tpf.quality([reply == answer for reply, answer in zip(replies, answers, strict=True)], metric="exact_match")


@pytest.mark.xfail(strict=True, raises=pytest.fail.Exception, reason="shows a broken budget: no computer adds for a nanojoule")
@pytest.mark.tpf(max_joules_per_token=1e-9, rounds=3)
def test_for_a_nanojoule(tpf, adder, problems):
    tpf(adder.solve, problems, 16)
