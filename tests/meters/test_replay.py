"""The replay meter on real files that grow, are cut, or aren't what they should be."""

from __future__ import annotations

import os
import threading
import time

import pytest

from pytest_tpf.meters.protocol import MeterOptions, MeterUnavailable, ReadFault
from pytest_tpf.meters.replay import LARGEST_BYTES, ReplayMeter
from tests.meters.logs import FORMATS, Sample


def open_log(path, offset_s=0.0):
    return ReplayMeter().open(MeterOptions(watched_pid=1, replay=str(path), replay_offset_s=offset_s))


@pytest.fixture
def log(tmp_path):
    return tmp_path / "power.csv"


def recorded(ago_s=5.0, count=40, step_s=0.1, watts=250.0):
    """Readings of one GPU that began some seconds ago."""
    begin = time.time() - ago_s
    return [Sample(begin + n * step_s, 0, watts, watts * n * step_s) for n in range(count)]


def perf(t):
    """The perf_counter of a time of day."""
    return t - time.time() + time.perf_counter()


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_opens_as_a_replayed_device(log, name):
    log.write_text(FORMATS[name](recorded()))
    opened = open_log(log)
    (chosen,) = [channel.info for channel in opened.channels if channel.info.energy]
    assert (chosen.domain, chosen.trust, chosen.meter) == ("gpu:0", "replayed", "replay")
    assert chosen.source.startswith(str(log))
    assert chosen.source.endswith("clock offset +0.000 s")
    assert {channel.info.quantity for channel in opened.channels} == ({"power_w", "energy_j"} if name[0] == "d" else {chosen.quantity})


def test_a_window_is_answered_with_the_readings_around_it(log):
    samples = recorded()
    log.write_text(FORMATS["power"](samples))
    (channel,) = open_log(log).channels
    history = channel.history(perf(samples[10].t), perf(samples[20].t))
    assert history.complete
    assert history.faults == ()
    assert history.period_s == pytest.approx(0.1, rel=0.01)
    assert [reading.value for reading in history.readings] == [250.0] * len(history.readings)
    assert history.readings[0].t_lo < perf(samples[10].t) < perf(samples[20].t) < history.readings[-1].t_hi
    assert len(history.readings) < 25  # not the whole log


def test_the_offset_moves_the_log(log):
    samples = recorded()
    log.write_text(FORMATS["power"](samples))
    readings = {}
    for offset_s in (0.0, 3.25):
        opened = open_log(log, offset_s)
        (channel,) = opened.channels
        readings[offset_s] = channel.history(*(perf(samples[n].t + 0.05 + offset_s) for n in (10, 20))).readings
        assert f"clock offset {offset_s:+.3f} s" in channel.info.source
        assert f"clock offset {offset_s:+.3f} s" in opened.notes[0]
    for here, moved in zip(readings[0.0], readings[3.25], strict=True):
        assert moved.t_lo - here.t_lo == pytest.approx(3.25, abs=0.01)


def test_what_is_appended_is_read_on(log):
    samples = recorded()
    text = FORMATS["energy"](samples).splitlines(keepends=True)
    log.write_text("".join(text[:20]) + text[20][:7])
    (channel,) = open_log(log).channels
    window = perf(samples[10].t), perf(samples[25].t)
    assert not channel.history(*window).complete
    with log.open("a") as file:
        file.write(text[20][7:] + "".join(text[21:]))
    history = channel.history(*window)
    assert history.complete
    assert history.readings[-1].t_hi > window[1]


def test_a_counter_of_the_driver_may_be_old_when_it_is_written(log):
    samples = recorded()
    log.write_text(FORMATS["dcgm"](samples))
    counter = next(channel for channel in open_log(log).channels if channel.info.energy)
    assert counter.info.method == "replay_dcgm_energy_counter"
    assert counter.info.resolution_j == 0.001
    reading = counter.history(perf(samples[10].t), perf(samples[20].t)).readings[0]
    assert reading.t_hi - reading.t_lo == pytest.approx(0.1)


