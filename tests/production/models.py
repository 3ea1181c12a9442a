"""Random small models of every family we count, for checks against torch's own FLOP counter."""

from __future__ import annotations

from typing import Any

SIZES: dict[str, Any] = {
    "vocab_size": 96,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
ONE_GROUP = {**SIZES, "num_key_value_heads": 4}
EXPERTS = {"num_experts_per_tok": 2, "num_experts": 5, "moe_intermediate_size": 24}
FALCON = {key: value for key, value in SIZES.items() if key not in ("num_key_value_heads", "intermediate_size", "max_position_embeddings")}

GPT2 = {"vocab_size": 96, "n_embd": 48, "n_head": 4, "n_layer": 3, "n_positions": 64, "bos_token_id": 1, "eos_token_id": 2}
OPT = {"vocab_size": 96, "hidden_size": 48, "ffn_dim": 90, "num_hidden_layers": 3, "num_attention_heads": 4, "max_position_embeddings": 64}

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", SIZES),
    "llama_biased_tied": ("llama", {**SIZES, "attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True, "head_dim": 20}),
    "mistral_sliding": ("mistral", {**SIZES, "sliding_window": 7}),
    "qwen2": ("qwen2", SIZES),
    "qwen2_sliding": ("qwen2", {**SIZES, "use_sliding_window": True, "sliding_window": 6, "max_window_layers": 1}),
    "qwen3": ("qwen3", {**SIZES, "head_dim": 16}),
    "gemma": ("gemma", {**SIZES, "head_dim": 16}),
    "gemma2": ("gemma2", {**SIZES, "head_dim": 16, "sliding_window": 8}),
    "gemma3_text": ("gemma3_text", {**SIZES, "head_dim": 16, "sliding_window": 8, "num_hidden_layers": 7}),
    "phi": ("phi", ONE_GROUP),
    "phi3": ("phi3", SIZES),
    "gpt2": ("gpt2", GPT2),
    "gpt2_inner": ("gpt2", {**GPT2, "n_inner": 100}),
    "gpt_neox": ("gpt_neox", {key: value for key, value in SIZES.items() if key != "num_key_value_heads"}),
    "opt": ("opt", OPT),
    "opt_narrow_words": ("opt", {**OPT, "word_embed_proj_dim": 32, "do_layer_norm_before": False}),
    "falcon": ("falcon", FALCON),
    "falcon_new": ("falcon", {**FALCON, "new_decoder_architecture": True, "num_kv_heads": 2}),
    "falcon_sequential": ("falcon", {**FALCON, "parallel_attn": False, "multi_query": False, "bias": True}),
    "mixtral": ("mixtral", {**SIZES, "num_local_experts": 5, "num_experts_per_tok": 2}),
    "qwen2_moe": ("qwen2_moe", {**SIZES, **EXPERTS, "shared_expert_intermediate_size": 40, "mlp_only_layers": [1]}),
    "qwen3_moe": ("qwen3_moe", {**SIZES, **EXPERTS, "decoder_sparse_step": 2, "head_dim": 16}),
}
T5: dict[str, dict[str, Any]] = {
    "t5": {"vocab_size": 96, "d_model": 48, "d_kv": 10, "d_ff": 70, "num_layers": 2, "num_heads": 4, "decoder_start_token_id": 0},
    "t5_gated": {
        "vocab_size": 96,
        "d_model": 48,
        "d_kv": 12,
        "d_ff": 70,
        "num_layers": 3,
        "num_decoder_layers": 2,
        "num_heads": 4,
        "feed_forward_proj": "gated-gelu",
        "decoder_start_token_id": 0,
    },
}


def causal_model(case: str) -> Any:
    """A random causal language model in eager mode, and eager experts where it has any."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    family, keys = CASES[case]
    torch.manual_seed(0)
    config = AutoConfig.for_model(family, **keys)
    config._experts_implementation = "eager"
    return AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()


def t5_model(case: str) -> Any:
    """A random T5 in eager mode."""
    import torch
    from transformers import AutoModelForSeq2SeqLM, T5Config

    torch.manual_seed(0)
    return AutoModelForSeq2SeqLM.from_config(T5Config(**T5[case]), attn_implementation="eager").eval()
