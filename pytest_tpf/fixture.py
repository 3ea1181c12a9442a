"""The object a test holds as ``tpf``."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from pytest_tpf.calls import is_async
from pytest_tpf.usage import is_whole, refuse

if TYPE_CHECKING:
    from pytest_tpf.measurement import Measurement, Progress
    from pytest_tpf.observation import GridPoint
    from pytest_tpf.records import TestRecord


class Window(Protocol):
    """A window drawn by hand."""

    def count(self, *, output_tokens: int, prompt_tokens: int | None = None, requests: int = 1) -> None:
        """Count tokens and requests of an engine nobody observes."""


class Tpf:
    """Measure a function or a window, count tokens, say what the answers were worth, and read the result.

    ``extra`` is a dict carried into the report (JSON values).
    """

    def __init__(self, measurement: Measurement, progress: Progress) -> None:
        self._measurement = measurement
        self._progress = progress
        self.extra = measurement.extra

    def __call__(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call ``fn(*args, **kwargs)`` for warm-up and then in rounds until J/token is known well enough; return its last value.

        A coroutine function gives a coroutine to await. Its exceptions pass through; what was measured until then is kept.
        """
        self._claim()
        call = functools.partial(fn, *args, **kwargs)
        steps = self._measurement.rounds(self._progress)
        return _drive_async(steps, call) if is_async(fn) else _drive(steps, call)

    def fit(self, fn: Callable[[int, int], Any], *, prompts: Sequence[int], outputs: Sequence[int]) -> Any:
        """Energy per prompt token and per output token: a ``records.Fit`` over the grid of ``prompts`` and ``outputs`` (tokens).

        ``fn(prompt_tokens, output_tokens)`` makes one request of these lengths, or several alike, whose mean then counts. It is called for
        warm-up and in rounds, which go through the grid there and back. A coroutine function gives a coroutine to await.
        """
        self._claim()
        measurement = self._measurement
        visits = measurement.visits(_grid(prompts, outputs), self._progress)

        def call() -> Any:
            return None if (point := measurement.point) is None else fn(point.prompt_tokens, point.output_tokens)

        driven = _drive_async(visits, call) if is_async(fn) else _drive(visits, call)
        return _then(driven, lambda: self.result.fit) if inspect.isawaitable(driven) else self.result.fit

    def load(
        self,
        requests: Iterable[Any],
        send: Callable[[Any], Any] | None = None,
        *,
        concurrency: int | None = None,
        rate: float | None = None,
        arrival: str = "poisson",
        seed: int = 0,
        max_in_flight: int | None = None,
    ) -> Any:
        """Send ``requests`` and return their replies in order; a request that raised has its exception there, and the others go on.

        ``concurrency=N`` keeps N under way (closed loop). ``rate=R`` sends R a second (open loop), whatever the server does: at random
        moments drawn from ``seed`` (``arrival="poisson"``) or evenly (``"constant"``), never more than ``max_in_flight`` at a time.
        Times count from when a request was to be sent. Requests are called without arguments, or handed to ``send``: functions in
        threads; coroutine functions in the running loop, and then there is something to await. The marker's ``warmup`` (0 unless it says
        so) and ``rounds`` (1) repeat the list. Raises the first exception where every request failed.
        """
        from pytest_tpf.load.driving import measured
        from pytest_tpf.load.plan import prepare

        self._claim()
        job = prepare(requests, send, concurrency=concurrency, rate=rate, arrival=arrival, seed=seed, max_in_flight=max_in_flight)
        return measured(job, self._measurement.runs(self._progress), self._measurement.keep)

    @contextmanager
    def measure(self, name: str | None = None) -> Iterator[Window]:
        """A window drawn by hand: each is one round of this test, one inside another is part of it.

        ``name`` is kept in the report's ``extra``.
        """
        if name is not None:
            self.extra.setdefault("windows", []).append(name)
        with self._measurement.window():
            yield self

    @contextmanager
    def engine(self, owner: Any, method: str, **reading: Any) -> Iterator[None]:
        """Observe calls of ``owner.method``, an engine nobody knows, while the context is open.

        ``reading`` says how many tokens a reply is, as for ``pytest_tpf.engine``: ``tokens=len``.
        """
        from pytest_tpf.engines.custom import engine

        try:
            observed = engine(owner, method, **reading)
        except pytest.UsageError as error:
            refuse(str(error))
        with observed.observe(self._measurement.ledger.add_generation):
            yield

    def count(self, *, output_tokens: int, prompt_tokens: int | None = None, requests: int = 1) -> None:
        """Count tokens and requests of an engine nobody observes, inside ``fn`` or a window."""
        from pytest_tpf.observation import Counts

        for name, value in (("output_tokens", output_tokens), ("prompt_tokens", prompt_tokens), ("requests", requests)):
            if not is_whole(value, 0) and not (name == "prompt_tokens" and value is None):
                refuse(f"count({name}=...) needs a whole number from 0 up, not {value!r}")
        self._measurement.ledger.add_counts(Counts(output_tokens=output_tokens, prompt_tokens=prompt_tokens, requests=requests))

    def quality(self, score: float | Sequence[bool | float], *, metric: str = "quality", target: float | None = None) -> None:
        """Say what the answers were worth: one score from 0 to 1, or a list with one per request.

        In a list, an entry that reaches ``target`` (by default a full 1.0) is an accepted answer.
        """
        from pytest_tpf.observation import Quality

        entries = _scores(score)
        if not entries or any(not 0 <= entry <= 1 for entry in entries):
            refuse(f"quality(...) needs a score from 0 to 1 or a list of them, not {score!r}")
        listed = not isinstance(score, (int, float))
        self._measurement.quality = Quality(
            value=sum(entries) / len(entries),
            metric=metric,
            samples=len(entries),
            target=target,
            accepted=tuple(entry >= (1.0 if target is None else target) for entry in entries) if listed else None,
        )

    @property
    def result(self) -> TestRecord:
        """What was measured so far. Waits at most one refresh of the slowest counter."""
        return self._measurement.result()

    def _claim(self) -> None:
        if self._measurement.drawn:
            refuse("tpf(...), tpf.load(...), tpf.fit(...) or tpf.measure() was already used in this test: one test is one measurement")


