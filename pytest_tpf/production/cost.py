"""FLOPs and bytes per output token, from a model's shape alone.

A product of an ``m x k`` by a ``k x n`` matrix is ``2 m k n`` FLOPs. Left out, as in the literature: norms, activations, softmax,
position encodings, sampling, and the embedding look-up, which is no arithmetic. Attention is counted with query heads, the KV cache with
KV heads. The output head is computed once for each generated token: engines skip it for the other prompt tokens.

Formulas: arXiv 2001.08361 (2 FLOPs a weight), arXiv 2205.05198 (attention), arXiv 2401.04088 (mixtures of experts).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

from pytest_tpf.production.shapes import Attention, CostUnknown, FeedForward, Layer, ModelShape
from pytest_tpf.records import record

AttentionCount = Literal["causal", "full"]


@record
class WorkloadCost:
    """What one output token of a workload costs, its share of the prefill included.

    ``flops_per_token`` (FLOP/token); ``bytes_per_token`` (bytes of weights and KV cache read per token), None with ``bytes_reason``.
    """

    flops_per_token: float
    bytes_per_token: float | None
    bytes_reason: str | None = None


# --- FLOPs ------------------------------------------------------------------------------------------------------------


def prefill_flops(shape: ModelShape, tokens: int, cached: int = 0, *, attention: AttentionCount = "causal") -> int:
    """FLOPs of reading ``tokens`` prompt tokens after ``cached`` ones and making the first output token (FLOP).

    An encoder-decoder model encodes the prompt and takes the decoder's first step. ``attention="full"`` counts every query against every
    key present, as eager attention computes it; "causal" counts the useful part.

    Raises:
        ValueError: no tokens, a negative cache, or a cached prompt for an encoder, which has no cache.
    """
    if tokens < 1 or cached < 0:
        raise ValueError(f"a prefill needs tokens >= 1 and cached >= 0, got {tokens} and {cached}")
    if not shape.encoder:
        return _pass_flops(shape, tokens, cached, attention) + head_flops(shape)
    if cached:
        raise ValueError("an encoder has no cache: cached must be 0")
    return _encoder_flops(shape, tokens) + decode_flops(shape, 1, source_tokens=tokens)


def decode_flops(shape: ModelShape, context: int, *, source_tokens: int = 0) -> int:
    """FLOPs of one decode step whose token sees ``context`` tokens, itself included (FLOP).

    ``source_tokens``: prompt tokens the encoder read (encoder-decoder models only).

    Raises:
        ValueError: ``context`` < 1.
    """
    if context < 1:
        raise ValueError(f"a token sees at least itself: context >= 1, got {context}")
    return _pass_flops(shape, 1, context - 1, "causal", source_tokens) + head_flops(shape)


def head_flops(shape: ModelShape) -> int:
    """FLOPs of the output projection of one token (FLOP)."""
    return 2 * shape.head


def request_flops(shape: ModelShape, prompt_tokens: int, output_tokens: int) -> int:
    """FLOPs of a whole request with a KV cache: its prefill and ``output_tokens - 1`` decode steps (FLOP)."""
    _check_request(prompt_tokens, output_tokens)
    steps, source = output_tokens - 1, prompt_tokens if shape.encoder else 0
    seen = 1 if shape.encoder else prompt_tokens
    # Decode steps one after another cost what a causal pass over all of them costs.
    return prefill_flops(shape, prompt_tokens) + _pass_flops(shape, steps, seen, "causal", source) + steps * head_flops(shape)


def _pass_flops(shape: ModelShape, tokens: int, cached: int, attention: AttentionCount, source_tokens: int = 0) -> int:
    """One pass of the decoder stack over ``tokens`` new tokens, without the head."""
    total = 2 * tokens * shape.joint_matrix
    for layer in shape.layers:
        total += tokens * _layer_matrix_flops(layer)
        total += _score_flops(layer.attention, _pairs(tokens, cached, layer.attention.window, attention))
        if layer.cross is not None:
            total += 2 * tokens * layer.cross.matrix + _score_flops(layer.cross, tokens * source_tokens)
    return total


def _encoder_flops(shape: ModelShape, tokens: int) -> int:
    """The encoder over the prompt (every token sees every token), and the decoder's keys and values made from it."""
    layers = sum(tokens * _layer_matrix_flops(layer) + _score_flops(layer.attention, tokens * tokens) for layer in shape.encoder)
    return layers + sum(2 * tokens * layer.cross.source_matrix for layer in shape.layers if layer.cross is not None)


def _layer_matrix_flops(layer: Layer) -> int:
    block = layer.feed_forward
    return 2 * (layer.attention.matrix + block.matrix + block.active_experts * block.expert_matrix)


def _score_flops(attention: Attention, pairs: int) -> int:
    """QK^T and the weighted sum of V: 4 FLOPs a query-key pair, head and component."""
    return 4 * attention.heads * attention.head_size * pairs


def _pairs(tokens: int, cached: int, window: int | None, attention: AttentionCount) -> int:
    """Query-key pairs of ``tokens`` new queries after ``cached`` tokens."""
    if attention == "causal":
        return _causal_pairs(tokens, cached, window)
    # A sliding cache keeps window - 1 tokens; the new ones join before attention is computed.
    return tokens * (tokens + (cached if window is None else min(cached, window - 1)))


