"""Costs by hand, by invariants, and on configurations that people really use."""

from __future__ import annotations

import contextlib
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_tpf.production.cost import (
    decode_flops,
    distinct_experts,
    head_flops,
    prefill_flops,
    request_bytes,
    request_flops,
    weight_bytes,
    workload_cost,
)
from pytest_tpf.production.families import KNOWN_FAMILIES, read_shape
from pytest_tpf.production.parameters import active_parameters, total_parameters
from pytest_tpf.production.shapes import CostUnknown, FeedForward

LLAMA_3_8B = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}
MIXTRAL_8X7B = {
    **LLAMA_3_8B,
    "model_type": "mixtral",
    "vocab_size": 32000,
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
    "sliding_window": None,
}
GPT2 = {"model_type": "gpt2", "n_embd": 768, "n_head": 12, "n_layer": 12, "n_positions": 1024, "vocab_size": 50257}
GEMMA2_2B = {
    "model_type": "gemma2",
    "hidden_size": 2304,
    "intermediate_size": 9216,
    "num_hidden_layers": 26,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "vocab_size": 256000,
    "sliding_window": 4096,
    "torch_dtype": "float32",
}
T5_SMALL = {"model_type": "t5", "d_model": 512, "d_kv": 64, "d_ff": 2048, "num_layers": 6, "num_heads": 8, "vocab_size": 32128}

tokens = st.integers(1, 400)
batches = st.integers(1, 64)
shapes = st.sampled_from([read_shape(config) for config in (LLAMA_3_8B, MIXTRAL_8X7B, {**GEMMA2_2B, "sliding_window": 37}, GPT2)])


@pytest.mark.parametrize(
    ("config", "total", "active"),
    [
        (LLAMA_3_8B, 8_030_261_248, 8_030_261_248),
        (MIXTRAL_8X7B, 46_702_792_704, 12_879_925_248),
        (GPT2, 124_439_808, 124_439_808),
        (GEMMA2_2B, 2_614_341_888, 2_614_341_888),
        (T5_SMALL, 60_506_624, 60_506_624),
    ],
    ids=lambda value: value["model_type"] if isinstance(value, dict) else None,
)
def test_published_parameter_counts(config, total, active):
    shape = read_shape(config)
    assert (total_parameters(shape), active_parameters(shape)) == (total, active)


def test_llama_decode_by_hand():
    linear = 32 * (4096 * 4096 * 2 + 2 * 4096 * 1024 + 3 * 4096 * 14336)
    by_hand = 2 * linear + 4 * 32 * 32 * 128 * 1000 + 2 * 4096 * 128256
    assert decode_flops(read_shape(LLAMA_3_8B), 1000) == by_hand


def test_llama_bytes_by_hand():
    shape = read_shape(LLAMA_3_8B)
    stored = total_parameters(shape) - 128256 * 4096 + 4096  # all but the embedding table, of which one row is read
    cache = 32 * 2 * 8 * 128 * 2
    assert request_bytes(shape, 1000, 1, batch=1) == pytest.approx(2 * (stored + 999 * 4096) + 1000 * cache)
    assert weight_bytes(shape) == 2 * stored


def test_the_head_is_computed_once_for_each_output_token():
    bare, headed = dict(LLAMA_3_8B), dict(LLAMA_3_8B, vocab_size=2 * 128256)
    difference = request_flops(read_shape(headed), 50, 7) - request_flops(read_shape(bare), 50, 7)
    assert difference == 7 * head_flops(read_shape(bare))


@given(shapes, tokens, tokens)
def test_decoding_token_by_token_costs_what_one_causal_pass_costs(shape, prompt, output):
    stepwise = prefill_flops(shape, prompt) + sum(decode_flops(shape, prompt + step) for step in range(1, output))
    assert request_flops(shape, prompt, output) == stepwise


@given(shapes, tokens, tokens)
def test_a_cached_prefix_costs_what_was_computed_before(shape, first, second):
    split = prefill_flops(shape, first) + prefill_flops(shape, second, first) - head_flops(shape)
    assert split == prefill_flops(shape, first + second)


@given(shapes, tokens, st.integers(0, 400))
def test_full_attention_never_costs_less_than_causal(shape, new, cached):
    assert prefill_flops(shape, new, cached, attention="full") >= prefill_flops(shape, new, cached)


