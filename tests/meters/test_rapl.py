"""RAPL on a powercap tree of our own, written as Linux writes it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_tpf.meters._wrapping import IMPLAUSIBLE_W, WrappingCounter
from pytest_tpf.meters.protocol import MeterOptions, MeterUnavailable, ReadFault
from pytest_tpf.meters.rapl import RaplMeter
from tests.meters.powercap_tree import RANGE_UJ, zone


@pytest.fixture
def server(tmp_path):
    """Two packages with memory, core zones, and the control folders a real tree has."""
    (tmp_path / "intel-rapl").mkdir()
    zone(tmp_path, "intel-rapl:0", "package-0", 5_000_000)
    zone(tmp_path, "intel-rapl:0:0", "core", 1_000_000)
    zone(tmp_path, "intel-rapl:0:1", "dram", 2_000_000)
    zone(tmp_path, "intel-rapl:1", "package-1", 70_000_000)
    zone(tmp_path, "intel-rapl:1:0", "dram", 3_000_000)
    zone(tmp_path, "intel-rapl-mmio:0", "package-0", 5_000_000)
    return tmp_path


def opened(root):
    return RaplMeter().open(MeterOptions(watched_pid=1, powercap_root=str(root)))


def domains(found):
    return {channel.info.domain: channel for channel in found.channels}


def test_packages_and_memory_are_domains_and_cores_are_not_added(server):
    found = opened(server)
    assert list(domains(found)) == ["cpu:0", "cpu:1", "dram:0", "dram:1"]
    assert {domain: channel.read() for domain, channel in domains(found).items()} == {
        "cpu:0": 5.0,
        "cpu:1": 70.0,
        "dram:0": 2.0,
        "dram:1": 3.0,
    }
    assert (found.notes, found.unmetered) == ((), ())


def test_a_channel_says_what_it_is(server):
    info = domains(opened(server))["cpu:0"].info
    assert (info.quantity, info.trust, info.method, info.stepped, info.energy) == (
        "energy_j",
        "measured",
        "rapl_package_counter",
        False,
        True,
    )
    assert info.source == str(server / "intel-rapl:0" / "energy_uj")
    assert info.poll_s == 0.01
    assert info.gain == pytest.approx(0.05 / 1.96)
    assert domains(opened(server))["dram:0"].info.gain > info.gain


def test_memory_that_is_not_counted_is_unmetered(tmp_path):
    zone(tmp_path, "intel-rapl:0", "package-0", 1)
    zone(tmp_path, "intel-rapl:0:0", "uncore", 1)
    assert opened(tmp_path).unmetered == ("dram:0",)


def test_psys_contains_the_packages_so_it_is_left_out(server):
    zone(server, "intel-rapl:2", "psys", 900_000_000)
    found = opened(server)
    assert list(domains(found)) == ["cpu:0", "cpu:1", "dram:0", "dram:1"]
    assert "psys" in found.notes[0]


def test_two_packages_that_show_one_counter_are_counted_once(tmp_path):
    for die in range(2):
        zone(tmp_path, f"intel-rapl:{die}", f"package-0-die-{die}", 123_456_789)
    found = opened(tmp_path)
    assert list(domains(found)) == ["cpu:0"]
    assert "cpu:1" in found.notes[0]
    assert found.unmetered == ("dram:0",)


def test_dies_with_counters_of_their_own_are_counted_each(tmp_path):
    for die in range(2):
        zone(tmp_path, f"intel-rapl:{die}", f"package-0-die-{die}", 123_456_789 + 1000 * die)
    assert list(domains(opened(tmp_path))) == ["cpu:0", "cpu:1"]


def test_packages_are_numbered_by_the_kernels_number_not_by_the_folders(tmp_path):
    zone(tmp_path, "intel-rapl:0", "package-1", 1_000_000)
    zone(tmp_path, "intel-rapl:1", "package-0", 2_000_000)
    assert {domain: channel.read() for domain, channel in domains(opened(tmp_path)).items()} == {"cpu:0": 2.0, "cpu:1": 1.0}


def test_readings_follow_the_file(server):
    channel = domains(opened(server))["cpu:0"]
    (server / "intel-rapl:0" / "energy_uj").write_text("6500000\n")
    assert channel.read() == 6.5


def test_a_full_counter_goes_on(server):
    path = server / "intel-rapl:0" / "energy_uj"
    path.write_text(f"{RANGE_UJ - 1_000_000}\n")
    channel = domains(opened(server))["cpu:0"]
    first = channel.read()
    path.write_text("500000\n")
    assert channel.read() - first == pytest.approx(1.5)


@pytest.mark.parametrize("content", [None, "garbage\n"])
def test_a_counter_that_goes_away_is_a_fault(server, content):
    channel = domains(opened(server))["cpu:1"]
    path = server / "intel-rapl:1" / "energy_uj"
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    with pytest.raises(ReadFault, match="cpu:1") as caught:
        channel.read()
    assert caught.value.code == "counter_unreadable"


def test_no_rapl_is_said_with_the_place(tmp_path):
    for root in (tmp_path, tmp_path / "absent"):
        with pytest.raises(MeterUnavailable, match=str(root)):
            opened(root)


def test_a_tree_without_counters_is_unavailable(tmp_path):
    zone(tmp_path, "intel-rapl:0", "package-0", energy_uj=None)
    with pytest.raises(MeterUnavailable, match="can't be read"):
        opened(tmp_path)


def test_a_zone_without_a_name_is_passed_over(server):
    (server / "intel-rapl:0:1" / "name").unlink()
    found = opened(server)
    assert "dram:0" not in domains(found)
    assert found.unmetered == ("dram:0",)


AS_NOBODY = """
import json, os, sys
from pytest_tpf.meters.protocol import MeterOptions, MeterUnavailable
from pytest_tpf.meters.rapl import RaplMeter
if os.geteuid() == 0:
    try:
        os.setgid(65534)
        os.setuid(65534)
    except PermissionError:
        sys.exit(77)
