"""The measuring side of a run: one sampler, the engines, the run's facts; it turns measurements into records."""

from __future__ import annotations

import dataclasses
import functools
import math
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pytest_tpf.engines.protocol import Engine, Generation
from pytest_tpf.engines.registry import load_engines, observing
from pytest_tpf.evaluate import evaluate
from pytest_tpf.evaluate.context import Context, Identity, IdlePower
from pytest_tpf.evaluate.idle import idle_power
from pytest_tpf.idle import IdleWatch
from pytest_tpf.judge.regression import NEEDED
from pytest_tpf.machine import cpu_busy_share
from pytest_tpf.measure.crosscheck import sees_part_of_time
from pytest_tpf.measure.energy import shortest_window_s
from pytest_tpf.measure.exclusive import Turn, exclusive
from pytest_tpf.measure.gauge import SLOWEST_REFRESH_S
from pytest_tpf.measure.rounds import MIN_ROUNDS, Effort
from pytest_tpf.measure.sampler import Sampler, SamplerUnavailable
from pytest_tpf.measure.trace import Recording
from pytest_tpf.measurement import Measurement
from pytest_tpf.meters._process_tree import family
from pytest_tpf.meters.protocol import MeterOptions
from pytest_tpf.observation import Surroundings
from pytest_tpf.production.calibration import Calibration, cpu_key, gpu_key, load_calibration
from pytest_tpf.records import Facility, TestRecord
from pytest_tpf.report.environment import fingerprint_here, imported_software
from pytest_tpf.runfacts import RunFacts
from pytest_tpf.servers import Servers

if TYPE_CHECKING:
    from pytest_tpf.comparing import Comparing
    from pytest_tpf.markers import Marker
    from pytest_tpf.settings import Settings

IDLE_WINDOW_S = 0.4
LOCK_LIMIT_S = 600.0  # how long to wait for another process's measured test to end
IMPATIENT_S = 10.0  # the same once it did not end: somebody who keeps a device for good costs the run ten minutes once, not at every test
WORTH_A_NOTE_S = 10.0  # a longer wait for another process's turn is told
LEAST_ROUND_S = 0.05


