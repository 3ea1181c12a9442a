"""What counting needs to know of a model: its shape, read once from ``config.json``.

Sizes are numbers of weights. "Matrix" weights take part in a matrix product for every token (2 FLOPs each); "vector" weights
(norms, biases, position tables) are stored and read but their arithmetic is left out, as everywhere in the literature.
"""

from __future__ import annotations

from pytest_tpf.records import record


class CostUnknown(Exception):
    """The configuration can't tell; the text is one line saying what is missing."""


@record
class Attention:
    """One attention block. ``window``: tokens a query sees, itself included; None = all of them.

    ``matrix``: weights of the projections applied to the query's token. ``source_matrix``: those of cross-attention's keys and
    values, applied once to each source token (0 for self-attention, where the token is its own source).
    """

    heads: int
    kv_heads: int
    head_size: int
    matrix: int
    vector: int = 0
    window: int | None = None
    source_matrix: int = 0


@record
class FeedForward:
    """One feed-forward block. ``matrix``: weights every token meets (dense, router, shared experts).

    ``expert_matrix``: weights of one routed expert; ``experts`` of them exist and each token meets ``active_experts``.
    """

    matrix: int
    vector: int = 0
    expert_matrix: int = 0
    experts: int = 0
    active_experts: int = 0


@record
class Layer:
    """One transformer layer; ``cross`` is the decoder's look at the encoder, where there is one. ``vector``: its norms."""

    attention: Attention
    feed_forward: FeedForward
    vector: int
    cross: Attention | None = None


@record
class ModelShape:
    """A model as far as FLOPs and bytes go.

    ``head``: weights of the output projection; ``head_tied``: they are the embedding table's own. ``embedding``: weights of the token
    table, of which a token reads ``embedding_width``. ``joint_matrix``: projections outside the layers. ``vector``: norms,
    biases and position tables outside the layers. ``weight_bits``: of a layer's matrices; ``element_bytes``: of everything else, the KV
    cache included. Both None where the number format isn't known, with ``bytes_reason``.
    """

    family: str
    layers: tuple[Layer, ...]
    encoder: tuple[Layer, ...] = ()
    embedding: int
    embedding_width: int
    head: int
    head_tied: bool
    joint_matrix: int = 0
    vector: int = 0
    weight_bits: float | None = None
    element_bytes: float | None = None
    bytes_reason: str | None = None