def test_a_clock_set_back_in_the_window_is_a_fault(log):
    samples = recorded()
    jump = [sample._replace(t=sample.t - 1.0) for sample in samples[20:]]
    log.write_text(FORMATS["power"]([*samples[:20], *jump]))
    (channel,) = open_log(log).channels
    (fault,) = channel.history(perf(samples[11].t), perf(samples[15].t)).faults
    assert fault[1] == "clock_stepped"
    assert "set back by 0.9" in fault[2]
    assert channel.history(perf(samples[1].t), perf(samples[5].t)).faults == ()


@pytest.mark.parametrize("change", [lambda path: path.write_text("time_s,power_w\n"), lambda path: path.unlink()])
def test_a_log_that_is_cut_or_goes_away_is_a_fault(log, change):
    samples = recorded()
    log.write_text(FORMATS["power"](samples))
    (channel,) = open_log(log).channels
    change(log)
    with pytest.raises(ReadFault, match=r"power\.csv") as caught:
        channel.history(perf(samples[1].t), perf(samples[5].t))
    assert caught.value.code == "counter_unreadable"


def test_what_is_odd_about_a_log_is_noted(log):
    old = FORMATS["smi"]([Sample(time.time() - 7200 + n, 0, 100.0, 0.0) for n in range(5)])
    log.write_text(old + "rubbish\nmore rubbish\n" + old.splitlines()[-1] + "\n")
    notes = open_log(log).notes
    assert [note.partition(str(log))[2][:24] for note in notes] == [
        ": clock offset +0.000 s;",
        " tells GPUs by name alon",
        ": 2 lines can't be read ",
        ": its last reading is 71",
    ]
    assert "the first is line 7" in notes[2]


def test_a_device_without_any_value_is_unmetered(log):
    log.write_text(FORMATS["smi"](recorded(count=3)) + FORMATS["smi"]([Sample(time.time(), 1, 0.0, 0.0)]).replace("0.00 W", "[N/A]"))
    opened = open_log(log)
    assert [channel.info.domain for channel in opened.channels] == ["gpu:0"]
    assert opened.unmetered == ("gpu:1",)


def test_a_gauge_without_values_leaves_the_next_best(log):
    log.write_text("timestamp, power.draw.instant [W], power.draw [W]\n" + "2026/11/21 05:14:37.123, [N/A], 250.00 W\n")
    (channel,) = open_log(log).channels
    assert (channel.info.method, channel.info.averaging_s) == ("replay_nvidia_smi_power_draw", 1.0)


def test_a_recorder_that_was_only_just_started_is_waited_for(log):
    log.write_text("time_s,power_w\n")
    recorder = threading.Timer(0.5, lambda: log.write_text(f"time_s,power_w\n{time.time()},100\n"))
    recorder.start()
    try:
        assert len(open_log(log).channels) == 1
    finally:
        recorder.join()


def unreadable(path):
    path.write_text("time_s,power_w\n")
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("everything is readable here (root)")


def sparse(path):
    with path.open("wb") as file:
        file.truncate(LARGEST_BYTES + 1)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda path: None, "power.csv can't be read: No such file or directory"),
        (lambda path: path.mkdir(), "power.csv: it is not a file"),
        (os.mkfifo, "power.csv: it is not a file"),
        (unreadable, "power.csv can't be read: Permission denied"),
        (lambda path: path.write_text(""), "power.csv: it holds no reading yet: start recording before the tests"),
        (lambda path: path.write_text("time_s,power_w\nx,y\n"), "power.csv: no line can be read; line 2: 'x' is not a time"),
        (lambda path: path.write_text(f"time_s,power_w\n{time.time()},N/A\n"), "power.csv: none of its readings has a value"),
        (lambda path: path.write_bytes(b"\x7fELF\0\n"), "power.csv: it is not a text file"),
        (sparse, "power.csv: it holds 128 MB, more than 128: start a new log, or cut this one"),
    ],
)
def test_what_cannot_be_replayed_is_said_in_one_line(log, make, said):
    make(log)
    with pytest.raises(MeterUnavailable) as caught:
        open_log(log)
    assert str(caught.value).endswith(said)
    assert "\n" not in str(caught.value)


def test_without_a_log_the_option_is_named():
    with pytest.raises(MeterUnavailable, match="no log is given: --tpf-replay FILE"):
        ReplayMeter().open(MeterOptions(watched_pid=1))