class Session:
    """Measures tests in this process. The sampler starts with the first measured test, not before."""

    def __init__(
        self, settings: Settings, facility: Facility, extra_engines: Sequence[Engine] = (), comparing: Comparing | None = None
    ) -> None:
        self._settings = settings
        self._comparing = comparing
        self._facility = facility
        self._engines = list({engine.name: engine for engine in (*load_engines(settings.tokenizer), *extra_engines)}.values())
        self._sampler = Sampler(settings.meter, options := _meter_options(settings))
        self._roots = options.roots
        self._servers = Servers(self._roots)
        self._no_meter: str | None = None
        self._idle = IdleWatch(self._measure_idle)
        self._was_contended = False
        self._shortest_s: float | None = None
        self._stagger_s = 0.0
        self._kept: dict[str, Calibration | None] = {}
        self.facts = RunFacts()

    # --- life ---------------------------------------------------------------------------------------------------------

    def launch(self) -> None:
        """Begin to open the meters, without waiting: ``start`` does."""
        try:
            self._sampler.launch()
        except SamplerUnavailable as error:
            self._no_meter = str(error)

    def start(self) -> None:
        """Open the meters; where there is none, remember why: tests still run, their energy is null with that reason."""
        try:
            info = self._sampler.start()
        except SamplerUnavailable as error:
            self._no_meter = str(error)
            self.facts = RunFacts(notes=(str(error),))
            return
        is_part_time = any(channel.energy and sees_part_of_time(channel, SLOWEST_REFRESH_S) for channel in info.channels)
        self._stagger_s = SLOWEST_REFRESH_S if is_part_time else 0.0
        self.facts = RunFacts(meters=info.meters, accelerators=info.accelerators, unmetered=info.unmetered, notes=info.notes)

    def close(self) -> None:
        """Let the sampler go, and what tests were compared with."""
        self._sampler.close()
        if self._comparing is not None:
            self._comparing.close()

    def current_facts(self) -> RunFacts:
        """The facts as known by now: with the refresh periods that were measured and the software imported meanwhile."""
        periods = {} if self._no_meter else self._sampler.measured_periods()
        meters = tuple(dataclasses.replace(meter, update_period_s=periods.get(meter.id)) for meter in self.facts.meters)
        return dataclasses.replace(self.facts, meters=meters, software=imported_software())

    @property
    def only_estimates(self) -> bool:
        """Whether nothing is metered but by estimates."""
        return all(meter.trust == "estimated" for meter in self.facts.meters)

    # --- one test -----------------------------------------------------------------------------------------------------

    def effort(self, marker: Marker) -> Effort:
        """How much to measure: marker over settings."""
        ours = self._settings
        return Effort(
            rounds=marker.rounds if marker.rounds is not None else None if marker.target_ci is not None else ours.rounds,
            warmup=ours.warmup if marker.warmup is None else marker.warmup,
            max_time_s=ours.max_time if marker.max_time_s is None else marker.max_time_s,
            target_ci=ours.target_ci if marker.target_ci is None else marker.target_ci,
            least=NEEDED if ours.compares or ours.save is not None else MIN_ROUNDS,
        )

    @contextmanager
    def sampling(self, measurement: Measurement, say: Callable[[str], None] = lambda text: None) -> Iterator[None]:
        """Around a test's body: its devices are this process's alone, engines are observed and the meters sampled.

        ``say`` is told whom a wait for the devices is for.
        """
        shared = self._shared_devices()
        limit_s = min(LOCK_LIMIT_S, IMPATIENT_S) if self._was_contended else LOCK_LIMIT_S
        with exclusive(list(shared), limit_s, say=say) as turn:
            self._was_contended = bool(turn.contended)
            measurement.contended = tuple(shared[device] for device in turn.contended)
            self._arm()
            measurement.surroundings = Surroundings(
                before=self._sampler.processes(time.perf_counter() - 1.0),
                unlocked=tuple(f"{shared[device]} could be measured by others meanwhile: {why}" for device, why in turn.unlocked.items()),
                notes=_notes_on(turn, shared, limit_s),
            )
            self._servers = servers = Servers(self._roots)

            def take(generation: Generation) -> None:
                servers.note(generation)
                measurement.ledger.add_generation(generation)

            try:
                with observing(self._engines, take):
                    yield
            finally:
                measurement.add_late()
                self._sampler.rest()

    def _shared_devices(self) -> dict[str, str]:
        """Domains, by device, that no two processes may measure at once. An estimate follows its own process tree and shares nothing."""
        meters = [meter for meter in self.facts.meters if meter.trust != "estimated"]
        return {meter.device or f"{platform.node()}-{meter.domain}": meter.domain for meter in meters}

    def synchronize(self) -> None:
        """Wait until accelerators have done what they were given."""
        for engine in self._engines:
            engine.synchronize()

    def stagger(self) -> None:
        """Wait for a random part of a refresh where an energy comes from a gauge that sees part of the time."""
        if self._stagger_s:
            time.sleep(self._stagger_s * int.from_bytes(os.urandom(4)) / 2**32)  # the test's own random numbers stay untouched

    def shortest_window_s(self) -> float:
        """The shortest round that the meters can tell to the target interval (s)."""
        if self._shortest_s is None:
            self._shortest_s = max(LEAST_ROUND_S, self._resolvable_s())
        return self._shortest_s

    def evaluate(self, measurement: Measurement, refreshes: int = 1) -> TestRecord:
        """The record of what was measured so far; waits for ``refreshes`` of the slowest counter (two tell the end more exactly)."""
        observation = measurement.observation()
        recording = self._collect(*observation.call, refreshes)
        identity = Identity(
            nodeid=measurement.nodeid,
            group=measurement.marker.group,
            labels=measurement.marker.labels,
            params=measurement.params,
        )
        after = self._sampler.processes(observation.call[0]) if recording is not None else None
        surroundings = dataclasses.replace(measurement.surroundings, after=after)
        context = self._context(recording, measurement.contended, surroundings)
        return evaluate(observation, identity, measurement.marker, context, measurement.extra)

    def asks_for_more(self, measurement: Measurement) -> bool:
        """Whether what was measured looks worse than it was, or is to be accepted, so that it is measured once more."""
        return self._comparing is not None and self._comparing.asks_for_more(self.evaluate(measurement), self.fingerprint)

    def compared(self, test: TestRecord, measurement: Measurement) -> TestRecord:
        """The record with what became of the test since it was measured before."""
        if self._comparing is None:
            return test
        return dataclasses.replace(test, regression=self._comparing.compared(test, self.fingerprint, measurement.remeasured_rounds))

    @functools.cached_property
    def fingerprint(self) -> str:
        """This machine's hardware fingerprint; known once the meters are open."""
        return fingerprint_here(self.facts.accelerators)

    # --- the sampler --------------------------------------------------------------------------------------------------

    def _arm(self) -> None:
        if self._no_meter is not None:
            return
        self._sampler.arm()
        self._idle.refresh(family(*self._roots))
        self._sampler.forget_before(time.perf_counter() - 1.0)

    def _collect(self, start_s: float, end_s: float, refreshes: int = 1) -> Recording | None:
        return None if self._no_meter is not None else self._sampler.collect(start_s, end_s, refreshes)

    def _measure_idle(self) -> IdlePower:
        """Power while this process does nothing, just before a measured test."""
        start_s, busy_share = time.perf_counter(), cpu_busy_share(IDLE_WINDOW_S)
        end_s = time.perf_counter()
        recording = self._sampler.collect(start_s, end_s)
        return idle_power(recording, (start_s, end_s), busy_share, self._sampler.processes(start_s) or ())

    def _resolvable_s(self) -> float:
        now_s = time.perf_counter()
        recording = self._collect(now_s - 1.0, now_s)
        if recording is None:
            return 0.0
        lengths = [shortest_window_s(t, self._settings.target_ci) for t in recording.traces if t.channel.energy]
        return max((length for length in lengths if length is not None and math.isfinite(length)), default=0.0)

    def _calibrations(self) -> dict[str, Calibration]:
        """What `tpf calibrate` has kept of this machine, by device: ``cpu`` and the boards' UUIDs."""
        keys = {"cpu": cpu_key()} | {board.uuid: gpu_key(board.uuid, board.driver_version) for board in self.facts.accelerators}
        for key in keys.values():
            if key not in self._kept:
                self._kept[key] = load_calibration(key)
        return {device: kept for device, key in keys.items() if (kept := self._kept[key]) is not None}

    def _context(self, recording: Recording | None, contended: tuple[str, ...], surroundings: Surroundings) -> Context:
        return Context(
            facility=self._facility,
            idle=self._idle.latest or IdlePower(total_w=None, reason=self._no_meter),
            unmetered=self.facts.unmetered,
            accelerators=self.facts.accelerators,
            calibrations=self._calibrations(),
            operations_threshold=self._settings.operations_threshold,
            recording=recording,
            contended=contended,
            servers=self._servers.known,
            no_meter=self._no_meter,
            surroundings=surroundings,
        )


def _notes_on(turn: Turn, domains: Mapping[str, str], limit_s: float) -> tuple[str, ...]:
    """Who kept the devices, or kept us waiting; xdist's workers wait for each other all the time."""
    notes = [f"{owner} measured {domains[device]} for more than {limit_s:.0f} s" for device, owner in turn.contended.items()]
    if turn.waited_s >= WORTH_A_NOTE_S and not turn.contended and "PYTEST_XDIST_WORKER" not in os.environ:
        notes.append(f"waited {turn.waited_s:.0f} s for {turn.waited_for} to finish measuring")
    return tuple(notes)


def _meter_options(settings: Settings) -> MeterOptions:
    return MeterOptions(
        watched_pid=os.getpid(),
        also_watched=settings.watch,
        cpu_tdp_w=settings.cpu_tdp,
        prometheus=settings.prometheus,
        ray=(settings.ray or os.environ.get("RAY_ADDRESS")) if "ray" in settings.meter else None,
        replay=settings.replay,
        replay_offset_s=settings.replay_offset,
    )
