"""The adder of examples/adder as a GGUF file: ``python -m tests.servers.adder_gguf FILE``."""

import json
import sys
from pathlib import Path

ADDER = Path(__file__).parents[2] / "examples" / "adder" / "models" / "adder-0.1m"
ECHO = "{{ messages[-1]['content'] }}"  # a chat template that asks what the last message says
NORMAL, CONTROL = 1, 3  # kinds of token

_LAYER = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def write(file, folder=ADDER):
    """Write ``file`` from a folder with a Llama and a tokenizer of single characters, in float32."""
    import gguf

    config = json.loads((folder / "config.json").read_text())
    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_name("adder")
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    _add_sizes(writer, config)
    _add_tokenizer(writer, sorted(vocabulary, key=vocabulary.get), config)
    for name, tensor in _tensors(folder, config["num_attention_heads"]):
        writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_sizes(writer, config):
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])


def _add_tokenizer(writer, words, config):
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")  # takes digits one by one, so that the merges, which must be there, come to nothing
    writer.add_token_list(words)
    writer.add_token_types([CONTROL if word.startswith("<") else NORMAL for word in words])
    writer.add_token_merges(["0 0"])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_pad_token_id(config["pad_token_id"])
    writer.add_bos_token_id(config["pad_token_id"])  # there is none; without a word about it, it would be a digit
    writer.add_add_bos_token(False)
    writer.add_chat_template(ECHO)


def _tensors(folder, heads):
    from safetensors.torch import load_file

    outside = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}
    for name, tensor in load_file(folder / "model.safetensors").items():
        array = tensor.float().numpy()
        if name in outside:
            yield outside[name], array
            continue
        _, _, layer, part = name.removesuffix(".weight").split(".", 3)  # model.layers.0.mlp.up_proj
        turned = _interleaved(array, heads) if part in ("self_attn.q_proj", "self_attn.k_proj") else array
        yield f"blk.{layer}.{_LAYER[part]}.weight", turned


def _interleaved(matrix, heads):
    """llama.cpp turns neighbours of a head (0 with 1) where transformers turns its halves (0 with half)."""
    rows, columns = matrix.shape
    return matrix.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


if __name__ == "__main__":
    write(sys.argv[1])
