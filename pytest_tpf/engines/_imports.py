"""Do something as soon as a module is imported, without importing it."""

from __future__ import annotations

import importlib.util
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


@contextmanager
def on_import(callbacks: Sequence[tuple[str, Callable[[], None]]]) -> Iterator[None]:
    """Call each callback once its module is there: now, or right after its import; never once the context is closed.

    An import that fails is left to fail, and is waited for again. A callback that fails is warned about: the import succeeds.

    Args:
        callbacks: the module's full name and what to call, as often as one likes for one module.
    """
    missing: dict[str, list[Callable[[], None]]] = {}
    for module, callback in callbacks:
        if _is_ready(module):
            callback()
        else:
            missing.setdefault(module, []).append(callback)
    finder = _WaitingFinder(missing)
    if missing:
        sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        finder.close()


def _is_ready(name: str) -> bool:
    module = sys.modules.get(name)
    return module is not None and not getattr(getattr(module, "__spec__", None), "_initializing", False)


class _WaitingFinder:
    """Finds nothing by itself: it asks the other finders, and puts a loader around theirs that reports the end of the import."""

    def __init__(self, callbacks: dict[str, list[Callable[[], None]]]) -> None:
        self._callbacks = callbacks
        self._thread = threading.local()
        self._lock = threading.RLock()

    def close(self) -> None:
        with self._lock:
            self._callbacks = {}
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name not in self._callbacks or getattr(self._thread, "asking", False):
            return None
        self._thread.asking = True
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self._thread.asking = False
        if spec is None or not hasattr(spec.loader, "exec_module"):
            return None
        spec.loader = _ReportingLoader(spec.loader, lambda: self._imported(name))  # type: ignore[assignment]
        return spec

    def _imported(self, name: str) -> None:
        with self._lock:
            for callback in self._callbacks.pop(name, ()):
                _call_or_warn(name, callback)


def _call_or_warn(name: str, callback: Callable[[], None]) -> None:
    try:
        callback()
    except Exception as error:
        warnings.warn(f"{name} was imported but can't be observed: {type(error).__name__}: {error}", RuntimeWarning, stacklevel=2)


class _ReportingLoader:
    """Another loader, with word when it is done. The module itself keeps the original loader."""

    def __init__(self, loader: Any, done: Callable[[], None]) -> None:
        self._loader = loader
        self._done = done

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        module: ModuleType | None = self._loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        self._done()
