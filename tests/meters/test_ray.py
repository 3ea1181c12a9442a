"""What the meter ``ray`` makes of its nodes, without Ray: the node's end runs in this process. On real clusters: tests/fleet."""

import math
import time
from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_tpf.measure.node import NodeMeters, machine
from pytest_tpf.meters.protocol import MeterUnavailable, ReadFault
from pytest_tpf.meters.ray import Node, in_our_time, merged


class Here:
    """Asks a node that is in this process; ``gone`` once nobody answers any more."""

    def __init__(self, host, meters):
        self.host, self.gone = host, False
        self.actor = NodeMeters(meters)

    def ask(self, method, *arguments, limit_s):
        if self.gone:
            raise ReadFault("source_failed", f"node {self.host} left")
        return getattr(self.actor, method)(*arguments)


@pytest.fixture
def remotes():
    there = [Here("a", ("estimate",)), Here("b", ("estimate",))]
    yield there
    for remote in there:
        remote.actor.close()


def opened(remotes):
    return merged([(Node(remote), remote.actor.found()) for remote in remotes], machine())


def window():
    t0 = time.perf_counter()
    time.sleep(0.3)
    return t0, time.perf_counter()


def test_every_node_has_domains_of_its_own_and_tells_of_windows(remotes):
    found = opened(remotes)
    assert [channel.info.domain for channel in found.channels] == ["cpu:a/0", "cpu:b/0"]
    assert {channel.info.reach for channel in found.channels} == {"anywhere"}
    t0, t1 = window()
    for channel in found.channels:
        told = channel.history(t0, t1)
        assert told.complete
        assert told.readings[0].t_lo < t0
        assert told.readings[-1].t_hi > t1
        assert told.readings[-1].value > told.readings[0].value


def test_a_node_that_left_fails_alone_and_for_every_further_window(remotes):
    stays, leaves = opened(remotes).channels
    remotes[1].gone = True
    for _ in range(2):
        t0, t1 = window()
        assert stays.history(t0, t1).readings
        with pytest.raises(ReadFault, match="node b left") as fault:
            leaves.history(t0, t1)
        assert fault.value.code == "source_failed"


def test_a_node_that_never_answered_is_listed_and_told(remotes):
    late = Node(remotes[1])
    found = merged([(Node(remotes[0]), remotes[0].actor.found()), (late, ReadFault("source_late", "node b did not answer"))], machine())
    assert [channel.info.domain for channel in found.channels] == ["cpu:a/0"]
    assert "node:b" in found.unmetered
    assert "node b is not metered: node b did not answer" in found.notes


def test_another_version_is_not_metered(remotes):
    about = remotes[0].actor.found() | {"version": "0.0.1"}
    with pytest.raises(MeterUnavailable, match=r"node a is not metered: it has pytest-tpf 0\.0\.1, this is .*install the same version"):
        merged([(Node(remotes[0]), about)], machine())


def test_a_cluster_without_nodes():
    with pytest.raises(MeterUnavailable, match="no node that is alive"):
        merged([], machine())


def _as_measured(about, index):
    """What a node would say whose processor is measured as a whole."""
    channels = [row | {"trust": "measured", "reach": "machine", "method": "rapl"} for row in about["channels"]]
    return about | {"channels": channels, "machine": f"machine {index}"}


def test_one_machine_is_counted_once_and_two_are_two(remotes):
    found = [(Node(remote), remote.actor.found()) for remote in remotes]
    apart = merged([(node, _as_measured(about, index)) for index, (node, about) in enumerate(found)], "here")
    assert [channel.info.domain for channel in apart.channels] == ["cpu:a/0", "cpu:b/0"]
    together = merged([(node, _as_measured(about, 1)) for node, about in found], "here")
    assert [channel.info.domain for channel in together.channels] == ["cpu:a/0"]
    assert any("its cpu:0 is read on node a already and counted once" in note for note in together.notes)


def test_this_machine_keeps_the_names_of_its_own_meters(remotes):
    (channel,) = merged([(Node(remotes[0]), _as_measured(remotes[0].actor.found(), 1))], "machine 1").channels
    assert channel.info.domain == "cpu:0"


def test_nothing_is_estimated_beside_what_is_measured(remotes):
    found = [(Node(remote), remote.actor.found()) for remote in remotes]
    mixed = merged([(found[0][0], _as_measured(found[0][1], 1)), found[1]], "here")
    assert [channel.info.domain for channel in mixed.channels] == ["cpu:a/0"]
    assert "cpu:b/0" in mixed.unmetered
    assert any(note.startswith("cpu:b/0: nothing measures it") for note in mixed.notes)


@given(st.lists(st.tuples(st.floats(0, 1e5), st.floats(0, 1.0), st.floats(0, 1e9)), max_size=20), st.floats(-1e6, 1e6), st.floats(0, 1.0))
def test_whatever_is_known_of_the_clock_a_reading_lies_within_its_times(brackets, ahead_s, half_width_s):
    rows = [(lo + ahead_s, lo + width + ahead_s, value) for lo, width, value in brackets]
    columns = [array("d", column).tobytes() for column in zip(*rows, strict=True)] or [b"", b"", b""]
    told = in_our_time((*columns, [(ahead_s, "device_lost", "it is gone")], 0.1), ahead_s, half_width_s, "a")
    for (lo, width, value), reading in zip(brackets, told.readings, strict=True):
        assert reading.value == value
        assert math.isclose(reading.t_lo, lo - half_width_s, abs_tol=1e-8)
        assert math.isclose(reading.t_hi, lo + width + half_width_s, abs_tol=1e-8)
    assert told.faults == ((0.0, "device_lost", "node a: it is gone"),)
