"""The estimate: its model with clocks of our own, its process tree on real busy processes."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_tpf.meters._process_tree import RESCAN_S, LinuxClocks, ProcessTree, PsutilClocks, system_clocks, why_not_followed
from pytest_tpf.meters.estimate import GAIN_ASSUMED_TDP, GAIN_WITH_TDP, EstimateMeter, LoadEnergy, package_power_w
from pytest_tpf.meters.protocol import MeterOptions, MeterUnavailable

BURN = "import time; end = time.perf_counter() + {0}\nwhile time.process_time() < {0} and time.perf_counter() < end + 30: pass\n"


# --- the model


def test_power_is_idle_at_rest_and_the_tdp_when_busy():
    assert package_power_w(0.0, 100.0) == pytest.approx(10.0)
    assert package_power_w(1.0, 100.0) == pytest.approx(100.0)
    # By hand: 10 + 90 * (1 - 0.5^1.4) = 10 + 90 * 0.62107
    assert package_power_w(0.5, 100.0) == pytest.approx(65.897, abs=0.001)


@given(tdp=st.floats(1, 1000), a=st.floats(0, 1), b=st.floats(0, 1))
def test_more_load_never_takes_less_power(tdp, a, b):
    low, high = sorted((a, b))
    assert package_power_w(low, tdp) <= package_power_w(high, tdp) + 1e-9 * tdp


class Clocks:
    def __init__(self):
        self.t, self.busy = 100.0, 3.0

    def step(self, seconds, load_cores):
        self.t += seconds
        self.busy += seconds * load_cores


@given(steps=st.lists(st.tuples(st.floats(0, 2), st.floats(0, 4)), max_size=30))
def test_energy_is_the_sum_over_intervals_and_never_falls(steps):
    clocks = Clocks()
    energy = LoadEnergy(80.0, 4, lambda: clocks.busy, lambda: clocks.t)
    expected = before = 0.0
    for seconds, load in steps:
        start, busy = clocks.t, clocks.busy
        clocks.step(seconds, load)
        elapsed = clocks.t - start
        if elapsed > 1e-6:
            used = min(1.0, (clocks.busy - busy) / elapsed / 4)
            expected += elapsed * package_power_w(used, 80.0)
        now = energy.read_j()
        assert now >= before
        assert now == pytest.approx(expected, rel=1e-3, abs=1e-2)
        before = now


def test_cpu_time_that_came_a_little_late_is_counted_in_the_next_interval():
    clocks = Clocks()
    energy = LoadEnergy(10.0, 1, lambda: clocks.busy, lambda: clocks.t)
    clocks.t, clocks.busy = clocks.t + 1.0, clocks.busy + 1.5
    assert energy.read_j() == pytest.approx(10.0)
    clocks.t += 1.0
    assert energy.read_j() - 10.0 == pytest.approx(package_power_w(0.5, 10.0))


def test_no_time_no_energy():
    clocks = Clocks()
    energy = LoadEnergy(10.0, 1, lambda: clocks.busy, lambda: clocks.t)
    assert energy.read_j() == energy.read_j() == 0.0


# --- the process tree, simulated


class FakeClocks:
    def __init__(self, cpu, children):
        self.cpu, self.tree, self.t = cpu, children, 0.0

    def cpu_s(self, pid):
        return self.cpu.get(pid)

    def children(self, pid):
        return self.tree.get(pid, [])


def test_a_child_counts_from_its_start_and_keeps_its_last_reading():
    clocks = FakeClocks({1: 10.0}, {})
    tree = ProcessTree([1], clocks, lambda: clocks.t)
    assert tree.busy_s() == 0.0
    clocks.tree, clocks.cpu[2] = {1: [2]}, 0.7
    assert tree.busy_s() == 0.0, "not looked for yet"
    clocks.t += RESCAN_S
    assert tree.busy_s() == pytest.approx(0.7)
    del clocks.cpu[2]
    clocks.cpu[1] = 10.5
    assert tree.busy_s() == pytest.approx(1.2)


def test_children_that_already_ran_count_from_now_on():
    clocks = FakeClocks({1: 10.0, 2: 5.0, 3: 1.0}, {1: [2], 2: [3]})
    tree = ProcessTree([1], clocks, lambda: clocks.t)
    clocks.cpu |= {2: 6.0, 3: 1.25}
    assert tree.busy_s() == pytest.approx(1.25)


def test_the_measuring_process_and_what_it_starts_is_left_out():
    own = os.getpid()
    clocks = FakeClocks({1: 0.0, own: 0.0, 99: 0.0}, {1: [own], own: [99]})
    tree = ProcessTree([1], clocks, lambda: clocks.t)
    clocks.cpu |= {own: 5.0, 99: 5.0, 1: 1.0}
    clocks.t += RESCAN_S
    assert tree.busy_s() == pytest.approx(1.0)


def test_a_process_number_used_again_does_not_take_anything_away():
    clocks = FakeClocks({1: 0.0, 2: 5.0}, {1: [2]})
    tree = ProcessTree([1], clocks, lambda: clocks.t)
    clocks.cpu[2] = 6.0
    assert tree.busy_s() == pytest.approx(1.0)
    clocks.cpu[2] = 0.25  # another process now
    assert tree.busy_s() == pytest.approx(1.0)
    clocks.t += RESCAN_S
    assert tree.busy_s() == pytest.approx(1.25)


def test_several_trees_are_followed_and_what_is_in_two_of_them_counts_once():
    clocks = FakeClocks({1: 0.0, 2: 0.0, 7: 0.0, 8: 0.0}, {1: [2], 7: [8]})
    tree = ProcessTree([1, 2, 7], clocks, lambda: clocks.t)
    clocks.cpu |= {2: 1.0, 7: 0.5, 8: 0.25}
    assert tree.busy_s() == pytest.approx(1.75)


# --- on real processes


@pytest.fixture(params=["system", "psutil"])
def clocks(request):
    if request.param == "psutil":
        pytest.importorskip("psutil")
        return PsutilClocks()
    return system_clocks()


def start(code):
    return subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_the_cpu_time_of_a_busy_child_and_grandchild_is_seen(clocks):
    burn_twice = f"""
