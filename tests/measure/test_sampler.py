"""The sampler with its real helper process: over the NVML stand-in, whose energy is known, and over a third party's meter."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_tpf.measure import sampler as sampler_module
from pytest_tpf.measure.energy import DomainEnergy, energy_of_spans
from pytest_tpf.measure.power import power_stats
from pytest_tpf.measure.sampler import Sampler, SamplerUnavailable
from pytest_tpf.measure.trace import Recording
from pytest_tpf.meters.protocol import MeterOptions
from tests.measure.third_party import POWER_W, install
from tests.standin import SW_POWER_CAP, Board, Standin, many_boards

Start = Callable[..., Sampler]


@pytest.fixture
def start() -> Iterator[Start]:
    started: list[Sampler] = []

    def begin(*meters: str, linger_s: float = 1.0) -> Sampler:
        sampler = Sampler(meters, MeterOptions(watched_pid=os.getpid()), linger_s)
        started.append(sampler)
        sampler.start()
        return sampler

    yield begin
    for sampler in started:
        sampler.close()


@pytest.fixture
def over(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Sampler]:
    """A sampler of the meter ``nvml`` over stand-in boards."""

    def begin(*boards: Board, **more: object) -> Sampler:
        for name, value in Standin(boards=boards, **more).environment(tmp_path).items():
            monkeypatch.setenv(name, value)
        return start("nvml")

    return begin


@pytest.fixture
def known(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Sampler]:
    """A sampler of a third party's meter that behaves as told."""

    def begin(linger_s: float = 1.0, **behaviour: object) -> Sampler:
        install(tmp_path, monkeypatch, **behaviour)
        return start("known", linger_s=linger_s)

    return begin


def window(sampler: Sampler, length_s: float = 0.25, edges_after: int = 2) -> tuple[Recording, tuple[float, float]]:
    t0 = time.perf_counter()
    time.sleep(length_s)
    t1 = time.perf_counter()
    return sampler.collect(t0, t1, edges_after), (t0, t1)


def energies(recording: Recording, span: tuple[float, float]) -> dict[str, DomainEnergy]:
    return {trace.channel.domain: energy_of_spans(trace, [span]) for trace in recording.traces if trace.channel.energy}


def covers(energy: DomainEnergy, true_j: float) -> bool:
    return energy.joules is not None and abs(energy.joules - true_j) <= 4 * energy.uncertainty_j


def test_boards_of_known_power_are_measured_within_their_uncertainty(over):
    boards = many_boards(2, shape="square", base_w=150.0, swing_w=150.0, period_s=0.8, counter_period_s=0.02)
    sampler = over(*boards)
    assert [meter.id for meter in sampler.start().meters] == ["nvml:gpu:0", "nvml:gpu:1"]
    assert [board.name for board in sampler.start().accelerators] == [board.name for board in boards]
    assert sampler.arm() == ()
    for _ in range(4):
        recording, span = window(sampler)
        found = energies(recording, span)
        assert [covers(found[f"gpu:{i}"], board.true_energy_j(*span)) for i, board in enumerate(boards)] == [True, True], found
    assert sampler.measured_periods() == pytest.approx({"nvml:gpu:0": 0.02, "nvml:gpu:1": 0.02}, rel=0.2)
    assert 0 < sampler.cpu_share() < 2


def test_arming_waits_until_a_job_that_starts_at_once_can_be_placed_inside_its_refresh(over):
    sampler = over(Board(counter_period_s=0.1))
    assert sampler.arm() == ()
    recording, (t0, _) = window(sampler, 0.01)
    assert sum(edge.t <= t0 for edge in recording.traces[0].edges) >= 2  # the power before the window's first refresh is known


def test_a_job_that_starts_and_stops_inside_refreshes_keeps_its_energy(over):
    begins = time.perf_counter() + 1.5
    board = Board(shape="step", base_w=100.0, swing_w=300.0, step_at_s=begins, step_until_s=begins + 0.25, counter_period_s=0.1)
    sampler = over(board)
    sampler.arm()
    assert time.perf_counter() < begins, "the machine is too slow for this test's clock"
    time.sleep(begins + 0.25 - time.perf_counter())
    span = (begins, begins + 0.25)
    assert covers(energies(sampler.collect(*span), span)["gpu:0"], board.true_energy_j(*span))


def test_the_main_thread_may_hold_the_interpreter_lock(over):
    board = Board(base_w=321.0, counter_period_s=0.02)
    sampler = over(board)
    sampler.arm()
    t0 = time.perf_counter()
    while time.perf_counter() < t0 + 0.4:
        sum(range(50_000))
    t1 = time.perf_counter()
    recording = sampler.collect(t0, t1)
    assert covers(energies(recording, (t0, t1))["gpu:0"], board.true_energy_j(t0, t1))
    inside = [edge for edge in recording.traces[0].edges if t0 < edge.t < t1]
    assert len(inside) >= 10  # of about 20 refreshes: a thread beside this loop would have been starved


