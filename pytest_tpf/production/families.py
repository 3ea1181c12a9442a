"""From ``config.json`` to a ``ModelShape``: one reader a family, and a reason for every family nobody taught us.

Defaults stand here only where a family's own code has them for a key that older configuration files lack; they were read from
transformers' configuration and modelling files. A key without such a default must be there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from pytest_tpf.production.formats import element_bytes, weight_bits
from pytest_tpf.production.keys import Config, flag, layer_count, size, sliding_windows
from pytest_tpf.production.shapes import Attention, CostUnknown, FeedForward, Layer, ModelShape
from pytest_tpf.production.t5 import read_t5
from pytest_tpf.records import record


@record
class Style:
    """What a family's layers look like, beyond sizes. ``*_bias``: bias vectors. ``norm_width``: vectors in a norm (2 with a bias).

    ``qk_norm``: "head" for a norm of head_size on q and on k.
    """

    gated: bool = True
    qkv_bias: bool = False
    out_bias: bool = False
    mlp_bias: bool = False
    head_bias: bool = False
    norms: int = 2
    norm_width: int = 1
    final_norm: bool = True
    qk_norm: bool = False
    tied: bool = False


def read_shape(config: Config, dtype: str | None = None) -> ModelShape:
    """The shape of the model that ``config`` (the keys of config.json) describes.

    ``dtype`` overrides the configuration's own ``dtype`` or ``torch_dtype``. An unknown number format leaves FLOPs countable: the
    shape then carries ``bytes_reason``.

    Raises:
        CostUnknown: the family isn't known, or a size is missing.
    """
    family = config.get("model_type")
    if not isinstance(family, str):
        raise CostUnknown("the configuration has no model_type")
    reader = _READERS.get(family)
    if reader is None:
        raise CostUnknown(f"FLOPs and bytes of model_type {family!r} aren't known")
    return _with_format(reader(config), config, dtype)


def _with_format(shape: ModelShape, config: Config, dtype: str | None) -> ModelShape:
    name = dtype or config.get("dtype") or config.get("torch_dtype")
    try:
        text = None if name is None else str(name)
        return dataclasses.replace(shape, weight_bits=weight_bits(config, text), element_bytes=element_bytes(text))
    except CostUnknown as unknown:
        return dataclasses.replace(shape, bytes_reason=str(unknown))


# --- decoders ---------------------------------------------------------------------------------------------------------


def _decoder(
    config: Config,
    style: Style,
    *,
    feed_forward: Callable[[int], FeedForward],
    windows: tuple[int | None, ...],
    kv_heads: int | None = None,
    positions: int = 0,
    word_width: int | None = None,
) -> ModelShape:
    """A decoder-only model: the embedding, ``n`` layers, a final norm and the head."""
    hidden, vocabulary = size(config, "hidden_size", "n_embd"), size(config, "vocab_size")
    width = hidden if word_width is None else word_width
    norm = style.norm_width * hidden
    layers = tuple(
        Layer(attention=_attention(config, style, kv_heads, window), feed_forward=feed_forward(index), vector=style.norms * norm)
        for index, window in enumerate(windows)
    )
    return ModelShape(
        family=str(config["model_type"]),
        layers=layers,
        embedding=vocabulary * width,
        embedding_width=width,
        head=vocabulary * width,
        head_tied=flag(config, "tie_word_embeddings", style.tied),
        joint_matrix=0 if width == hidden else 2 * hidden * width,
        vector=norm * style.final_norm + positions * hidden + vocabulary * style.head_bias,
    )


def _attention(config: Config, style: Style, kv_heads: int | None, window: int | None) -> Attention:
    hidden, heads = size(config, "hidden_size", "n_embd"), size(config, "num_attention_heads", "n_head")
    groups = size(config, "num_key_value_heads", default=heads) if kv_heads is None else kv_heads
    if heads > hidden:
        raise CostUnknown(f"{heads} attention heads don't fit a hidden size of {hidden}")
    head_size = size(config, "head_dim", default=hidden // heads)
    query, key_value = heads * head_size, 2 * groups * head_size
    biases = (query + key_value) * style.qkv_bias + hidden * style.out_bias
    return Attention(
        heads=heads,
        kv_heads=groups,
        head_size=head_size,
        matrix=hidden * (2 * query + key_value),
        vector=biases + 2 * head_size * style.qk_norm,
        window=window,
    )


def _dense(config: Config, style: Style, inner: int) -> FeedForward:
    hidden = size(config, "hidden_size", "n_embd")
    rows = 2 if style.gated else 1
    return FeedForward(matrix=(rows + 1) * hidden * inner, vector=(rows * inner + hidden) * style.mlp_bias)


def _plain(config: Config, style: Style, inner: int | None = None, **extra: Any) -> ModelShape:
    """A decoder whose layers all have the same dense feed-forward block."""
    block = _dense(config, style, size(config, "intermediate_size") if inner is None else inner)
    windows = extra.pop("windows", None) or sliding_windows(config, layer_count(config, "num_hidden_layers", "n_layer"))
    return _decoder(config, style, feed_forward=lambda _index: block, windows=windows, **extra)


def _llama(config: Config) -> ModelShape:
    bias = flag(config, "attention_bias", False)
    return _plain(config, Style(qkv_bias=bias, out_bias=bias, mlp_bias=flag(config, "mlp_bias", False)))


def _mistral(config: Config) -> ModelShape:
    return _plain(config, Style())


def _qwen2(config: Config) -> ModelShape:
    return _plain(config, Style(qkv_bias=True))


def _qwen3(config: Config) -> ModelShape:
    bias = flag(config, "attention_bias", False)
    return _plain(config, Style(qkv_bias=bias, out_bias=bias, qk_norm=True))


def _gemma(config: Config) -> ModelShape:
    size(config, "head_dim")  # Gemma's heads are wider than hidden / heads: without the key nothing is known
    bias = flag(config, "attention_bias", False)
    four_norms = config["model_type"] != "gemma"
    qk_norm = config["model_type"] == "gemma3_text"
    return _plain(config, Style(qkv_bias=bias, out_bias=bias, norms=4 if four_norms else 2, qk_norm=qk_norm, tied=True))


def _gpt2(config: Config) -> ModelShape:
    if flag(config, "add_cross_attention", False):
        raise CostUnknown("gpt2 with add_cross_attention isn't counted")
    style = Style(gated=False, qkv_bias=True, out_bias=True, mlp_bias=True, norm_width=2, tied=True)
    inner = size(config, "n_inner", default=4 * size(config, "n_embd", "hidden_size"))
    return _plain(config, style, inner, positions=size(config, "n_positions", "max_position_embeddings"))


def _gpt_neox(config: Config) -> ModelShape:
    bias = flag(config, "attention_bias", True)
    return _plain(config, Style(gated=False, qkv_bias=bias, out_bias=bias, mlp_bias=True, norm_width=2))


def _phi(config: Config) -> ModelShape:
    if flag(config, "qk_layernorm", False):
        raise CostUnknown("phi with qk_layernorm isn't counted")
    return _plain(config, Style(gated=False, qkv_bias=True, out_bias=True, mlp_bias=True, head_bias=True, norms=1, norm_width=2))


def _opt(config: Config) -> ModelShape:
    bias = flag(config, "enable_bias", True)
    norm_width = 2 if flag(config, "layer_norm_elementwise_affine", True) else 0
    final = flag(config, "do_layer_norm_before", True) and not flag(config, "_remove_final_layer_norm", False)
    style = Style(gated=False, qkv_bias=bias, out_bias=bias, mlp_bias=bias, norm_width=norm_width, final_norm=final, tied=True)
    return _plain(
        config,
        style,
        size(config, "ffn_dim"),
        positions=size(config, "max_position_embeddings") + 2,  # OPT's table starts at 2
        word_width=size(config, "word_embed_proj_dim", default=size(config, "hidden_size")),
    )


def _falcon(config: Config) -> ModelShape:
    hidden, heads = size(config, "hidden_size", "n_embed"), size(config, "num_attention_heads", "n_head")
    new = flag(config, "new_decoder_architecture", False)
    one_group = not new and flag(config, "multi_query", True)
    norms = size(config, "num_ln_in_parallel_attn", default=2 if new else 1) if flag(config, "parallel_attn", True) else 2
    bias = flag(config, "bias", False)
    style = Style(gated=False, qkv_bias=bias, out_bias=bias, mlp_bias=bias, norms=norms, norm_width=2, tied=True)
    groups = 1 if one_group else size(config, "num_kv_heads", default=heads) if new else heads
    return _plain({**config, "hidden_size": hidden}, style, size(config, "ffn_hidden_size", default=4 * hidden), kv_heads=groups)


# --- mixtures of experts ----------------------------------------------------------------------------------------------


def _mixtral(config: Config) -> ModelShape:
    hidden, inner, experts = size(config, "hidden_size"), size(config, "intermediate_size"), size(config, "num_local_experts")
    active = _active_experts(config, experts)
    block = FeedForward(matrix=hidden * experts, expert_matrix=3 * hidden * inner, experts=experts, active_experts=active)
    windows = sliding_windows(config, layer_count(config, "num_hidden_layers"))
    return _decoder(config, Style(), feed_forward=lambda _index: block, windows=windows)


def _qwen_moe(config: Config) -> ModelShape:
    third = config["model_type"] == "qwen3_moe"
    bias = flag(config, "attention_bias", False)
    style = Style(qkv_bias=bias, out_bias=bias, qk_norm=True) if third else Style(qkv_bias=flag(config, "qkv_bias", True))
    sparse, dense = _qwen_experts(config, shared=not third), _dense(config, style, size(config, "intermediate_size"))
    dense_layers, step = config.get("mlp_only_layers") or [], size(config, "decoder_sparse_step", default=1)
    windows = sliding_windows(config, layer_count(config, "num_hidden_layers"))
    return _decoder(
        config,
        style,
        feed_forward=lambda index: dense if index in dense_layers or (index + 1) % step else sparse,
        windows=windows,
    )


def _qwen_experts(config: Config, *, shared: bool) -> FeedForward:
    hidden, experts = size(config, "hidden_size"), size(config, "num_experts", "num_local_experts")
    common = hidden * experts
    if shared:
        common += 3 * hidden * size(config, "shared_expert_intermediate_size") + hidden  # and the shared expert's own gate
    return FeedForward(
        matrix=common,
        expert_matrix=3 * hidden * size(config, "moe_intermediate_size"),
        experts=experts,
        active_experts=_active_experts(config, experts),
    )


def _active_experts(config: Config, experts: int) -> int:
    active = size(config, "num_experts_per_tok")
    if active > experts:
        raise CostUnknown(f"num_experts_per_tok is {active}, more than the {experts} experts")
    return active


_READERS: Mapping[str, Callable[[Config], ModelShape]] = {
    "llama": _llama,
    "mistral": _mistral,
    "qwen2": _qwen2,
    "qwen3": _qwen3,
    "gemma": _gemma,
    "gemma2": _gemma,
    "gemma3_text": _gemma,
    "phi": _phi,
    "phi3": _mistral,
    "gpt2": _gpt2,
    "gpt_neox": _gpt_neox,
    "opt": _opt,
    "falcon": _falcon,
    "mixtral": _mixtral,
    "qwen2_moe": _qwen_moe,
    "qwen3_moe": _qwen_moe,
    "t5": read_t5,
    "mt5": read_t5,
}
KNOWN_FAMILIES = tuple(sorted(_READERS))
