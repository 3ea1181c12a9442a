"""Which meters see a server, and what becomes of the others' readings."""

from __future__ import annotations

import dataclasses

import pytest

from pytest_tpf.measure.reach import Server, sees, within_reach
from pytest_tpf.measure.trace import Recording
from pytest_tpf.measure.window import window_energy
from pytest_tpf.meters.protocol import Status
from tests.evaluate.runs import trace

OURS = Server(endpoint="http://127.0.0.1:1", place="ours")
MACHINE = Server(endpoint="http://127.0.0.1:2", place="machine", pid=42)
ELSEWHERE = Server(endpoint="http://gpu7:8000", place="elsewhere")
SPAN = [(1.0, 2.0)]


def reaching(reach, domain="cpu:0", **more):
    found = trace(domain, **more)
    return dataclasses.replace(found, channel=dataclasses.replace(found.channel, reach=reach))


def test_who_sees_whom():
    seen = {reach: [sees(reach, server) for server in (OURS, MACHINE, ELSEWHERE)] for reach in ("processes", "machine", "anywhere")}
    assert seen == {"processes": [True, False, False], "machine": [True, True, False], "anywhere": [True, True, True]}


@pytest.mark.parametrize("servers", [[], [OURS], [OURS, MACHINE]])
def test_where_every_meter_sees_every_server_nothing_changes(servers):
    recording = Recording(traces=(reaching("machine"), reaching("anywhere", "gpu:0")))
    assert within_reach(recording, servers) == (recording, ())


@pytest.mark.parametrize(("reach", "server"), [("processes", MACHINE), ("processes", ELSEWHERE), ("machine", ELSEWHERE)])
def test_where_no_meter_sees_the_server_no_energy_is_known(reach, server):
    recording, (note,) = within_reach(Recording(traces=(reaching(reach),), statuses=(Status(domain="cpu:0", t=1.5),)), [server])
    energy = window_energy(recording, SPAN)
    assert energy.joules is None
    assert energy.reasons == ("server_not_metered",)
    assert {name: domain.joules for name, domain in energy.domains.items()} == {"cpu:0": None}
    assert recording.statuses == ()
    assert note.startswith(server.endpoint)


def test_the_remedy_is_that_of_the_place():
    recording = Recording(traces=(reaching("processes"),))
    (machine,), (elsewhere,) = (within_reach(recording, [server])[1] for server in (MACHINE, ELSEWHERE))
    assert "--tpf-watch 42" in machine
    assert "from a fixture" in machine
    assert "--tpf-meter prometheus" in elsewhere


def test_what_sees_the_server_counts_alone():
    traces = (reaching("machine", "cpu:0", watts=7.0), reaching("machine", "dram:0"), reaching("anywhere", "gpu:0", watts=50.0))
    statuses = (Status(domain="cpu:0", t=1.5), Status(domain="gpu:0", t=1.5))
    recording, (note,) = within_reach(Recording(traces=traces, statuses=statuses), [ELSEWHERE])
    assert window_energy(recording, SPAN).joules == pytest.approx(50.0)
    assert recording.statuses == statuses[1:]
    assert note == "http://gpu7:8000 is on another machine: cpu:0, dram:0 are this machine's own, and left out"


def test_a_meter_must_see_all_of_the_servers():
    recording, notes = within_reach(Recording(traces=(reaching("processes"), reaching("machine", "gpu:0"))), [OURS, MACHINE])
    assert [each.channel.domain for each in recording.traces] == ["gpu:0"]
    assert [note.partition(" ")[0] for note in notes] == [MACHINE.endpoint]