import subprocess, sys
sys.stdin.readline()
child = subprocess.Popen([sys.executable, "-c", {BURN.format(0.4)!r} + "print('done', flush=True); input()"], stdin=-1)
{BURN.format(0.4)}
print("done", flush=True)
sys.stdin.readline()
child.communicate(b"\\n")
"""
    with start(burn_twice) as child:
        tree = ProcessTree([child.pid], clocks)
        assert tree.busy_s() < 0.2
        child.stdin.write("\n")
        child.stdin.flush()
        assert [child.stdout.readline().strip() for _ in range(2)] == ["done", "done"]
        time.sleep(1.1 * RESCAN_S)
        # Two burns of 0.4 CPU seconds each (the child's own start counted), plus starting two interpreters.
        assert 0.6 < tree.busy_s() < 2.0
        child.communicate("\n")
        assert tree.busy_s() >= 0.6


def test_a_sampler_that_is_a_child_of_what_it_watches_does_not_see_itself():
    sampler = f"""
import dataclasses
import os
from pytest_tpf.meters._process_tree import RESCAN_S, ProcessTree, system_clocks
tree = ProcessTree([os.getppid()], system_clocks())
{BURN.format(0.5)}
print(tree.busy_s())
"""
    done = subprocess.run([sys.executable, "-c", sampler], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 0.25  # this process only waits meanwhile


def test_the_clock_of_a_process_that_is_gone_is_none(clocks):
    with start("pass") as child:
        child.wait()
    assert clocks.cpu_s(child.pid) is None
    assert list(clocks.children(child.pid)) == []


@pytest.mark.skipif(sys.platform != "linux", reason="the clock is Linux's")
def test_the_linux_clock_is_the_process_own():
    before = time.process_time()
    seen = LinuxClocks().cpu_s(os.getpid())
    assert before <= seen <= time.process_time()


def test_a_busy_process_costs_more_than_an_idle_one():
    options = {"cpu_tdp_w": 100.0}
    with start("input()") as idle, start(BURN.format(0.5) + "print('done', flush=True); input()") as busy:
        channels = [EstimateMeter().open(MeterOptions(watched_pid=p.pid, **options)).channels[0] for p in (idle, busy)]
        assert busy.stdout.readline().strip() == "done"
        idle_j, busy_j = (channel.read() for channel in channels)
        for process in (idle, busy):
            process.communicate("\n")
    assert 0 < idle_j < busy_j


def test_a_server_that_was_started_elsewhere_is_followed_where_it_is_named():
    with start("input()") as ours, start("input();" + BURN.format(0.3) + "print('done', flush=True); input()") as theirs:
        options = MeterOptions(watched_pid=ours.pid, cpu_tdp_w=100.0)
        without, with_it = (
            EstimateMeter().open(each).channels[0] for each in (options, dataclasses.replace(options, also_watched=(theirs.pid,)))
        )
        theirs.stdin.write("\n")
        theirs.stdin.flush()
        assert theirs.stdout.readline().strip() == "done"
        assert with_it.read() > without.read() + 0.1  # J; the idle power is in both
        for process in (ours, theirs):
            process.communicate("\n")
    assert f"processes {ours.pid}, {theirs.pid} and their descendants" in with_it.info.source


def test_why_a_process_can_not_be_followed_is_one_line():
    with start("pass") as child:
        child.wait()
    assert why_not_followed(child.pid) == f"there is no process {child.pid}"
    assert why_not_followed(2**80) == f"there is no process {2**80}"
    assert why_not_followed(os.getpid()) is None


def test_the_channel_says_that_it_is_an_estimate():
    found = EstimateMeter().open(MeterOptions(watched_pid=os.getppid()))
    (channel,) = found.channels
    assert (channel.info.domain, channel.info.trust, channel.info.stepped, channel.info.energy) == ("cpu:0", "estimated", False, True)
    assert found.unmetered == ("dram:0",)
    assert channel.info.gain == GAIN_ASSUMED_TDP
    (note,) = found.notes
    assert note.startswith("estimated: ")
    assert "--tpf-cpu-tdp" in note


def test_a_given_tdp_is_used_and_said():
    found = EstimateMeter().open(MeterOptions(watched_pid=os.getppid(), cpu_tdp_w=65.0))
    assert "65 W" in found.notes[0]
    assert "assumed" not in found.notes[0]
    assert "65 W" in found.channels[0].info.source
    assert found.channels[0].info.gain == GAIN_WITH_TDP


def test_a_process_that_is_not_there_can_not_be_followed():
    with start("pass") as child:
        child.wait()
    with pytest.raises(MeterUnavailable, match=str(child.pid)):
        EstimateMeter().open(MeterOptions(watched_pid=child.pid))


def test_without_psutil_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "psutil", None)
    with pytest.raises(MeterUnavailable, match="pip install psutil"):
        PsutilClocks()
