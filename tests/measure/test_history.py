"""Channels that are asked afterwards: beside live ones in the real helper process, and the machine's clock that may step."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_tpf.measure.energy import energy_of_spans
from pytest_tpf.measure.history import HistoryReader
from pytest_tpf.measure.sampler import Sampler
from pytest_tpf.measure.trace import Recording
from pytest_tpf.meters.protocol import Channel, History, MeterOptions, Reading
from pytest_tpf.meters.wall_clock import STEP_S, ClockWatch, Offset, wall_offset
from tests.measure.recorder import EVERY_S, POWER_W, install
from tests.measure.simulated import channel

Recorder = Callable[..., tuple[Sampler, Path]]


@pytest.fixture
def recorder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorder]:
    started: list[Sampler] = []

    def begin(**behaviour: object) -> tuple[Sampler, Path]:
        calls = install(tmp_path, monkeypatch, **behaviour)
        started.append(Sampler(["recorder"], MeterOptions(watched_pid=os.getpid())))
        started[-1].start()
        return started[-1], calls

    yield begin
    for sampler in started:
        sampler.close()


def window(sampler: Sampler, length_s: float = 0.4) -> tuple[Recording, tuple[float, float]]:
    t0 = time.perf_counter()
    time.sleep(length_s)
    t1 = time.perf_counter()
    return sampler.collect(t0, t1), (t0, t1)


def test_what_a_source_tells_afterwards_is_measured_beside_live_counters(recorder):
    sampler, calls = recorder(lag_s=0.3)
    assert sampler.arm() == ()
    assert not calls.exists()  # arming asks nothing and waits for nothing that is asked afterwards
    recording, span = window(sampler)
    powers = {t.channel.domain: energy_of_spans(t, [span]).joules / (span[1] - span[0]) for t in recording.traces}
    assert powers == pytest.approx({"cpu:0": 100.0, "fan:0": POWER_W, "dram:0": 10.0}, rel=1e-3)
    assert len(calls.read_text().splitlines()) > 1  # the first answers ended before the window did
    assert recording.traces[1].period_s == EVERY_S
    assert sampler.measured_periods()["recorder:fan:0"] == EVERY_S
    assert sampler.read_times()["recorder:fan:0"] > 0


def test_live_counters_are_read_while_a_source_is_waited_for(recorder):
    sampler, _ = recorder(slow_s=0.5)
    sampler.arm()
    recording, (t0, t1) = window(sampler, 0.1)
    assert recording.traces[1].edges
    waited_for = sampler.collect(t0, time.perf_counter()).traces[0].edges
    assert sum(t1 < edge.t < t1 + 0.5 for edge in waited_for) >= 10  # of about 50 reads in the time that the answer took


@pytest.mark.parametrize(
    ("behaviour", "code"),
    [({"faults": True}, "device_lost"), ({"raises": True}, "counter_unreadable"), ({"hangs": True, "patience_s": 0.3}, "source_late")],
)
def test_a_source_that_fails_costs_its_own_energy_alone(recorder, behaviour, code):
    sampler, _ = recorder(**behaviour)
    sampler.arm()
    for _ in range(2):  # a source that hangs is still hanging the second time
        recording, span = window(sampler, 0.2)
        found = {t.channel.domain: energy_of_spans(t, [span]) for t in recording.traces}
        assert found["fan:0"].joules is None
        assert code in found["fan:0"].reasons
        assert found["cpu:0"].joules == pytest.approx(100.0 * (span[1] - span[0]), rel=1e-3)
    assert sampler.lost is None


def test_readings_that_do_not_come_in_time_leave_the_window_unbracketed(recorder):
    sampler, _ = recorder(lag_s=3600.0, patience_s=0.3)
    sampler.arm()
    recording, span = window(sampler, 0.1)
    assert energy_of_spans(recording.traces[1], [span]).reasons == ("not_bracketed",)


def test_a_channel_has_exactly_one_way_to_be_read():
    for given in ({}, {"read": lambda: 0.0, "history": lambda t0, t1: History(complete=True)}):
        with pytest.raises(ValueError, match="either read or history"):
            Channel(channel(), **given)


def test_a_reading_that_is_no_number_is_left_out():
    readings = tuple(Reading(t_lo=t, t_hi=t, value=float("nan") if t == 2 else t) for t in (1.0, 2.0, 3.0))
    reader = HistoryReader(Channel(channel(), history=lambda t0, t1: History(readings=readings, complete=True)))
    question = answered(reader)
    assert len(reader.row(question)[0]) == 2 * 8


def test_a_clock_that_steps_spoils_what_it_placed():
    clock = [0.0]
    source = Channel(channel(wall_clock=True), history=lambda t0, t1: History(readings=(Reading(t_lo=0, t_hi=1, value=1),), complete=True))
    reader = HistoryReader(source)
    reader._watch = ClockWatch(lambda: Offset(t=time.perf_counter(), offset_s=clock[0], half_width_s=0.0))
    reader.arm()
    assert reader.row(answered(reader))[3] == []
    clock[0] += 2 * STEP_S
    lo, _, _, faults, _, _ = reader.row(answered(reader, began_s_ago=1.0))
    assert lo == b""
    assert [code for _, code, _ in faults] == ["clock_stepped"]
    assert reader.row(answered(reader))[3] == []  # a window that began after the step is well


def test_a_clock_that_is_slewed_has_not_stepped():
    offsets = iter([Offset(t=0.0, offset_s=5.0, half_width_s=0.0), Offset(t=100.0, offset_s=5.05, half_width_s=0.0)])
    watch = ClockWatch(lambda: next(offsets))
    assert [watch.look().offset_s, watch.look().offset_s] == [5.0, 5.05]
    assert watch.stepped_since(0.0) is None


def test_the_offset_turns_one_clock_into_the_other():
    offset = wall_offset()
    lo, wall, hi = time.perf_counter(), time.time(), time.perf_counter()
    assert lo - 0.02 <= wall - offset.offset_s <= hi + 0.02


def answered(reader: HistoryReader, began_s_ago: float = 0.0):
    now = time.perf_counter()
    question = reader.ask(now - began_s_ago, now)
    while not question.over:
        time.sleep(0.001)
    return question
