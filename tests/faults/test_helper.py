"""The sampler's helper process killed, stopped, starved, or in nobody's reach."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from pytest_tpf.measure import sampler as sampler_module
from pytest_tpf.measure.sampler import RESTARTS
from tests.faults.windows import children, energies, is_gone, texts, window
from tests.measure.third_party import POWER_W, install
from tests.standin import Board


@pytest.fixture
def known(sampler, tmp_path, monkeypatch):
    """A sampler of a third party's meter that behaves as told."""

    def begin(**behaviour):
        install(tmp_path, monkeypatch, **behaviour)
        return sampler("known")

    return begin


def is_measured(mine) -> bool:
    recording, (t0, t1) = window(mine, 0.1)
    return energies(recording, (t0, t1))["node"].joules == pytest.approx(POWER_W * (t1 - t0), rel=0.02)


def test_killed_between_tests_it_costs_nothing(known):
    mine = known()
    os.kill(mine.pid, signal.SIGKILL)
    assert mine.arm() == ()
    assert is_measured(mine)


def test_it_is_started_again_three_times_and_then_given_up(known):
    others = children(os.getpid())  # servers of other tests
    mine = known()
    for _ in range(RESTARTS):
        os.kill(mine.pid, signal.SIGKILL)
        mine.arm()
        assert is_measured(mine)
    os.kill(mine.pid, signal.SIGKILL)
    mine.arm()
    mine.arm()
    recording, span = window(mine, 0.05)
    assert energies(recording, span)["node"].reasons == ("not_bracketed", "sampler_lost")
    assert texts(recording) == ["the sampler's process stopped (exit status -9); it was started again 3 times already"]
    assert children(os.getpid()) == others


def test_stopped_between_tests_it_is_ended_and_started_again(known, monkeypatch):
    monkeypatch.setattr(sampler_module, "_ANSWER_LIMIT_S", 0.2)
    mine = known()
    stopped = mine.pid
    os.kill(stopped, signal.SIGSTOP)
    mine.arm()
    recording, (t0, t1) = window(mine, 0.1)
    assert energies(recording, (t0, t1))["node"].joules == pytest.approx(POWER_W * (t1 - t0), rel=0.02)
    assert texts(recording) == ["the sampler's process does not answer (waited 1.2 s) (exit status -9); another one took its place"]
    assert is_gone(stopped)


@pytest.mark.stress
def test_stopped_in_a_window_it_costs_that_window(known):
    mine = known()
    mine.arm()
    os.kill(mine.pid, signal.SIGSTOP)
    recording, span = window(mine, 0.05)
    assert energies(recording, span)["node"].reasons == ("not_bracketed", "sampler_lost")
    assert "does not answer" in mine.lost
    mine.arm()
    assert is_measured(mine)


def test_the_next_one_sees_what_the_first_saw(known, monkeypatch):
    mine = known()
    monkeypatch.setenv("KNOWN_METER", '{"unavailable": "a test took it away"}')
    monkeypatch.setattr(sys, "path", [])
    os.kill(mine.pid, signal.SIGKILL)
    mine.arm()
    assert is_measured(mine)


def test_one_that_can_not_be_started_again_says_both_reasons(known, tmp_path):
    mine = known()
    (tmp_path / "known_meter.py").write_text("raise ImportError('the meter was uninstalled')")
    os.kill(mine.pid, signal.SIGKILL)
    mine.arm()
    recording, span = window(mine, 0.05)
    (text,) = texts(recording)
    assert text.startswith("the sampler's process stopped (exit status -9); another one could not take its place: known: ")
    assert "the meter was uninstalled" in text
    assert "\n" not in text
    assert energies(recording, span)["node"].joules is None


class Interrupt(Exception):
    pass


def test_an_interrupted_question_does_not_spoil_the_next(known):
    mine = known()
    mine.arm()

    def interrupt(number, frame):
        raise Interrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(Interrupt):
            mine.collect(0.0, time.perf_counter() + 0.3)  # the helper answers in a while, unheard
    finally:
        signal.signal(signal.SIGALRM, before)
    time.sleep(0.4)
    assert mine.lost is None
    assert is_measured(mine)


