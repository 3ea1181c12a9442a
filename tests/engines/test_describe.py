"""What a model is said to be."""

import copy
import gc
import json

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from pytest_tpf.engines._describe import Describer, active_parameters, config_of, describe, device_name, digest_of, quantization_of  # noqa: E402
from tests.engines.conftest import build, build_gpt2, build_llama, build_mixtral  # noqa: E402


def test_name_dtype_and_device(model):
    described = describe(model).model
    assert described.name == type(model).__name__
    assert described.dtype == "float32"
    assert described.quantization is None
    assert device_name(model.device) == "cpu"
    assert [device_name(torch.device(device)) for device in ("cuda", "cuda:3")] == ["cuda:0", "cuda:3"]


def test_tied_weights_count_once():
    model = build_gpt2()
    assert model.lm_head.weight is model.transformer.wte.weight
    distinct = {id(weight): weight.numel() for weight in model.state_dict(keep_vars=True).values() if weight.requires_grad}
    assert describe(model).model.parameters == sum(distinct.values())


def test_every_parameter_of_a_dense_model_is_active(llama):
    described = describe(llama).model
    assert described.active_parameters == described.parameters == sum(weight.numel() for weight in llama.parameters())


def test_a_mixture_uses_two_of_its_four_experts():
    described = describe(build_mixtral()).model
    one_expert = 3 * 32 * 48  # gate, up and down projection
    assert described.parameters - described.active_parameters == 2 * 2 * one_expert  # 2 idle experts in each of 2 layers


def test_experts_kept_one_by_one_count_as_fused_ones_do():
    config = {"num_experts": 4, "num_experts_per_tok": 1}
    one_by_one = {f"layers.0.mlp.experts.{expert}.up_proj.weight": (8, 16) for expert in range(4)}
    fused = {"layers.0.mlp.experts.up_proj": (4, 8, 16)}
    assert active_parameters(1000, one_by_one, config) == active_parameters(1000, fused, config) == 1000 - 3 * 128


@pytest.mark.parametrize(
    ("routed", "config"),
    [
        ({}, {"num_experts": 4, "num_experts_per_tok": 1}),
        ({"mlp.experts.up": (4, 8)}, {}),
        ({"mlp.experts.up": (4, 8)}, {"num_experts": 4}),
        ({"mlp.experts.up": (3, 8)}, {"num_experts": 4, "num_experts_per_tok": 1}),
        ({"mlp.experts.7.up": (3, 8)}, {"num_experts": 4, "num_experts_per_tok": 1}),
    ],
)
def test_experts_that_do_not_fit_the_config_leave_active_unknown(routed, config):
    assert active_parameters(1000, routed, config) is None


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        (None, None),
        ({"quant_method": "gptq", "bits": 4}, "gptq-4bit"),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True, "load_in_4bit": False}, "bitsandbytes-8bit"),
        ({"quant_method": "bitsandbytes", "_load_in_4bit": True}, "bitsandbytes-4bit"),
        ({"quant_method": "fp8"}, "fp8"),
        ({}, "unknown"),
    ],
)
def test_quantization_is_named(settings, name):
    assert quantization_of(settings) == name


def test_the_config_is_plain_json(model):
    config = config_of(model)
    assert json.loads(json.dumps(config)) == config
    assert config["vocab_size"] == model.config.vocab_size


def test_a_saved_and_loaded_model_keeps_its_digest(llama, tmp_path):
    llama.save_pretrained(tmp_path)
    loaded = transformers.LlamaForCausalLM.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert describe(loaded).model.digest == describe(llama).model.digest
    assert describe(loaded).model.dtype == "bfloat16"


def test_another_shape_has_another_digest(llama):
    config = config_of(llama)
    other = copy.deepcopy(config)
    other["hidden_size"] += 1
    nested = {"text_config": {**config, "transformers_version": "0"}}
    assert digest_of(other) != digest_of(config)
    assert digest_of({"text_config": config}) == digest_of(nested)


def test_a_model_is_described_once_and_forgotten_with_it():
    describer, model = Describer(), build_llama()
    first = describer(model)
    assert describer(model) is first
    model.to(torch.bfloat16)
    assert describer(model).model.dtype == "bfloat16"
    del model
    gc.collect()
    assert len(describer._known) == 0


def test_generations_carry_the_description(prompt, generations):
    model = build("mixtral")
    model.generate(**prompt, max_new_tokens=2)
    (generation,) = generations
    assert generation.model == describe(model).model
    assert generation.config == config_of(model)
