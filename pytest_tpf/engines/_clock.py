"""When each decoding step was done: a stopping-criteria list that also keeps the time.

``generate`` asks its stopping criteria once a step, right after the step's tokens are appended. The list adds no tensor operation
and no synchronisation: on the CPU it reads the clock, on CUDA it records an event and its time is worked out after the call.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any

from pytest_tpf.records import record


@record
class Steps:
    """The steps of one call: ``times_s`` (host instants), sequence ``lengths`` after each, and the rows ``stopped`` by then."""

    times_s: tuple[float, ...] = ()
    lengths: tuple[int, ...] = ()
    stopped: tuple[Any, ...] = ()


class StepMarks:
    """Collects one mark a step. ``resolve`` turns marks into host times; call it once, after the call."""

    def __init__(self, device: Any) -> None:
        self.device = device
        self.marks: list[Any] = []
        self.lengths: list[int] = []
        self.stopped: list[Any] = []
        self.mark: Callable[[], Any] = time.perf_counter if device.type != "cuda" else self._cuda_event

    def step(self, length: int, stopped: Any) -> None:
        """A step is done: the sequences are ``length`` long and the rows in ``stopped`` (bool tensor) go no further."""
        self.marks.append(self.mark())
        self.lengths.append(length)
        self.stopped.append(stopped)

    def resolve(self) -> Steps:
        """The steps with host times (``time.perf_counter`` seconds). On CUDA it waits for the device."""
        times_s = self._cuda_times_s() if self.device.type == "cuda" and self.marks else self.marks
        return Steps(times_s=tuple(times_s), lengths=tuple(self.lengths), stopped=tuple(self.stopped))

    def _cuda_event(self) -> Any:
        import torch

        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self.device))
        return event

    def _cuda_times_s(self) -> list[float]:
        anchor = self._cuda_event()
        anchor.synchronize()
        anchor_s = time.perf_counter()
        return host_times_s(anchor_s, [event.elapsed_time(anchor) for event in self.marks])


def host_times_s(anchor_s: float, before_anchor_ms: Sequence[float]) -> list[float]:
    """Host instants (s) of events that lie so many milliseconds before an event whose host instant is ``anchor_s``."""
    return [anchor_s - elapsed_ms * 1e-3 for elapsed_ms in before_anchor_ms]


def clocked(criteria: Iterable[Any], marks: StepMarks) -> Any:
    """The same stopping criteria in a list that also writes to ``marks``. Needs transformers imported.

    A list that is clocked already (two observers at once) goes on writing to its own marks, too.
    """
    clocked_list = _clocked_type()(criteria)
    clocked_list.clocks = (*getattr(criteria, "clocks", ()), marks)
    return clocked_list


@cache
def _clocked_type() -> type:
    from transformers.generation.stopping_criteria import StoppingCriteriaList

    class ClockedCriteria(StoppingCriteriaList):  # type: ignore[misc]
        clocks: tuple[StepMarks, ...]

        def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
            stopped = super().__call__(input_ids, scores, **kwargs)
            for clock in self.clocks:
                clock.step(input_ids.shape[1], stopped)
            return stopped

    return ClockedCriteria