def test_answers_that_nobody_takes_fill_the_pipe_and_are_passed_over(known):
    mine = known()
    mine.arm()
    time.sleep(0.2)
    for number in range(1_000):
        mine._helper.send((10_000 + number, "collect", 0.0, time.perf_counter(), 0))
    time.sleep(0.2)
    assert mine.arm() == ()
    assert mine.lost is None
    assert is_measured(mine)


def test_out_of_memory_it_is_lost_and_says_so(known):
    mine = known()
    mine.arm()
    resource.prlimit(mine.pid, resource.RLIMIT_AS, (1 << 20, resource.RLIM_INFINITY))
    deadline = time.monotonic() + 20
    while mine.lost is None and time.monotonic() < deadline:
        recording, span = window(mine, 0.05)
    assert energies(recording, span)["node"].joules is None
    assert texts(recording) == ["the sampler's process stopped (exit status 0): MemoryError"]


# --- as a user sees it

THREE = """
    import os, signal, time
    from tests.faults.windows import children

    @pytest.mark.tpf(boundary="device")
    @pytest.mark.parametrize("n", range(3))
    def test_it(model, n):
        model.generate(seconds=0.2)
        if n == 1:
            for helper in children(os.getpid()):
                os.kill(helper, signal.{signal})
        model.generate(seconds=0.2)
"""


def test_a_run_loses_the_energy_of_one_test(suite, plugged):
    plugged(Board(base_w=300.0, counter_period_s=0.02))
    result = suite.run(THREE.format(signal="SIGKILL"))
    result.assert_outcomes(passed=3)
    first, second, third = suite.report()["tests"]
    assert [test["energy"]["valid"] for test in (first, second, third)] == [True, False, True]
    assert "sampler_lost" in second["energy"]["reasons"]
    assert second["workload"]["output_tokens"] == 16
    assert third["energy"]["device_j"] == pytest.approx(300.0 * third["service"]["busy_s"], rel=0.03)
    assert "the sampler's process stopped (exit status -9)" in second["warnings"]
    assert "the sampler's process stopped (exit status -9); another one took its place" in third["warnings"]
    assert "Traceback" not in result.stdout.str()


SCARCE = """
import os, resource, sys
from pytest_tpf.measure.sampler import Sampler, SamplerUnavailable
from pytest_tpf.meters.protocol import MeterOptions
sampler = Sampler(["estimate"], MeterOptions(watched_pid=os.getpid()))
{scarcity}
try:
    sampler.start()
    sampler.arm()
    print("measures")
except SamplerUnavailable as why:
    print(why)
sampler.close()
"""


def scarce(scarcity: str, *before: str) -> str:
    script = SCARCE.format(scarcity=textwrap.dedent(scarcity))
    done = subprocess.run([*before, sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize("spare", [0, 1, 3, 5])
def test_without_file_descriptors_it_is_one_line(spare):
    said = scarce(f"""
        lowest = os.dup(0)
        os.close(lowest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + {spare}, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    """)
    assert said in ("the sampler can't be started: [Errno 24] Too many open files\n", "measures\n")
    assert spare > 3 or said != "measures\n"


def test_without_a_folder_for_temporary_files_it_measures():
    assert scarce("import tempfile\ntempfile.tempdir = '/nonexistent'") == "measures\n"


def test_no_process_or_file_is_left_behind(known, tmp_path):
    others = children(os.getpid())  # servers of other tests
    mine = known()
    pid = mine.pid
    before = len(os.listdir("/proc/self/fd"))
    os.kill(pid, signal.SIGKILL)
    mine.arm()
    assert len(os.listdir("/proc/self/fd")) == before
    mine.close()
    assert is_gone(pid)
    assert children(os.getpid()) == others
    with pytest.raises(ChildProcessError):  # it was waited for
        os.waitpid(pid, os.WNOHANG)