def test_a_board_that_is_lost_or_starts_anew_gives_a_reason_and_no_energy(over):
    soon = time.perf_counter() + 1.5
    lost, reset, well = many_boards(3, counter_period_s=0.02, power_supported=False)
    boards = (dataclasses.replace(lost, lost_at_s=soon), dataclasses.replace(reset, reset_at_s=soon, energy_offset_j=1e6), well)
    sampler = over(*boards)
    sampler.arm()
    assert time.perf_counter() < soon, "the machine is too slow for this test's clock"
    recording, span = window(sampler, soon - time.perf_counter() + 0.2)
    found = energies(recording, span)
    assert "device_lost" in found["gpu:0"].reasons
    assert found["gpu:0"].joules is None
    assert found["gpu:1"].reasons == ("counter_reset",)
    assert covers(found["gpu:2"], well.true_energy_j(*span))
    later, later_span = window(sampler)
    assert covers(energies(later, later_span)["gpu:1"], reset.base_w * (later_span[1] - later_span[0]))
    assert "device_lost" in energies(later, later_span)["gpu:0"].reasons


def test_slow_evidence_is_recorded_beside_the_energy(over):
    board = Board(base_w=650.0, counter_period_s=0.02, power_limit_w=650.0, clock_reasons=SW_POWER_CAP, utilization_percent=80)
    sampler = over(board)
    sampler.arm()
    recording, span = window(sampler, 0.4)
    stats = power_stats(recording.traces, recording.statuses, [span])
    assert stats.utilization == pytest.approx(0.8)
    assert stats.power.limit_w == 650.0
    assert stats.power.mean_w == pytest.approx(650.0, rel=0.05)
    assert stats.power.headroom == pytest.approx(0.0, abs=0.05)
    assert list(stats.power.clock_reasons.values()) == [pytest.approx(1.0)]


def test_no_driver_is_one_clear_line(over):
    with pytest.raises(SamplerUnavailable, match=r"^nvml: the NVIDIA driver is not loaded") as caught:
        over(init_error=9)
    assert "\n" not in str(caught.value)


def test_a_third_partys_meter_is_sampled_like_our_own(known):
    sampler = known()
    info = sampler.start()
    assert [channel.method for channel in info.channels] == ["known"]
    assert "the known meter is open" in info.notes
    assert info.unmetered == ()  # a whole machine has no part that is not metered
    assert sampler.arm() == ()
    recording, span = window(sampler)
    assert energies(recording, span)["node"].joules == pytest.approx(POWER_W * (span[1] - span[0]), rel=0.01)


def test_what_a_library_prints_does_not_disturb(known):
    sampler = known(print=True)
    sampler.arm()
    recording, span = window(sampler, 0.1)
    assert energies(recording, span)["node"].valid


def test_a_meter_without_status_still_measures(known):
    sampler = known(bad_status=True)
    sampler.arm()
    recording, span = window(sampler, 0.1)
    assert energies(recording, span)["node"].valid


@pytest.mark.parametrize(
    ("behaviour", "reason"), [("lost_at", "device_lost"), ("raise_at", "counter_unreadable"), ("nan_at", "counter_unreadable")]
)
def test_a_meter_that_fails_in_a_window_says_why(known, behaviour, reason):
    sampler = known(**{behaviour: time.perf_counter() + 1.0})
    sampler.arm()
    recording, span = window(sampler, 1.2)
    assert reason in energies(recording, span)["node"].reasons
    assert sampler.arm() == ("node",)


def test_a_meter_that_starts_anew_in_a_window_gives_no_energy(known):
    sampler = known(reset_at=time.perf_counter() + 1.0)
    sampler.arm()
    recording, span = window(sampler, 1.2)
    assert energies(recording, span)["node"].reasons == ("counter_reset",)


def test_an_unknown_or_unavailable_meter_is_one_clear_line(start, known):
    with pytest.raises(SamplerUnavailable, match="there is no meter 'nvlm', did you mean 'nvml'"):
        start("nvlm")
    with pytest.raises(SamplerUnavailable, match="known: plug it in"):
        known(unavailable="plug it in")


def test_a_helper_that_dies_at_the_start_leaves_its_last_words(known):
    with pytest.raises(SamplerUnavailable, match=r"exit status 3\): the meter's firmware gave up"):
        known(exit=3)


def test_a_killed_helper_costs_one_measurement_and_nothing_else(known):
    sampler = known()
    sampler.arm()
    os.kill(sampler.pid, signal.SIGKILL)
    recording, span = window(sampler, 0.05)
    energy = energies(recording, span)["node"]
    assert (energy.joules, energy.reasons) == (None, ("not_bracketed", "sampler_lost"))
    assert "exit status -9" in sampler.lost
    assert sampler.cpu_share() is None
    assert sampler.measured_periods() == {"known:node": None}
    sampler.rest()
    sampler.forget_before(0.0)
    assert sampler.arm() == ()
    recording, span = window(sampler, 0.1)
    assert energies(recording, span)["node"].joules == pytest.approx(POWER_W * (span[1] - span[0]), rel=0.01)
    assert [fault.text for fault in recording.traces[0].faults] == [
        "the sampler's process stopped (exit status -9); another one took its place"
    ]