try:
    found = RaplMeter().open(MeterOptions(watched_pid=1, powercap_root=sys.argv[1]))
    print(json.dumps({"domains": [c.info.domain for c in found.channels], "notes": found.notes, "unmetered": found.unmetered}))
except MeterUnavailable as reason:
    print(json.dumps({"unavailable": str(reason)}))
"""


@pytest.fixture
def guarded_tree():
    """A tree any user may enter, whose counters only their owner may read (the kernel's default since CVE-2020-8694)."""
    root = Path(tempfile.mkdtemp())
    root.chmod(0o755)
    zone(root, "intel-rapl:0", "package-0", 1_000_000)
    zone(root, "intel-rapl:0:0", "dram", 2_000_000)
    zone(root, "intel-rapl:1", "package-1", 3_000_000)
    yield root
    shutil.rmtree(root)


def open_as_nobody(root):
    done = subprocess.run([sys.executable, "-c", AS_NOBODY, str(root)], capture_output=True, text=True, timeout=60)
    if done.returncode == 77:
        pytest.skip("this system doesn't let a test drop its privileges")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def forbid(path):
    path.chmod(0o400 if os.geteuid() == 0 else 0o000)


def test_without_permission_the_command_that_grants_it_is_given(guarded_tree):
    for path in guarded_tree.glob("*/energy_uj"):
        forbid(path)
    text = open_as_nobody(guarded_tree)["unavailable"]
    assert f"sudo chmod a+r {guarded_tree}/intel-rapl:*/energy_uj {guarded_tree}/intel-rapl:*:*/energy_uj" in text
    assert "\n" not in text
    for path in guarded_tree.glob("*/energy_uj"):
        path.chmod(0o444)
    assert open_as_nobody(guarded_tree)["domains"] == ["cpu:0", "cpu:1", "dram:0"]


def test_what_may_not_be_read_is_unmetered(guarded_tree):
    forbid(guarded_tree / "intel-rapl:0:0" / "energy_uj")
    forbid(guarded_tree / "intel-rapl:1" / "energy_uj")
    found = open_as_nobody(guarded_tree)
    assert found["domains"] == ["cpu:0"]
    assert found["unmetered"] == ["dram:0", "cpu:1", "dram:1"]
    assert ["Permission denied" in note for note in found["notes"]] == [True, True]


# --- wrapping, with a clock and a counter of our own


class Register:
    """A counter that is full at ``range_uj``, and a clock that moves fast enough for whatever was added to be plausible."""

    def __init__(self, start_uj, range_uj):
        self.total_uj, self.range_uj, self.t = start_uj, range_uj, 0.0

    def add(self, uj):
        self.total_uj += uj
        self.t += uj / 1e6 / 1000.0  # a kilowatt

    def read_uj(self):
        return self.total_uj % self.range_uj

    def clock_s(self):
        return self.t


@given(
    range_uj=st.integers(1_000, 10**12),
    start=st.floats(0, 0.999999),
    steps=st.lists(st.floats(0, 0.999999), max_size=40),
)
def test_no_wrap_is_ever_lost_while_it_is_read_more_often_than_one_wrap(range_uj, start, steps):
    register = Register(int(start * range_uj), range_uj)
    counter = WrappingCounter("cpu:0", register.read_uj, range_uj, register.clock_s)
    before = counter.read_j()
    for step in steps:
        register.add(int(step * range_uj))
        now = counter.read_j()
        assert now >= before
        assert now == pytest.approx(register.total_uj / 1e6, abs=1e-9, rel=1e-12)
        before = now


@given(last=st.integers(10**9, RANGE_UJ // 2), elapsed=st.floats(0.001, 1.0))
def test_a_counter_that_was_set_back_is_a_fault_and_goes_on(last, elapsed):
    register = Register(last, RANGE_UJ)
    counter = WrappingCounter("cpu:0", register.read_uj, RANGE_UJ, register.clock_s)
    before = counter.read_j()
    register.total_uj, register.t = 0, register.t + elapsed
    # Had it been full, it would have counted 131 kJ or more in that second.
    assert (RANGE_UJ - last) / 1e6 > IMPLAUSIBLE_W * elapsed
    with pytest.raises(ReadFault, match="set back") as caught:
        counter.read_j()
    assert caught.value.code == "counter_reset"
    register.add(2_000_000)
    assert counter.read_j() - before == pytest.approx(2.0)


def test_without_a_known_range_a_falling_counter_is_a_fault():
    register = Register(5_000_000, 6_000_000)
    counter = WrappingCounter("cpu:0", register.read_uj, None, register.clock_s)
    register.add(500_000)
    assert counter.read_j() == pytest.approx(5.5)
    register.add(600_000)
    with pytest.raises(ReadFault):
        counter.read_j()
