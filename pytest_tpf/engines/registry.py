"""Which engines are known, and observing those that a test body imports, whenever it does.

An engine is observable once its ``module`` is imported. What is imported already is observed at once; for the rest a finder waits at
the front of ``sys.meta_path``. Nothing here imports an engine's library by itself.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib.metadata import EntryPoint, entry_points

from pytest_tpf.engines._imports import on_import
from pytest_tpf.engines.llama_cpp import LlamaCppEngine
from pytest_tpf.engines.openai import OpenAIEngine
from pytest_tpf.engines.protocol import Engine, Sink
from pytest_tpf.engines.transformers import TransformersEngine
from pytest_tpf.engines.vllm import VllmEngine

ENTRY_POINT_GROUP = "pytest_tpf.engines"

_registered: list[Engine] = []


def register(engine: Engine) -> None:
    """Observe ``engine`` too, from the next window on; for a conftest.py that brings an engine without packaging it.

    Raises:
        ValueError: an engine of that name is registered already.
    """
    if any(known.name == engine.name for known in _registered):
        raise ValueError(f"an engine named {engine.name!r} is registered already; unregister it first")
    _registered.append(engine)


def unregister(engine: Engine) -> None:
    """Undo ``register``; an engine that isn't registered is ignored."""
    if engine in _registered:
        _registered.remove(engine)


def load_engines(tokenizer: str | None = None) -> list[Engine]:
    """Every engine: built in, from entry points in the group ``pytest_tpf.engines``, and registered; a later name replaces an earlier.

    An entry point that can't be loaded is warned about and left out: its tests then say that nothing was counted.

    Args:
        tokenizer: a folder or file that counts the tokens of a server that doesn't.
    """
    built_in: list[Engine] = [TransformersEngine(), OpenAIEngine(tokenizer), LlamaCppEngine(), VllmEngine()]
    engines = {engine.name: engine for engine in built_in}
    for point in entry_points(group=ENTRY_POINT_GROUP):
        if not point.value.startswith("pytest_tpf."):
            engines |= {engine.name: engine for engine in _loaded(point)}
    engines |= {engine.name: engine for engine in _registered}
    return list(engines.values())


def _loaded(point: EntryPoint) -> Iterator[Engine]:
    try:
        yield point.load()()
    except Exception as error:
        warnings.warn(
            f"engine {point.name!r} ({point.value}) can't be loaded and won't be observed: {type(error).__name__}: {error}",
            RuntimeWarning,
            stacklevel=3,
        )


@contextmanager
def observing(engines: Sequence[Engine], sink: Sink) -> Iterator[None]:
    """Observe ``engines`` while the context is open, those that are imported later from the end of their import on.

    Args:
        engines: what to observe, as from ``load_engines``.
        sink: called with each generation, from whichever thread generated.
    """
    with ExitStack() as observed:
        starts = [(engine.module, partial(_begin, observed, engine, sink)) for engine in engines]
        with on_import(starts):  # closes first: no import can add to a closed stack
            yield


def _begin(observed: ExitStack, engine: Engine, sink: Sink) -> None:
    observed.enter_context(engine.observe(sink))
