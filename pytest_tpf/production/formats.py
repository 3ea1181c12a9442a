"""How many bits a weight takes: from the dtype's name and ``quantization_config``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_tpf.production.shapes import CostUnknown

_ELEMENT_BYTES = {
    "float64": 8.0,
    "float32": 4.0,
    "float": 4.0,
    "bfloat16": 2.0,
    "float16": 2.0,
    "half": 2.0,
    "float8_e4m3fn": 1.0,
    "float8_e5m2": 1.0,
    "int8": 1.0,
    "uint8": 1.0,
}

# bitsandbytes keeps one fp32 scale for 64 weights; nested ("double") quantization keeps it in 8 bits, with one fp32 for 256 of those.
_NF4_SCALE_BITS = 32 / 64
_NF4_NESTED_SCALE_BITS = 8 / 64 + 32 / (64 * 256)
_GROUP_SCALE_BITS = 16


def element_bytes(dtype: str | None) -> float:
    """Bytes of one element of ``dtype`` (a torch or numpy name, with or without ``torch.``).

    Raises:
        CostUnknown: no dtype was given, or it isn't known.
    """
    name = (dtype or "").removeprefix("torch.")
    if name not in _ELEMENT_BYTES:
        raise CostUnknown(f"the bytes of dtype {name!r} aren't known" if name else "the configuration names no dtype")
    return _ELEMENT_BYTES[name]


def weight_bits(config: Mapping[str, Any], dtype: str | None) -> float:
    """Bits stored for one weight of a layer's matrix, scales included (bits/weight).

    Embedding, head, norms and biases keep ``dtype``: bitsandbytes, GPTQ and AWQ leave them alone by default.

    Raises:
        CostUnknown: the dtype or the quantization isn't known.
    """
    quantization = config.get("quantization_config")
    if quantization is None:
        return 8 * element_bytes(dtype)
    if not isinstance(quantization, Mapping):
        raise CostUnknown("quantization_config is not a mapping")
    method = quantization.get("quant_method")
    if method in ("bitsandbytes", "bitsandbytes_4bit", "bitsandbytes_8bit"):
        return _bitsandbytes_bits(quantization)
    if method in ("gptq", "awq"):
        return _grouped_bits(quantization)
    if method in ("fp8", "fbgemm_fp8"):
        return 8.0
    raise CostUnknown(f"bits per weight of quantization {method!r} aren't known")


def _bitsandbytes_bits(quantization: Mapping[str, Any]) -> float:
    if quantization.get("load_in_4bit") or quantization.get("_load_in_4bit"):
        nested = quantization.get("bnb_4bit_use_double_quant")
        return 4 + (_NF4_NESTED_SCALE_BITS if nested else _NF4_SCALE_BITS)
    if quantization.get("load_in_8bit") or quantization.get("_load_in_8bit"):
        return 8.0
    raise CostUnknown("quantization_config of bitsandbytes says neither load_in_4bit nor load_in_8bit")


def _grouped_bits(quantization: Mapping[str, Any]) -> float:
    bits = quantization.get("bits", quantization.get("w_bit"))
    group = quantization.get("group_size", quantization.get("q_group_size"))
    if not isinstance(bits, int) or not 1 <= bits <= 16:
        raise CostUnknown("quantization_config names no bits per weight")
    # A group shares a 16-bit scale and a zero point; group_size -1 is one group a column, whose share is negligible.
    return bits + ((_GROUP_SCALE_BITS + bits) / group if isinstance(group, int) and group > 0 else 0.0)