@given(tokens)
def test_a_window_wider_than_the_context_changes_nothing(context):
    wide, none = read_shape({**GEMMA2_2B, "sliding_window": 401}), read_shape({**GEMMA2_2B, "sliding_window": None})
    assert decode_flops(wide, context) == decode_flops(none, context)


@given(st.integers(1, 60), st.integers(0, 60), st.integers(1, 50))
def test_causal_attention_is_the_sum_of_what_each_token_sees(new, cached, window):
    wide, narrow = read_shape({**GEMMA2_2B, "sliding_window": None}), read_shape({**GEMMA2_2B, "sliding_window": window})
    unseen = sum(max(0, cached + position - window) for position in range(1, new + 1))
    assert prefill_flops(wide, new, cached) - prefill_flops(narrow, new, cached) == 13 * 4 * 8 * 256 * unseen


def test_a_window_caps_the_cost_of_its_own_layers_only():
    near, far = (decode_flops(read_shape(GEMMA2_2B), context) for context in (8192, 8193))
    assert far - near == 13 * 4 * 8 * 256  # 13 of 26 layers attend to everything


@given(shapes.filter(lambda shape: shape.element_bytes is not None), tokens, tokens, batches)
def test_a_larger_batch_never_reads_more_per_token(shape, prompt, output, batch):
    assert request_bytes(shape, prompt, output, batch + 1) <= request_bytes(shape, prompt, output, batch) * (1 + 1e-12)


@given(st.integers(1, 64), st.data(), st.integers(1, 1000))
def test_distinct_experts_lie_between_active_and_all(experts, data, tokens):
    active = data.draw(st.integers(1, experts))
    block = FeedForward(matrix=0, expert_matrix=1, experts=experts, active_experts=active)
    assert active * (1 - 1e-9) <= distinct_experts(block, tokens) <= experts
    assert distinct_experts(block, 1) == pytest.approx(active)


def test_experts_raise_bytes_with_the_batch_but_not_flops():
    shape = read_shape(MIXTRAL_8X7B)
    assert weight_bytes(shape, 1) == pytest.approx(2 * (active_parameters(shape) - 32000 * 4096 + 4096))
    assert weight_bytes(shape, 16) > 3 * weight_bytes(shape, 1)
    one, many = workload_cost(shape, [(64, 64)], batch=1), workload_cost(shape, [(64, 64)], batch=16)
    assert one.flops_per_token == many.flops_per_token
    assert one.bytes_per_token / 16 < many.bytes_per_token < one.bytes_per_token


@given(st.lists(st.tuples(tokens, tokens), min_size=1, max_size=5))
def test_a_workload_amortises_everything_over_its_output_tokens(requests):
    shape = read_shape(LLAMA_3_8B)
    cost = workload_cost(shape, requests, batch=2)
    outputs = sum(output for _, output in requests)
    assert cost.flops_per_token * outputs == pytest.approx(sum(request_flops(shape, *request) for request in requests))
    assert cost.bytes_per_token * outputs == pytest.approx(sum(request_bytes(shape, *request, batch=2) for request in requests))


def test_t5_pays_for_the_encoder_once():
    shape = read_shape(T5_SMALL)
    first, both = request_flops(shape, 100, 1), request_flops(shape, 100, 2)
    assert first == prefill_flops(shape, 100)
    assert both - first == decode_flops(shape, 2, source_tokens=100)
    with pytest.raises(ValueError, match="no cache"):
        prefill_flops(shape, 10, 5)


@pytest.mark.parametrize(
    ("quantization", "bits"),
    [
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, 4.5),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_use_double_quant": True}, 4.126953125),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, 8),
        ({"quant_method": "gptq", "bits": 4, "group_size": 128}, 4 + 20 / 128),
        ({"quant_method": "gptq", "bits": 3, "group_size": -1}, 3),
        ({"quant_method": "awq", "bits": 4, "group_size": 64}, 4 + 20 / 64),
        ({"quant_method": "fp8"}, 8),
    ],
)
def test_quantization_shortens_the_layers_and_nothing_else(quantization, bits):
    plain, short = read_shape(LLAMA_3_8B), read_shape({**LLAMA_3_8B, "quantization_config": quantization})
    linear = 32 * (4096 * 4096 * 2 + 2 * 4096 * 1024 + 3 * 4096 * 14336)
    assert weight_bytes(plain) - weight_bytes(short) == pytest.approx(linear * (16 - bits) / 8)
    assert request_flops(plain, 9, 9) == request_flops(short, 9, 9)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"quantization_config": {"quant_method": "higgs"}}, "'higgs'"),
        ({"quantization_config": {"quant_method": "gptq"}}, "no bits"),
        ({"quantization_config": "int4"}, "not a mapping"),
        ({"torch_dtype": None}, "no dtype"),
        ({"torch_dtype": "posit16"}, "'posit16'"),
    ],
)
def test_an_unknown_number_format_leaves_flops_and_gives_a_reason(change, reason):
    cost = workload_cost(read_shape({**LLAMA_3_8B, **change}), [(10, 10)])
    assert cost.flops_per_token > 0
    assert cost.bytes_per_token is None
    assert reason in cost.bytes_reason


