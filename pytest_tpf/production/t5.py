"""T5's shape: an encoder that reads the prompt, a decoder that writes with one eye on it."""

from __future__ import annotations

from pytest_tpf.production.keys import Config, flag, layer_count, size
from pytest_tpf.production.shapes import Attention, FeedForward, Layer, ModelShape


def read_t5(config: Config) -> ModelShape:
    """The shape of a T5, T5 v1.1 or mT5 (arXiv 1910.10683, 2002.05202). Raises CostUnknown where a size is missing."""
    hidden, vocabulary, inner = size(config, "d_model"), size(config, "vocab_size"), size(config, "d_ff")
    encoder_layers = layer_count(config, "num_layers")
    decoder_layers = layer_count(config, "num_decoder_layers", default=encoder_layers)
    gated = flag(config, "is_gated_act", str(config.get("feed_forward_proj", "relu")).startswith("gated"))
    feed_forward = FeedForward(matrix=(3 if gated else 2) * hidden * inner)
    attention = _attention(config, cross=False)
    encoder = Layer(attention=attention, feed_forward=feed_forward, vector=2 * hidden)
    decoder = Layer(attention=attention, feed_forward=feed_forward, vector=3 * hidden, cross=_attention(config, cross=True))
    buckets = size(config, "relative_attention_num_buckets", default=32) * attention.heads
    return ModelShape(
        family=str(config["model_type"]),
        layers=(decoder,) * decoder_layers,
        encoder=(encoder,) * encoder_layers,
        embedding=vocabulary * hidden,
        embedding_width=hidden,
        head=vocabulary * hidden,
        head_tied=flag(config, "tie_word_embeddings", True),
        vector=2 * hidden + 2 * buckets,  # two final norms, and the position buckets of the first layer of each stack
    )


def _attention(config: Config, *, cross: bool) -> Attention:
    hidden, heads, head_size = size(config, "d_model"), size(config, "num_heads"), size(config, "d_kv")
    projection = hidden * heads * head_size
    return Attention(
        heads=heads,
        kv_heads=heads,
        head_size=head_size,
        matrix=(2 if cross else 4) * projection,
        source_matrix=2 * projection if cross else 0,
    )