class OffTpf:
    """What a test holds when the plugin is off: everything is called straight through."""

    def __init__(self) -> None:
        self.extra: dict[str, Any] = {}

    def __call__(self, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call ``fn(*args, **kwargs)`` once and return its value (a coroutine where it gives one)."""
        return fn(*args, **kwargs)

    def fit(self, fn: Callable[[int, int], Any], *, prompts: Sequence[int], outputs: Sequence[int]) -> Any:
        """Call ``fn`` once for each point of the grid. Who reads a figure of what comes back skips the rest of the test."""
        calls = [functools.partial(fn, point.prompt_tokens, point.output_tokens) for point in _grid(prompts, outputs)]
        todo = iter(calls)
        driven = _drive((None for _ in calls), lambda: next(todo)())
        return _then(driven, OffFit) if inspect.isawaitable(driven) else OffFit()

    def load(
        self,
        requests: Iterable[Any],
        send: Callable[[Any], Any] | None = None,
        *,
        concurrency: int | None = None,
        rate: float | None = None,
        arrival: str = "poisson",
        seed: int = 0,
        max_in_flight: int | None = None,
    ) -> Any:
        """Send the requests one after the other; replies and exceptions come back as they would."""
        from pytest_tpf.load.driving import straight_through
        from pytest_tpf.load.plan import prepare

        return straight_through(
            prepare(requests, send, concurrency=concurrency, rate=rate, arrival=arrival, seed=seed, max_in_flight=max_in_flight)
        )

    @contextmanager
    def measure(self, name: str | None = None) -> Iterator[Window]:
        """A window that measures nothing."""
        yield self

    @contextmanager
    def engine(self, owner: Any, method: str, **reading: Any) -> Iterator[None]:
        """Observe nothing."""
        yield

    def count(self, *, output_tokens: int, prompt_tokens: int | None = None, requests: int = 1) -> None:
        """Count nothing."""

    def quality(self, score: float | Sequence[bool | float], *, metric: str = "quality", target: float | None = None) -> None:
        """Record nothing."""

    @property
    def result(self) -> TestRecord:
        """There is none: the rest of the test, which would judge it, is skipped."""
        pytest.skip("tpf is off: there is no result to judge")


class OffFit:
    """What a fit is when the plugin is off: none. The rest of the test, which would judge it, is skipped."""

    def __getattr__(self, name: str) -> Any:
        pytest.skip("tpf is off: there is no fit to judge")


def _drive(steps: Generator[None, None, None], call: Callable[[], Any]) -> Any:
    value = None
    try:
        for _ in steps:
            value = call()
            if inspect.isawaitable(value):
                return _drive_async(steps, call, first=value)
    except BaseException:
        steps.close()
        raise
    return value


async def _drive_async(steps: Generator[None, None, None], call: Callable[[], Awaitable[Any]], first: Awaitable[Any] | None = None) -> Any:
    value = None
    try:
        if first is not None:
            value = await first
        for _ in steps:
            value = await call()
    except BaseException:
        steps.close()
        raise
    return value


async def _then(driven: Awaitable[Any], read: Callable[[], Any]) -> Any:
    await driven
    return read()


def _grid(prompts: Sequence[int], outputs: Sequence[int]) -> list[GridPoint]:
    """Each length of prompt with each length of output, in order and once."""
    from pytest_tpf.observation import GridPoint

    for name, lengths in (("prompts", prompts), ("outputs", outputs)):
        if not isinstance(lengths, Sequence) or not lengths or not all(is_whole(length, 1) for length in lengths):
            refuse(f"fit({name}=...) needs a list of whole numbers from 1 up (tokens), not {lengths!r}")
    return [GridPoint(prompt_tokens=p, output_tokens=o) for p in sorted(set(prompts)) for o in sorted(set(outputs))]


def _scores(score: Any) -> list[float]:
    try:
        return [float(score)] if isinstance(score, (int, float)) else [float(entry) for entry in score]
    except (TypeError, ValueError):
        return []
