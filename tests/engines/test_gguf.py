"""What is told of a model in GGUF format: pure functions on metadata as llama.cpp gives them, all text."""

import types

import pytest

from pytest_tpf.engines._gguf import config_of, device_of, file_type_of
from pytest_tpf.production.families import read_shape
from pytest_tpf.production.parameters import total_parameters

CONSTANTS = {
    "LLAMA_FTYPE_ALL_F32": 0,
    "LLAMA_FTYPE_MOSTLY_F16": 1,
    "LLAMA_FTYPE_MOSTLY_Q4_K_M": 15,
    "LLAMA_FTYPE_MOSTLY_BF16": 32,
    "LLAMA_SPLIT_MODE_NONE": 0,
}
VOCABULARY = 32000
LLAMA = {
    "general.architecture": "llama",
    "llama.embedding_length": "64",
    "llama.block_count": "2",
    "llama.feed_forward_length": "176",
    "llama.attention.head_count": "4",
    "llama.attention.head_count_kv": "2",
    "llama.context_length": "128",
    "tokenizer.ggml.model": "gpt2",
}


def shape_of(**more):
    config = {
        "model_type": "llama",
        "vocab_size": VOCABULARY,
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "intermediate_size": 176,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    }
    return total_parameters(read_shape({**config, **more}))


@pytest.mark.parametrize(
    ("number", "name"), [("0", "ALL_F32"), ("1", "F16"), ("15", "Q4_K_M"), ("32", "BF16"), ("999", None), ("", None), ("-1", None)]
)
def test_the_file_type_has_the_name_that_llama_cpp_gives_it(number, name):
    assert file_type_of({"general.file_type": number}, CONSTANTS) == name


def test_a_file_without_a_type_has_none():
    assert file_type_of({}, CONSTANTS) is None


@pytest.mark.parametrize("is_tied", [True, False])
def test_the_number_of_parameters_tells_whether_the_head_is_the_embedding_again(is_tied):
    config = config_of(LLAMA, VOCABULARY, shape_of(tie_word_embeddings=is_tied), "float16", "F16")
    assert config["tie_word_embeddings"] is is_tied
    assert (config["hidden_size"], config["num_key_value_heads"], config["dtype"]) == (64, 2, "float16")


def test_tables_among_the_weights_do_not_hide_the_model():
    assert config_of(LLAMA, VOCABULARY, shape_of(tie_word_embeddings=True) + 64, None, None) is not None


def test_a_quantized_model_has_flops_but_no_bytes():
    config = config_of(LLAMA, VOCABULARY, shape_of(), None, "Q4_K_M")
    shape = read_shape(config)
    assert "gguf-Q4_K_M" in shape.bytes_reason
    assert total_parameters(shape) == shape_of()


@pytest.mark.parametrize(
    ("metadata", "parameters"),
    [
        ({**LLAMA, "general.architecture": "mamba"}, 1000),
        ({}, 1000),
        (LLAMA, None),
        (LLAMA, 3 * 10**6),
        ({key: value for key, value in LLAMA.items() if "head_count" not in key}, shape_of()),
        ({**LLAMA, "llama.block_count": "many"}, shape_of()),
    ],
    ids=["family", "nothing", "uncounted", "other_count", "no_heads", "odd"],
)
def test_metadata_that_do_not_describe_the_whole_model_give_no_config(metadata, parameters):
    assert config_of(metadata, VOCABULARY, parameters, "float16", "F16") is None


@pytest.mark.parametrize(
    ("layers", "offloads", "system", "device"),
    [
        (0, True, b"CUDA : ARCHS = 900 | CPU : SSE3 = 1", "cpu"),
        (-1, False, b"CPU : SSE3 = 1", "cpu"),
        (-1, True, b"CUDA : ARCHS = 900 | CPU : SSE3 = 1", "cuda:1"),
        (10, True, b"Metal : EMBED_LIBRARY = 1", None),
    ],
)
def test_the_device_is_where_layers_were_offloaded_to(layers, offloads, system, device):
    library = types.SimpleNamespace(llama_supports_gpu_offload=lambda: offloads, llama_print_system_info=lambda: system)
    assert device_of(layers, 1, library) == device
