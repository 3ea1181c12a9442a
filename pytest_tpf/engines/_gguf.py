"""What a loaded ``llama_cpp.Llama`` is, from the metadata of its GGUF file and from llama.cpp's own count of its parameters."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_tpf.engines._describe import digest_of
from pytest_tpf.production.families import read_shape
from pytest_tpf.production.parameters import total_parameters
from pytest_tpf.production.shapes import CostUnknown
from pytest_tpf.records import Model, record

_FILE_TYPE = "LLAMA_FTYPE_"
_PLAIN = {"ALL_F32": "float32", "F16": "float16", "BF16": "bfloat16"}  # number formats; every other file type is a quantization

_KEYS = {
    "hidden_size": "embedding_length",
    "num_hidden_layers": "block_count",
    "intermediate_size": "feed_forward_length",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "head_dim": "attention.key_length",
    "max_position_embeddings": "context_length",
}
"""Keys of a config.json and what GGUF calls them, behind the architecture's name."""

_KNOWN = ("llama", "qwen2", "qwen3")
"""Architectures that have the same name in config.json, and keys that can describe them. Not so where experts are."""

_LEFT_OVER = 1e-3  # of the parameters: tables that some files keep among the weights, such as the frequencies of a longer context


@record
class Description:
    """A model as records and builtins; ``config`` has the keys of a config.json, None where the metadata don't say enough."""

    model: Model
    config: Mapping[str, Any] | None = None
    device: str | None = None


class Describer:
    """Describes each ``Llama`` once, and forgets it with the object."""

    def __init__(self) -> None:
        self._known: weakref.WeakKeyDictionary[Any, Description] = weakref.WeakKeyDictionary()

    def __call__(self, llama: Any) -> Description:
        """The description of a ``Llama`` that isn't closed, or that was described before; of one that doesn't tell its name alone."""
        if llama not in self._known:
            try:
                self._known[llama] = describe(llama)
            except Exception:  # another version's ways: its tokens count all the same
                self._known[llama] = Description(model=Model(name=Path(str(getattr(llama, "model_path", ""))).stem or None))
        return self._known[llama]


def describe(llama: Any) -> Description:
    """Name and count a ``Llama``."""
    library = sys.modules["llama_cpp"]
    metadata: Mapping[str, str] = llama.metadata
    file_type = file_type_of(metadata, vars(library))
    dtype = _PLAIN.get(file_type) if file_type else None
    parameters = int(library.llama_model_n_params(llama.model)) or None
    has_experts = any(key.endswith(".expert_count") and value != "0" for key, value in metadata.items())
    return Description(
        model=Model(
            name=metadata.get("general.name") or Path(llama.model_path).stem,
            parameters=parameters,
            active_parameters=None if has_experts else parameters,
            dtype=dtype,
            quantization=None if dtype or file_type is None else f"gguf-{file_type}",
            digest=digest_of(metadata),
        ),
        config=None if has_experts else config_of(metadata, llama.n_vocab(), parameters, dtype, file_type),
        device=device_of(llama.model_params.n_gpu_layers, llama.model_params.main_gpu, library),
    )


def file_type_of(metadata: Mapping[str, str], names: Mapping[str, Any]) -> str | None:
    """``ALL_F32``, ``F16``, ``Q4_K_M`` ...: what the file says of its weights, as llama.cpp calls it; None where it doesn't.

    Args:
        metadata: of the file.
        names: llama_cpp's module-level names, among them its constants.
    """
    number = _number(metadata, "general.file_type")
    found = (name for name, value in names.items() if name.startswith(_FILE_TYPE) and value == number)
    name = next(found, None)
    return None if name is None else name.removeprefix(_FILE_TYPE).removeprefix("MOSTLY_")


def config_of(
    metadata: Mapping[str, str], vocabulary: int, parameters: int | None, dtype: str | None, file_type: str | None
) -> dict[str, Any] | None:
    """The keys of a config.json that the metadata hold; None where they don't describe the whole model.

    Whether they do is seen by its parameters: a model of that configuration has to have as many as llama.cpp counted. That tells, too,
    what isn't among the metadata, namely whether the head is the embedding once more.
    """
    family = metadata.get("general.architecture")
    if family not in _KNOWN or parameters is None:
        return None
    found = {key: _number(metadata, f"{family}.{name}") for key, name in _KEYS.items()}
    config: dict[str, Any] = {"model_type": family, "vocab_size": vocabulary}
    config |= {key: value for key, value in found.items() if value is not None}
    if dtype:
        config["dtype"] = dtype
    elif file_type:
        config["quantization_config"] = {"quant_method": f"gguf-{file_type}"}
    candidates = [{**config, "tie_word_embeddings": is_tied} for is_tied in (False, True)]
    return next((each for each in candidates if _has_parameters(each, parameters)), None)


def _has_parameters(config: Mapping[str, Any], parameters: int) -> bool:
    try:
        expected = total_parameters(read_shape(config))
    except CostUnknown:
        return False
    return abs(expected - parameters) <= _LEFT_OVER * parameters


def device_of(layers_offloaded: int, main_gpu: int, library: Any) -> str | None:
    """Where most of the work is done: ``cpu``, or ``cuda:0`` ...; None for an accelerator of another kind."""
    if layers_offloaded == 0 or not library.llama_supports_gpu_offload():
        return "cpu"
    return f"cuda:{main_gpu}" if b"CUDA" in library.llama_print_system_info() else None


def _number(metadata: Mapping[str, str], key: str) -> int | None:
    text = metadata.get(key, "")
    return int(text) if text.isdecimal() else None