def test_a_helper_that_hangs_is_given_up_and_ended(known, monkeypatch):
    monkeypatch.setattr(sampler_module, "_ANSWER_LIMIT_S", 0.2)
    sampler = known(hang_at=0.0)
    sampler.arm()
    assert "does not answer" in sampler.lost
    recording, span = window(sampler, 0.01)
    assert "sampler_lost" in energies(recording, span)["node"].reasons
    assert is_gone(sampler.pid)


def test_an_interrupt_is_not_for_the_helper(known):
    sampler = known()
    assert os.getpgid(sampler.pid) != os.getpgid(0)
    os.kill(sampler.pid, signal.SIGINT)
    sampler.arm()
    recording, span = window(sampler, 0.1)
    assert energies(recording, span)["node"].valid


def test_closing_reaps_the_helper_closes_its_meters_and_may_be_repeated(known, tmp_path):
    sampler = known(closed=str(tmp_path / "closed"))
    sampler.arm()
    pid = sampler.pid
    sampler.close()
    sampler.close()
    assert (tmp_path / "closed").read_text() == "closed"
    assert is_gone(pid)
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    assert energies(sampler.collect(0.0, 1.0), (0.0, 1.0))["node"].reasons == ("not_bracketed", "sampler_lost")


def test_a_sampler_that_never_started_answers_without_starting_one():
    sampler = Sampler(["known"], MeterOptions(watched_pid=os.getpid()))
    assert sampler.collect(0.0, 1.0) == Recording(traces=(), statuses=())
    assert sampler.arm() == ()
    sampler.rest()
    sampler.close()
    assert sampler.pid is None
    with pytest.raises(SamplerUnavailable, match="closed"):
        sampler.start()


def test_sampling_stops_after_the_linger_and_goes_on_when_armed_again(known):
    sampler = known(linger_s=0.0)
    sampler.arm()
    sampler.rest()
    time.sleep(0.15)
    stopped = time.perf_counter()
    time.sleep(0.15)
    recording = sampler.collect(stopped, time.perf_counter())
    assert [edge for edge in recording.traces[0].edges if edge.t > stopped] == []
    assert sampler.arm() == ()
    recording, span = window(sampler, 0.1)
    assert energies(recording, span)["node"].valid


def test_what_will_not_be_asked_for_is_forgotten(known):
    sampler = known()
    sampler.arm()
    _, span = window(sampler, 0.2)
    sampler.forget_before(span[1] + 2.0)  # a second and a half is kept for gauges that average
    recording = sampler.collect(*span)
    assert energies(recording, span)["node"].reasons == ("not_bracketed",)
    recording, span = window(sampler, 0.1)
    assert energies(recording, span)["node"].valid


def test_a_forked_child_measures_nothing_and_harms_nothing(known):
    sampler = known()
    sampler.arm()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        sampler.arm()
        sampler.rest()
        recording = sampler.collect(0.0, 1.0)
        sampler.close()
        os.write(writer, f"{recording.traces[0].faults[0].code}: {recording.traces[0].faults[0].text}".encode())
        os._exit(0)
    os.close(writer)
    said = os.read(reader, 1000).decode()
    os.close(reader)
    os.waitpid(child, 0)
    assert said.startswith("sampler_lost: this process was forked")
    recording, span = window(sampler, 0.1)
    assert energies(recording, span)["node"].valid


def test_the_helper_ends_with_its_parent_even_where_a_forked_child_lives_on(tmp_path, monkeypatch):
    install(tmp_path, monkeypatch)
    script = textwrap.dedent(f"""
        import os, sys, time
        sys.path[:0] = {[str(tmp_path), *filter(None, sys.path)]!r}
        from pytest_tpf.measure.sampler import Sampler
        from pytest_tpf.meters.protocol import MeterOptions
        sampler = Sampler(["known"], MeterOptions(watched_pid=os.getpid()))
        sampler.start()
        sampler.arm()
        child = os.fork()
        if child:
            print(sampler.pid, child, flush=True)
        time.sleep(60)
    """)
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        helper, child = map(int, parent.stdout.readline().split())
        try:
            parent.kill()
            deadline = time.monotonic() + 20
            while not is_gone(helper) and time.monotonic() < deadline:
                time.sleep(0.05)
            assert is_gone(helper)
        finally:
            os.kill(child, signal.SIGKILL)


def is_gone(pid: int) -> bool:
    """No such process, or one that ended and waits for a parent to notice."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True
