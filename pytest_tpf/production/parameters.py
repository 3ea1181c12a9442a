"""Parameter counts from a model's shape."""

from __future__ import annotations

from pytest_tpf.production.shapes import Layer, ModelShape


def total_parameters(shape: ModelShape) -> int:
    """All stored weights, shared ones once (1); equals transformers' ``model.num_parameters()``."""
    return _outside(shape) + sum(_layer(layer, layer.feed_forward.experts) for layer in shape.layers + shape.encoder)


def active_parameters(shape: ModelShape) -> int:
    """The weights one token meets (1): of each layer's experts only those it is routed to."""
    return _outside(shape) + sum(_layer(layer, layer.feed_forward.active_experts) for layer in shape.layers + shape.encoder)


def _outside(shape: ModelShape) -> int:
    return shape.embedding + (0 if shape.head_tied else shape.head) + shape.joint_matrix + shape.vector


def _layer(layer: Layer, experts: int) -> int:
    block, own, cross = layer.feed_forward, layer.attention, layer.cross
    crossed = 0 if cross is None else cross.matrix + cross.source_matrix + cross.vector
    return own.matrix + own.vector + crossed + block.matrix + block.vector + experts * block.expert_matrix + layer.vector