def _causal_pairs(tokens: int, cached: int, window: int | None) -> int:
    """The sum of min(cached + j, window) for j = 1 .. tokens."""
    growing = tokens if window is None else min(max(window - cached, 0), tokens)
    return growing * cached + growing * (growing + 1) // 2 + (tokens - growing) * (window or 0)


# --- bytes ------------------------------------------------------------------------------------------------------------


def request_bytes(shape: ModelShape, prompt_tokens: int, output_tokens: int, batch: float = 1.0) -> float:
    """Bytes of weights and KV cache read from memory for one request among ``batch`` that share every pass (bytes).

    Each output token takes one pass over the active weights, the first one the prefill's; a pass over many tokens meets more distinct
    experts. Activations and what is written are left out.

    Raises:
        CostUnknown: the number format isn't known. ValueError: a batch below 1 or a request without tokens.
    """
    _check_request(prompt_tokens, output_tokens)
    if batch < 1:
        raise ValueError(f"a batch holds at least one request, got {batch}")
    first = weight_bytes(shape, batch * prompt_tokens) + _encoder_bytes(shape, batch * prompt_tokens)
    weights = first + (output_tokens - 1) * weight_bytes(shape, batch)
    return weights / batch + _cache_bytes(shape, prompt_tokens, output_tokens)


def weight_bytes(shape: ModelShape, tokens: float = 1.0) -> float:
    """Bytes of weights that one pass of the decoder over ``tokens`` tokens reads (bytes).

    Of each layer's experts the expected number of distinct ones is read, ``E (1 - (1 - k/E)^tokens)`` for uniform routing; of the
    embedding table one row a token.

    Raises:
        CostUnknown: the number format isn't known.
    """
    bits, element = _formats(shape)
    layers = sum(_layer_bytes(layer, bits, element, tokens) for layer in shape.layers)
    outside = shape.head + shape.joint_matrix + shape.vector + tokens * shape.embedding_width
    return layers + element * outside


def _encoder_bytes(shape: ModelShape, tokens: float) -> float:
    bits, element = _formats(shape)
    sources = sum(layer.cross.source_matrix for layer in shape.layers if layer.cross is not None)
    return sum(_layer_bytes(layer, bits, element, tokens) for layer in shape.encoder) + sources * bits / 8


def _layer_bytes(layer: Layer, bits: float, element: float, tokens: float) -> float:
    cross, block = layer.cross, layer.feed_forward
    matrix = layer.attention.matrix + block.matrix + distinct_experts(block, tokens) * block.expert_matrix
    vector = layer.vector + layer.attention.vector + block.vector
    if cross is not None:
        matrix, vector = matrix + cross.matrix, vector + cross.vector
    return matrix * bits / 8 + vector * element


def distinct_experts(block: FeedForward, tokens: float) -> float:
    """Expected number of different experts that ``tokens`` tokens meet, routed uniformly (1)."""
    if not block.experts:
        return 0.0
    return float(block.experts * (1 - (1 - block.active_experts / block.experts) ** tokens))


def kv_bytes(attention: Attention, element: float) -> float:
    """Bytes of keys and values that one cached token takes in one layer (bytes)."""
    return 2 * attention.kv_heads * attention.head_size * element


def _cache_bytes(shape: ModelShape, prompt_tokens: int, output_tokens: int) -> float:
    """KV cache read over a request: each pass reads what its (last) token sees."""
    _, element = _formats(shape)
    seen = 0 if shape.encoder else prompt_tokens - 1
    own = sum(kv_bytes(a, element) * _causal_pairs(output_tokens, seen, a.window) for a in _attentions(shape.layers))
    cross = sum(kv_bytes(layer.cross, element) for layer in shape.layers if layer.cross is not None)
    return own + cross * prompt_tokens * output_tokens


def _attentions(layers: Iterable[Layer]) -> Iterable[Attention]:
    return (layer.attention for layer in layers)


def _formats(shape: ModelShape) -> tuple[float, float]:
    if shape.weight_bits is None or shape.element_bytes is None:
        raise CostUnknown(shape.bytes_reason or "the model's number format isn't known")
    return shape.weight_bits, shape.element_bytes


# --- the workload -----------------------------------------------------------------------------------------------------


def workload_cost(shape: ModelShape, requests: Sequence[tuple[int, int]], batch: float = 1.0) -> WorkloadCost:
    """FLOPs and bytes per output token over ``requests``, pairs (prompt tokens, output tokens) served ``batch`` at a time.

    Prompt tokens found in a cache cost nothing: leave them out of the first number. A padded or mean batch may be fractional.

    Raises:
        ValueError: no requests, a request without tokens, or a batch below 1.
    """
    outputs = sum(output for _, output in requests)
    if not requests:
        raise ValueError("a workload needs at least one request")
    flops = sum(request_flops(shape, prompt, output) for prompt, output in requests) / outputs
    try:
        read = sum(request_bytes(shape, prompt, output, batch) for prompt, output in requests) / outputs
    except CostUnknown as unknown:
        return WorkloadCost(flops_per_token=flops, bytes_per_token=None, bytes_reason=str(unknown))
    return WorkloadCost(flops_per_token=flops, bytes_per_token=read)


def _check_request(prompt_tokens: int, output_tokens: int) -> None:
    if prompt_tokens < 1 or output_tokens < 1:
        raise ValueError(f"a request has at least one prompt and one output token, got {prompt_tokens} and {output_tokens}")