def test_a_given_dtype_wins():
    assert weight_bytes(read_shape(LLAMA_3_8B, "torch.float32")) == 2 * weight_bytes(read_shape(LLAMA_3_8B))


def without(*names):
    return {key: value for key, value in LLAMA_3_8B.items() if key not in names}


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({}, "no model_type"),
        ({"model_type": ["llama"]}, "no model_type"),
        ({"model_type": "mamba2"}, "'mamba2' aren't known"),
        ({"model_type": "deepseek_v3"}, "'deepseek_v3' aren't known"),
        (without("intermediate_size"), "no intermediate_size"),
        (without("vocab_size"), "no vocab_size"),
        ({**LLAMA_3_8B, "num_hidden_layers": 2.5}, "num_hidden_layers is 2.5"),
        ({**LLAMA_3_8B, "hidden_size": True}, "hidden_size is True"),
        ({**LLAMA_3_8B, "num_hidden_layers": 20_000}, "20000 layers"),
        ({**LLAMA_3_8B, "num_attention_heads": 8192}, "don't fit"),
        ({**LLAMA_3_8B, "sliding_window": 9}, "no layer_types"),
        ({**GEMMA2_2B, "layer_types": ["full_attention"]}, "all 26 layers"),
        ({**GEMMA2_2B, "layer_types": ["linear_attention"] * 26}, "linear_attention"),
        ({**MIXTRAL_8X7B, "num_experts_per_tok": 9}, "more than the 8 experts"),
        ({**GEMMA2_2B, "head_dim": None}, "no head_dim"),
    ],
)
def test_what_the_configuration_cannot_tell_is_a_reason(config, reason):
    with pytest.raises(CostUnknown, match=r"^[^\n]*$") as caught:
        read_shape(config)
    assert reason in str(caught.value)


odd_values = st.none() | st.integers() | st.text()
odd_configs = st.dictionaries(st.sampled_from([*LLAMA_3_8B, *GPT2, *T5_SMALL, "layer_types"]), odd_values)


@given(st.sampled_from(KNOWN_FAMILIES), odd_configs)
def test_odd_configurations_are_unknown_and_never_a_traceback(family, keys):
    with contextlib.suppress(CostUnknown):
        shape = read_shape({**keys, "model_type": family})
        assert math.isfinite(workload_cost(shape, [(3, 3)]).flops_per_token)


@given(st.sampled_from([LLAMA_3_8B, MIXTRAL_8X7B, GPT2, T5_SMALL]), st.data(), odd_values)
def test_one_odd_value_in_a_good_configuration_is_no_traceback(config, data, value):
    key = data.draw(st.sampled_from(sorted(set(config) - {"model_type"})))
    with contextlib.suppress(CostUnknown):
        assert math.isfinite(workload_cost(read_shape({**config, key: value}), [(3, 3)]).flops_per_token)


@pytest.mark.parametrize("requests", [[], [(0, 1)], [(1, 0)], [(5, -1)]])
def test_requests_without_tokens_are_refused(requests):
    with pytest.raises(ValueError, match="at least one"):
        workload_cost(read_shape(LLAMA_3_8B), requests)


def test_impossible_arguments_are_refused():
    shape = read_shape(LLAMA_3_8B)
    with pytest.raises(ValueError, match="context"):
        decode_flops(shape, 0)
    with pytest.raises(ValueError, match="cached"):
        prefill_flops(shape, 1, -1)
    with pytest.raises(ValueError, match="batch"):
        request_bytes(shape, 1, 1, batch=0.5)
