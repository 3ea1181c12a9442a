"""The rounds of ``tpf(fn)`` on a meter that is known: what they cost decides what is warm-up, not only how long they take."""

from __future__ import annotations

import dataclasses
import time

from pytest_tpf.evaluate import evaluate
from pytest_tpf.markers import Marker
from pytest_tpf.measure.rounds import MIN_ROUNDS, Effort
from pytest_tpf.measure.trace import Edge
from pytest_tpf.measurement import Measurement
from pytest_tpf.observation import Counts
from pytest_tpf.records import TestRecord
from tests.evaluate.runs import IDENTITY, context, trace

ROUND_S = 0.02


class Meter:
    """A bench whose power falls from 1000 W to 100 W at the end of a counted round, and a test of equal calls."""

    def __init__(self, effort: Effort, costly_rounds: int) -> None:
        self.measurement = Measurement("test_it", Marker(), effort, self)
        self._costly_rounds = costly_rounds
        self.falls_at_s: float | None = None

    def synchronize(self) -> None:
        pass

    def stagger(self) -> None:
        pass

    def shortest_window_s(self) -> float:
        return 0.001

    def asks_for_more(self, measurement: Measurement) -> bool:
        return False

    def evaluate(self, measurement: Measurement, refreshes: int = 1) -> TestRecord:
        seen = measurement.observation()
        if self.falls_at_s is None and len(seen.rounds) >= self._costly_rounds:
            self.falls_at_s = seen.rounds[self._costly_rounds - 1].end_s
        start_s, fall_s = seen.call[0] - 1.0, self.falls_at_s or float("inf")
        times = [start_s + 0.001 * i for i in range(round((time.perf_counter() - start_s) / 0.001) + 2)]
        edges = tuple(Edge(t_lo=t, t_hi=t, joules=100.0 * (t - start_s) + 900.0 * (min(t, fall_s) - start_s)) for t in times)
        known = context(dataclasses.replace(trace(), edges=edges, period_s=0.001))
        return evaluate(seen, IDENTITY, Marker(), known, {})

    def run(self) -> TestRecord:
        self.measurement.start_call()
        for _ in self.measurement.rounds(lambda record, done, wanted: None):
            time.sleep(ROUND_S)
            self.measurement.ledger.add_counts(Counts(output_tokens=5))
        self.measurement.end_run()
        return self.measurement.result()


def effort(**changes) -> Effort:
    return Effort(**{"rounds": None, "warmup": 1, "max_time_s": 1.0, "target_ci": 0.001, **changes})


def test_rounds_that_only_cost_more_are_warm_up():
    meter = Meter(effort(), costly_rounds=3)
    found = meter.run()
    assert found.conditions.dropped_rounds >= 3
    assert meter.measurement.observation().rounds[0].start_s >= meter.falls_at_s
    assert len(found.rounds) >= MIN_ROUNDS
    assert found.workload.warmup_rounds == 1 + found.conditions.dropped_rounds


def test_a_fixed_number_of_rounds_is_never_dropped_from():
    found = Meter(effort(rounds=14), costly_rounds=3).run()
    assert (len(found.rounds), found.conditions.dropped_rounds) == (14, 0)
    assert "warming_up" in found.conditions.flags


def test_little_time_leaves_the_rounds_there_are():
    found = Meter(effort(max_time_s=0.001), costly_rounds=1).run()
    assert (len(found.rounds), found.conditions.dropped_rounds) == (MIN_ROUNDS, 0)
