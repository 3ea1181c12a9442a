"""RAPL when its counters are full, go away, or aren't looked at for long."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_tpf.measure.channel_log import ChannelLog
from pytest_tpf.measure.energy import DomainEnergy, energy_of_spans
from pytest_tpf.measure.trace import Edge, Fault, Trace
from pytest_tpf.meters._wrapping import MOST_W, WrappingCounter
from pytest_tpf.meters.protocol import ReadFault
from pytest_tpf.meters.rapl import RaplMeter
from tests.faults.windows import children, energies, texts, window
from tests.measure.simulated import channel
from tests.meters.powercap_tree import RANGE_UJ, zone

WRAPS = 10_000
READ_EVERY_S = 0.01
RAPL = channel("cpu:0", stepped=False)


class Package:
    """A package whose energy is known, behind a counter that is full at ``range_uj``, read as the sampler reads it."""

    def __init__(self, range_uj: int, total_j: float) -> None:
        self.range_uj, self.now_s, self.total_j = range_uj, 0.0, total_j
        self.log = ChannelLog()
        self.counter = WrappingCounter("cpu:0", self._read_uj, range_uj, lambda: self.now_s)

    def _read_uj(self) -> int:
        return int(self.total_j * 1e6) % self.range_uj

    def run(self, seconds: float, power_w: float) -> None:
        """Time passes at this power, unread."""
        self.now_s, self.total_j = self.now_s + seconds, self.total_j + seconds * power_w

    def read(self) -> None:
        """One reading, or the fault it gives."""
        try:
            joules = self.counter.read_j()
        except ReadFault as fault:
            self.log.add_fault(self.now_s, fault.code, str(fault))
        else:
            self.log.add(self.now_s, self.now_s, joules)

    def energy(self, t0: float, t1: float) -> DomainEnergy:
        lo, hi, values = (memoryview(column).cast("d") for column in self.log.between(t0, t1))
        edges = tuple(Edge(t_lo=a, t_hi=b, joules=j) for a, b, j in zip(lo, hi, values, strict=True))
        faults = tuple(Fault(t=t, code=code, text=text) for t, code, text in self.log.faults_around(t0))
        return energy_of_spans(Trace(channel=RAPL, edges=edges, faults=faults, period_s=READ_EVERY_S), [(t0, t1)])


def test_ten_thousand_wraps_give_no_wrong_window():
    """Idle to a kilowatt; nobody reads between the bursts, for less than a second or for several fillings of the counter."""
    rng = random.Random(1)
    package = Package(RANGE_UJ, 0.0)
    range_j, wraps = RANGE_UJ / 1e6, 0
    while wraps < WRAPS:
        power_w = rng.uniform(30.0, 1000.0)
        # The counter is full in the middle of a burst of readings, at a reading or between two.
        before_s = READ_EVERY_S * rng.choice([9.0, 9.5, rng.uniform(8.0, 10.0)])
        to_full_j = range_j - package.total_j % range_j - before_s * power_w
        package.run((to_full_j % range_j + rng.randrange(4) * range_j) / power_w, power_w)
        package.log = ChannelLog()
        package.read()  # the first after a pause, as arming does
        package.log.faults.clear()
        begin_s, before_j = package.now_s, package.total_j
        for _ in range(18):
            package.run(READ_EVERY_S, power_w)
            package.read()
        wraps += int(package.total_j // range_j - before_j // range_j)
        full_s = begin_s + before_s
        # The window ends, begins, or lies around the instant at which the counter is full.
        t0, t1 = rng.choice([(full_s - 0.06, full_s), (full_s, full_s + 0.06), (full_s - 0.033, full_s + 0.031)])
        assert package.energy(t0, t1).joules == pytest.approx(power_w * (t1 - t0), abs=1e-4), (power_w, t0)


pauses = st.one_of(st.floats(0.001, 0.02), st.floats(0.02, 20.0), st.floats(20.0, 20_000.0))


@given(
    range_uj=st.sampled_from([RANGE_UJ, 65_532_610_987, 1_000_000_000]),
    power_w=st.floats(5.0, MOST_W),
    start=st.floats(0.0, 1.0),
    spacing_s=st.lists(pauses, min_size=3, max_size=30),
    ends=st.tuples(st.floats(0.0, 1.0), st.floats(0.0, 1.0)),
)
def test_however_sparsely_it_is_read_a_window_is_right_or_unknown(range_uj, power_w, start, spacing_s, ends):
    package = Package(range_uj, start * range_uj / 1e6)
    begin_s = package.now_s
    for pause_s in spacing_s:
        package.run(pause_s, power_w)
        package.read()
    t0, t1 = sorted(begin_s + end * (package.now_s - begin_s) for end in ends)
    energy = package.energy(t0, t1)
    if energy.joules is None:
        assert energy.reasons
    else:
        assert energy.joules == pytest.approx(power_w * (t1 - t0), abs=1e-3, rel=1e-9)


@pytest.mark.parametrize("range_uj", [RANGE_UJ, 65_532_610_987])
def test_a_window_in_which_the_counter_may_have_been_full_unseen_is_a_gap(range_uj):
    package = Package(range_uj, 1000.0)
    for pause_s in (0.01, 0.01, 1.01 * range_uj / 1e6 / MOST_W, 0.01, 0.01, 0.01, 0.01):
        package.run(pause_s, 400.0)
        package.read()
    assert package.energy(0.015, package.now_s - 0.005).reasons == ("sampling_gap",)
    assert "may have been full" in package.log.faults[0][2]
    later_s = package.now_s - 0.025
    assert package.energy(later_s, later_s + 0.02).joules == pytest.approx(400.0 * 0.02)


# --- the sampler itself, over a tree whose counters another process moves -----------------------------------------------

TURNER = """
import os, sys, time
path, watts, full_uj = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
fd = os.open(path, os.O_WRONLY)
while os.getppid() != 1:
    os.pwrite(fd, b"%20d\\n" % (int(watts * 1e6 * time.perf_counter()) % full_uj), 0)
    time.sleep(0.0005)
