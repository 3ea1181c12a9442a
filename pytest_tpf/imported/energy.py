"""What meters that keep a history tell of a time that has passed: a power log, a Prometheus server."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import time
from collections.abc import Iterator, Sequence

from pytest_tpf.measure.crosscheck import with_swing
from pytest_tpf.measure.history import HistoryReader
from pytest_tpf.measure.sampler import meter_infos, trace_of
from pytest_tpf.measure.trace import Recording, Span
from pytest_tpf.measure.window import placeable
from pytest_tpf.meters.protocol import MeterOptions, MeterUnavailable, Opened
from pytest_tpf.meters.registry import open_meters
from pytest_tpf.records import Accelerator, MeterInfo, record

_LOOK_S = 0.01


@record
class Sources:
    """Where the energy is to come from: a power log with what to add to its times (s), a server; both None: from nowhere."""

    replay: str | None = None
    replay_offset_s: float = 0.0
    prometheus: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The meters that are meant."""
        return tuple(name for name, given in (("replay", self.replay), ("prometheus", self.prometheus)) if given is not None)


class Keepers:
    """The opened meters. Times are ``perf_counter`` seconds; those before this process began are asked for all the same."""

    def __init__(self, opened: Sequence[Opened], notes: Sequence[str]) -> None:
        self._readers = [HistoryReader(channel) for found in opened for channel in found.channels]
        self.meters: tuple[MeterInfo, ...] = meter_infos(reader.info for reader in self._readers)
        self.accelerators: tuple[Accelerator, ...] = tuple(board for found in opened for board in found.accelerators)
        self.unmetered = tuple(dict.fromkeys(name for found in opened for name in found.unmetered))
        self.notes = tuple(dict.fromkeys((*notes, *(note for found in opened for note in found.notes))))

    def recording(self, span: Span, misplaced_s: float) -> Recording:
        """What they kept around ``span``, wherever within ``misplaced_s`` it may have been. Waits until the last one has answered."""
        questions = [reader.ask(span[0] - misplaced_s, span[1] + misplaced_s) for reader in self._readers]
        while not all(question.over for question in questions):
            time.sleep(_LOOK_S)
        rows = [reader.row(question) for reader, question in zip(self._readers, questions, strict=True)]
        traces = [trace_of(reader.info, *row) for reader, row in zip(self._readers, rows, strict=True)]
        return placeable(Recording(traces=with_swing(tuple(traces))), [span], misplaced_s)

    def measured_meters(self) -> tuple[MeterInfo, ...]:
        """The report's entries, with the refresh periods that were seen."""
        periods = {reader.info.domain: reader.stats()[0] for reader in self._readers if reader.info.energy}
        return tuple(dataclasses.replace(meter, update_period_s=periods.get(meter.domain)) for meter in self.meters)


@contextlib.contextmanager
def opened(sources: Sources, past: Span) -> Iterator[Keepers]:
    """The meters of ``sources``, opened for the time from ``past[0]`` to ``past[1]`` (Unix seconds). Raises MeterUnavailable."""
    options = MeterOptions(
        watched_pid=os.getpid(),
        prometheus=sources.prometheus,
        replay=sources.replay,
        replay_offset_s=sources.replay_offset_s,
        past_from_s=past[0],
        past_until_s=past[1],
    )
    pairs, notes = open_meters(sources.names, options)
    try:
        live = [channel.info.domain for _, found in pairs for channel in found.channels if channel.history is None]
        if live:
            raise MeterUnavailable(f"{', '.join(live)}: this meter tells what is now, not what was")
        yield Keepers([found for _, found in pairs], notes)
    finally:
        for meter, _ in pairs:
            meter.close()
