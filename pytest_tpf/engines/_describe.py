"""What a transformers model is: class, parameters, number formats, and a digest of its configuration.

Nothing here imports torch or transformers: the model at hand brings them along.
"""

from __future__ import annotations

import hashlib
import json
import re
import weakref
from collections.abc import Mapping
from typing import Any

from pytest_tpf.records import Model, record

_EXPERT_COUNT_KEYS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")
_EXPERTS_PER_TOKEN_KEYS = ("num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_k", "moe_top_k")
_ROUTED_EXPERT = re.compile(r"(?:^|\.)experts\.(?:(\d+)\.)?")

# What changes with the installation or the call, but not with the model: two downloads of one model have one digest.
_VOLATILE_KEYS = frozenset(
    {
        "transformers_version",
        "dtype",
        "torch_dtype",
        "use_cache",
        "return_dict",
        "return_dict_in_generate",
        "output_attentions",
        "output_hidden_states",
        "output_scores",
    }
)


@record
class Description:
    """A model as records and builtins; ``config`` has the keys of its config.json."""

    model: Model
    config: Mapping[str, Any]


class Describer:
    """Describes each model object once (and again when its dtype changes); forgets it with the model."""

    def __init__(self) -> None:
        self._known: weakref.WeakKeyDictionary[Any, tuple[str | None, Description]] = weakref.WeakKeyDictionary()

    def __call__(self, model: Any) -> Description:
        """The description of a ``PreTrainedModel``."""
        dtype = dtype_of(model)
        known = self._known.get(model)
        if known is None or known[0] != dtype:
            known = (dtype, describe(model))
            self._known[model] = known
        return known[1]


def describe(model: Any) -> Description:
    """Count and name a ``PreTrainedModel``. Tied weights count once; 4-bit weights count as what they hold, not as what stores them."""
    config = config_of(model)
    total = int(model.num_parameters())
    return Description(
        model=Model(
            name=type(model).__name__,
            parameters=total,
            active_parameters=active_parameters(total, _routed_shapes(model), text_config(config)),
            dtype=dtype_of(model),
            quantization=quantization_of(config.get("quantization_config")),
            digest=digest_of(config),
        ),
        config=config,
    )


def config_of(model: Any) -> dict[str, Any]:
    """The model's configuration as JSON-ready builtins."""
    plain: dict[str, Any] = json.loads(json.dumps(model.config.to_dict(), default=str))
    return plain


def text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of a configuration that describes the language model: ``text_config`` where there is one, else all of it."""
    inner = config.get("text_config")
    return inner if isinstance(inner, Mapping) else config


def dtype_of(model: Any) -> str | None:
    """``float32``, ``bfloat16`` ...: the dtype of the model's floating-point weights."""
    dtype = getattr(model, "dtype", None)
    return None if dtype is None else str(dtype).removeprefix("torch.")


def device_name(device: Any) -> str:
    """A ``torch.device`` as ``cpu``, ``cuda:0`` ..."""
    return f"cuda:{device.index or 0}" if device.type == "cuda" else str(device.type)


def active_parameters(total: int, routed: Mapping[str, tuple[int, ...]], config: Mapping[str, Any]) -> int | None:
    """Parameters that work on one token: all of them, less those of the experts a token is not sent to.

    Args:
        total: parameters of the model.
        routed: name and shape of every parameter of a routed expert; fused experts have one tensor with an expert per row.
        config: the language model's configuration.

    Returns:
        None where the configuration speaks of experts but the parameters don't show which they are, or the other way round.
    """
    experts, chosen = _first_int(config, _EXPERT_COUNT_KEYS), _first_int(config, _EXPERTS_PER_TOKEN_KEYS)
    if not routed:
        return total if experts is None or experts <= 1 else None
    if not experts or not chosen or not all(_belongs(name, shape, experts) for name, shape in routed.items()):
        return None
    size = sum(_product(shape) for shape in routed.values())
    return total - size * (experts - min(chosen, experts)) // experts


def quantization_of(settings: Any) -> str | None:
    """A short name of a ``quantization_config``: ``gptq-4bit``, ``bitsandbytes-8bit``, ``fp8``; None where there is none."""
    if not isinstance(settings, Mapping):
        return None
    method = str(settings.get("quant_method") or "unknown")
    bits = settings.get("bits")
    if settings.get("load_in_4bit") or settings.get("_load_in_4bit"):
        bits = 4
    elif settings.get("load_in_8bit") or settings.get("_load_in_8bit"):
        bits = 8
    return f"{method}-{bits}bit" if isinstance(bits, int) else method


def digest_of(config: Mapping[str, Any]) -> str:
    """``sha256:`` and the hash of the configuration's canonical JSON, without keys that vary with installation or call."""
    text = json.dumps(_stable(config), sort_keys=True, separators=(",", ":"))
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def _stable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _stable(item) for key, item in value.items() if key not in _VOLATILE_KEYS and not key.startswith("_")}
    return [_stable(item) for item in value] if isinstance(value, list) else value


def _routed_shapes(model: Any) -> dict[str, tuple[int, ...]]:
    return {name: tuple(weight.shape) for name, weight in model.named_parameters() if _ROUTED_EXPERT.search(name)}


def _belongs(name: str, shape: tuple[int, ...], experts: int) -> bool:
    match = _ROUTED_EXPERT.search(name)
    if match and match[1] is not None:
        return int(match[1]) < experts
    return bool(shape) and shape[0] == experts


def _first_int(config: Mapping[str, Any], keys: tuple[str, ...]) -> int | None:
    return next((config[key] for key in keys if isinstance(config.get(key), int)), None)


def _product(shape: tuple[int, ...]) -> int:
    size = 1
    for length in shape:
        size *= length
    return size
