"""Reading sizes and switches out of a configuration somebody else wrote: missing or odd keys become a ``CostUnknown``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_tpf.production.shapes import CostUnknown

Config = Mapping[str, Any]

_LARGEST_SIZE = 2**32  # beyond it a configuration is damaged, and counting would take forever or overflow
_MOST_LAYERS = 10_000


def size(config: Config, *names: str, default: int | None = None) -> int:
    """The first of ``names`` that is there, as a positive whole number.

    Raises:
        CostUnknown: none is there (and there is no default), or it isn't a positive whole number.
    """
    for name in names:
        value = config.get(name)
        if value is not None:
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= _LARGEST_SIZE:
                raise CostUnknown(f"{name} is {value!r}, not a positive whole number of a plausible size")
            return value
    if default is None:
        raise CostUnknown(f"{config.get('model_type')} configuration has no {names[0]}")
    return default


def layer_count(config: Config, *names: str, default: int | None = None) -> int:
    """``size`` for a number of layers, which is also bounded. Raises CostUnknown."""
    layers = size(config, *names, default=default)
    if layers > _MOST_LAYERS:
        raise CostUnknown(f"{layers} layers are more than the {_MOST_LAYERS} that are plausible")
    return layers


def flag(config: Config, name: str, default: bool) -> bool:
    """The switch ``name``; ``default`` is what the family's own code has where it is missing."""
    value = config.get(name)
    return default if value is None else bool(value)


def sliding_windows(config: Config, layers: int) -> tuple[int | None, ...]:
    """For each layer the tokens a query sees, itself included (None = all).

    Raises:
        CostUnknown: a layer type other than full or sliding attention or ``layer_types`` of another length.
    """
    window = config.get("sliding_window") or None
    if window is None or config.get("use_sliding_window") is False:
        return (None,) * layers
    width = size(config, "sliding_window")
    if config.get("use_bidirectional_attention"):
        raise CostUnknown("use_bidirectional_attention isn't counted")
    return tuple(width if slides else None for slides in _sliding_layers(config, layers))


def _sliding_layers(config: Config, layers: int) -> list[bool]:
    kinds = config.get("layer_types")
    if kinds is None:
        return [_slides_by_default(config, index) for index in range(layers)]
    if not isinstance(kinds, (list, tuple)) or len(kinds) != layers:
        raise CostUnknown(f"layer_types doesn't name the attention of all {layers} layers")
    odd = set(map(str, kinds)) - {"full_attention", "sliding_attention"}
    if odd:
        raise CostUnknown(f"layers of type {', '.join(sorted(odd))} aren't counted")
    return [kind == "sliding_attention" for kind in kinds]


def _slides_by_default(config: Config, index: int) -> bool:
    """Which layers slide where an older configuration doesn't list them: each family's own rule."""
    match config.get("model_type"):
        case "mistral" | "mixtral" | "phi3" | "qwen3_moe":
            return True
        case "gemma2":
            return index % 2 == 0
        case "gemma3_text":
            return (index + 1) % size(config, "sliding_window_pattern", default=6) != 0
        case "qwen2" | "qwen3":
            return index >= size(config, "max_window_layers")
        case family:
            raise CostUnknown(f"{family} has a sliding_window but no layer_types to say where")
