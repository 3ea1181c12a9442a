"""What can be known of a served model from its folder, where the server is on this machine and the model's name is a folder."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from pytest_tpf.engines._describe import digest_of, quantization_of
from pytest_tpf.records import Model, record


class Counter:
    """Counts tokens with a tokenizer (a folder or a ``tokenizer.json``), which is loaded when the first text is counted: that takes time,
    and most servers count themselves.
    """

    def __init__(self, place: str | Path | None = None) -> None:
        self._place = place

    def __call__(self, texts: Sequence[str]) -> int | None:
        """Their tokens as generated: without the special tokens that a prompt would be given; None where no tokenizer is at hand."""
        if self._tokenizer is None:
            return None
        return sum(len(self._tokenizer.encode(text, add_special_tokens=False).ids) for text in texts)

    @cached_property
    def _tokenizer(self) -> Any:
        if self._place is None:
            return None
        file = Path(self._place) / "tokenizer.json" if os.path.isdir(self._place) else Path(self._place)
        try:
            return importlib.import_module("tokenizers").Tokenizer.from_file(str(file))
        except Exception:  # not installed, not there, or none: the next best count is taken, and the report says which
            return None


@record
class Served:
    """A served model: what it is, its configuration where that is known, and what counts its tokens."""

    model: Model
    config: Mapping[str, Any] | None = None
    count: Counter = Counter()


class LocalModels:
    """Looks each model up once. ``tokenizer``: the user's, a folder or a ``tokenizer.json``, for models that have none here."""

    def __init__(self, tokenizer: str | None = None) -> None:
        self._tokenizer = tokenizer
        self._known: dict[tuple[str | None, bool], Served] = {}

    def __call__(self, name: str | None, is_here: bool) -> Served:
        """The model that a server calls ``name``; its folder is looked into only where the server is on this machine (``is_here``)."""
        key = (name, is_here)
        if key not in self._known:
            self._known[key] = self._look_up(name, is_here)
        return self._known[key]

    def _look_up(self, name: str | None, is_here: bool) -> Served:
        folder = _folder(name) if is_here and name else None
        config = _config(folder) if folder else None
        count = Counter(self._tokenizer or folder)
        if folder is None or config is None:
            return Served(model=Model(name=name), count=count)
        dtype = config.get("dtype") or config.get("torch_dtype")
        model = Model(
            name=folder.name,
            dtype=dtype if isinstance(dtype, str) else None,
            quantization=quantization_of(config.get("quantization_config")),
            digest=digest_of(config),
        )
        return Served(model=model, config=config, count=count)


def _folder(name: str) -> Path | None:
    """The folder that a model's name is, perhaps with a revision behind it (``/models/adder@main``)."""
    bare, _, revision = name.rpartition("@")
    candidates = [name, bare] if revision and bare else [name]
    return next((Path(each) for each in candidates if os.sep in each and os.path.isdir(each)), None)


def _config(folder: Path) -> dict[str, Any] | None:
    try:
        found = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