"""


@pytest.fixture
def turning(tmp_path):
    """A package at 300 W whose counter is full after 60 J, kept turning by a process of its own."""
    package = zone(tmp_path, "intel-rapl:0", "package-0", 0, 60_000_000)
    (package / "energy_uj").write_text(f"{0:20d}\n")
    turner = subprocess.Popen([sys.executable, "-c", TURNER, str(package / "energy_uj"), "300", "60000000"])
    yield tmp_path
    turner.kill()
    turner.wait()


def test_a_real_sampler_follows_a_counter_that_is_full_five_times_a_second(turning, sampler):
    """And it needs no process or thread beside the sampler's one."""
    mine = sampler("rapl", powercap_root=str(turning))
    mine.arm()
    seen = []
    for _ in range(6):
        recording, (t0, t1) = window(mine, 0.3)
        energy = energies(recording, (t0, t1))["cpu:0"]
        seen.append((energy.joules, 300.0 * (t1 - t0)))
    # A wrap that was missed or seen twice would be 60 J off; the process that turns the counter may be some milliseconds late.
    assert [(joules, true_j) for joules, true_j in seen if joules is None or abs(joules - true_j) > 25.0] == []
    assert children(mine.pid) == []
    assert len(os.listdir(f"/proc/{mine.pid}/task")) == 1


def test_a_zone_that_vanishes_in_a_window_is_unreadable_and_back_with_the_next_arming(turning, sampler):
    zone(turning, "intel-rapl:0:0", "dram", 5_000_000)
    mine = sampler("rapl", powercap_root=str(turning))
    mine.arm()
    t0 = time.perf_counter()
    time.sleep(0.1)
    path = turning / "intel-rapl:0:0" / "energy_uj"
    path.rename(path.with_name("away"))
    time.sleep(0.1)
    span = (t0, time.perf_counter())
    recording = mine.collect(*span)
    found = energies(recording, span)
    assert found["dram:0"].joules is None
    assert "counter_unreadable" in found["dram:0"].reasons
    assert found["cpu:0"].joules is not None
    assert f"dram:0: {path} can't be read any more (No such file or directory)" in texts(recording)
    path.with_name("away").rename(path)
    mine.arm()
    recording, span = window(mine, 0.1)
    assert texts(recording) == []
    assert "counter_unreadable" not in energies(recording, span)["dram:0"].reasons


def test_what_lies_in_a_package_or_contains_it_is_never_added(tmp_path, sampler):
    for folder, name in (("0", "package-0"), ("0:0", "core"), ("0:1", "uncore"), ("0:2", "dram"), ("1", "psys")):
        zone(tmp_path, f"intel-rapl:{folder}", name, 1_000_000)
    info = sampler("rapl", powercap_root=str(tmp_path)).start()
    assert [meter.domain for meter in info.meters] == ["cpu:0", "dram:0"]
    assert info.notes[-1:] == ("intel-rapl:1 (psys) is left out: it contains the packages, which are counted themselves",)
    assert RaplMeter.id in {channel.meter for channel in info.channels}
