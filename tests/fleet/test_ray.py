"""The meters of a real Ray cluster: several nodes on this machine, each with a board whose joules are known."""

import json
import os
import signal
import time

import psutil
import pytest

pytest.importorskip("ray", reason="needs the extra ray: make test-fleet")

from pytest_tpf.measure.sampler import Sampler
from pytest_tpf.measure.window import window_energy
from pytest_tpf.meters.estimate import WATTS_PER_CORE, package_power_w
from pytest_tpf.meters.protocol import MeterOptions
from tests.fleet.cluster import actors, add, clock_of_its_own, cluster, skewed_node
from tests.standin import Board, Standin

WATTS = (300.0, 120.0)
AHEAD_S = 5000


def board(number, **settings):
    return Board(uuid=f"GPU-{number:08x}-0000-4000-8000-{number:012x}", seed=number, counter_period_s=0.1, **settings)


def environment(folder, each):
    folder.mkdir()
    return Standin(boards=(each,)).environment(folder)


@pytest.fixture(scope="module")
def boards():
    return [board(number, base_w=watts) for number, watts in enumerate(WATTS, 1)]


@pytest.fixture(scope="module")
def nodes(tmp_path_factory, boards):
    """A cluster whose head has no board, and two nodes with one each."""
    folder = tmp_path_factory.mktemp("fleet")
    with cluster() as running:
        for number, each in enumerate(boards):
            add(running, environment(folder / f"board{number}", each))
        yield running


@pytest.fixture
def started():
    """Starts the meter on a cluster."""
    samplers = []

    def start(running):
        samplers.append(Sampler(("ray",), MeterOptions(watched_pid=1, ray=running.address)))
        return samplers[-1], samplers[-1].start()

    yield start
    for sampler in samplers:
        sampler.close()


def window(sampler, seconds=1.0):
    sampler.arm()
    time.sleep(0.5)
    t0 = time.perf_counter()
    time.sleep(seconds)
    t1 = time.perf_counter()
    return sampler.collect(t0, t1), t0, t1


def assert_true(energy, true_j):
    assert energy.joules == pytest.approx(true_j, abs=energy.half_width_j + 0.001)


def test_joules_of_every_node_are_summed(nodes, boards, started):
    sampler, info = started(nodes)
    recording, t0, t1 = window(sampler)
    energy = window_energy(recording, [(t0, t1)])
    by_board = {meter.device: energy.domains[meter.domain] for meter in info.meters}
    assert by_board.keys() == {each.uuid for each in boards}
    for each in boards:
        assert_true(by_board[each.uuid], each.true_energy_j(t0, t1))
    assert energy.trust == "measured"
    assert energy.joules == pytest.approx(sum(WATTS) * (t1 - t0), rel=0.05)
    assert energy.device_j == energy.joules
    assert {board.domain for board in info.accelerators} == set(energy.domains)


def test_one_clock_is_found_to_be_one(nodes, started):
    sampler, _ = started(nodes)
    recording, t0, t1 = window(sampler)
    shown = [edge for trace in recording.traces if trace.channel.energy for edge in trace.edges]
    assert any(t0 < edge.t < t1 for edge in shown)
    for trace in recording.traces:
        for edge in trace.edges:  # the boards' counters were latched at whole tenths of a second of the clock that all share
            assert edge.t_lo <= round(edge.t, 1) <= edge.t_hi


def test_what_runs_on_a_node_without_meters_is_listed_and_not_estimated_beside_what_is_measured(nodes, started):
    _, info = started(nodes)
    assert {meter.trust for meter in info.meters} == {"measured"}
    assert [name for name in info.unmetered if name.startswith("cpu:") and "/" in name]


def test_a_board_that_two_nodes_see_is_counted_once(nodes, boards, tmp_path, started):
    twin = add(nodes, environment(tmp_path / "twin", boards[0]))
    try:
        _, info = started(nodes)
    finally:
        nodes.remove_node(twin)
    assert sorted(meter.device for meter in info.meters) == sorted(each.uuid for each in boards)
    assert any("is read on node" in note and "counted once" in note for note in info.notes)


def test_a_node_that_leaves_costs_its_own_energy_only(nodes, boards, tmp_path, started):
    leaver = board(9, base_w=50.0)
    node = add(nodes, environment(tmp_path / "leaver", leaver))
    sampler, info = started(nodes)
    domains = {meter.device: meter.domain for meter in info.meters}
    recording, t0, t1 = window(sampler)
    assert_true(window_energy(recording, [(t0, t1)]).domains[domains[leaver.uuid]], leaver.true_energy_j(t0, t1))
    nodes.remove_node(node, allow_graceful=False)
    time.sleep(3)
    for _ in range(2):
        recording, t0, t1 = window(sampler)
        energy = window_energy(recording, [(t0, t1)])
        lost = energy.domains.pop(domains[leaver.uuid])
        assert lost.joules is None
        assert {"source_late", "source_failed"} & set(lost.reasons)  # late, until Ray has noticed
        for each in boards:
            assert_true(energy.domains[domains[each.uuid]], each.true_energy_j(t0, t1))


def test_nodes_that_stand_still_are_late_and_known_again_once_they_go_on(nodes, boards, started):
    sampler, info = started(nodes)
    domains = {meter.device: meter.domain for meter in info.meters}
    stopped = actors()
    for actor in stopped:
        actor.suspend()
    try:
        recording, t0, t1 = window(sampler)
    finally:
        for actor in stopped:
            actor.resume()
    energy = window_energy(recording, [(t0, t1)])
    assert all("source_late" in energy.domains[domain].reasons for domain in domains.values())
    window(sampler)  # they are given little time until they have answered once
    recording, t0, t1 = window(sampler)
    energy = window_energy(recording, [(t0, t1)])
    for each in boards:
        assert_true(energy.domains[domains[each.uuid]], each.true_energy_j(t0, t1))


def test_nothing_stays_on_the_nodes_when_the_run_is_killed_and_another_sampler_starts_anew(nodes, boards, started):
    sampler, info = started(nodes)
    domains = {meter.device: meter.domain for meter in info.meters}
    before = actors()
    assert len(before) == 3
    os.kill(sampler.pid, signal.SIGKILL)
    _, alive = psutil.wait_procs(before, timeout=60)
    assert not alive
    window(sampler)  # tells that it was lost
    recording, t0, t1 = window(sampler)
    energy = window_energy(recording, [(t0, t1)])
    for each in boards:
        assert_true(energy.domains[domains[each.uuid]], each.true_energy_j(t0, t1))


def test_a_node_whose_clock_is_far_ahead_is_read_at_the_right_time(nodes, tmp_path, started):
    if (command := clock_of_its_own(AHEAD_S)) is None:
        pytest.skip("time namespaces need root and unshare(1)")
    stepping = board(7, base_w=50.0, shape="square", swing_w=500.0, period_s=0.7)  # in the node's own time
    with skewed_node(nodes, command, environment(tmp_path / "skewed", stepping)):
        sampler, info = started(nodes)
        domain = next(meter.domain for meter in info.meters if meter.device == stepping.uuid)
        recording, t0, t1 = window(sampler, 1.25)
    assert_true(window_energy(recording, [(t0, t1)]).domains[domain], stepping.true_energy_j(t0 + AHEAD_S, t1 + AHEAD_S))


def test_a_suite_on_nodes_that_can_only_estimate(pytester):
    pytester.makepyfile(
        """
        import time

        def test_it(tpf):
            with tpf.measure() as window:
                time.sleep(1.0)
                window.count(output_tokens=10)
        """
    )
    with cluster() as running:
        add(running)
        pytester.runpytest_subprocess("--tpf-meter=ray", f"--tpf-ray={running.address}", "--tpf-report=report.json").assert_outcomes(
            passed=1
        )
    report = json.loads((pytester.path / "report.json").read_text())
    (measured,) = report["tests"]
    energy = measured["energy"]
    assert len(energy["domains"]) == 2
    assert energy["it_j"] == pytest.approx(sum(energy["domains"].values()))
    assert energy["trust"] == "estimated"
    assert all(name.startswith("cpu:") and "/" in name for name in energy["domains"])
    idle_w = package_power_w(0.0, WATTS_PER_CORE * (os.cpu_count() or 1))
    assert min(energy["domains"].values()) > 0.99 * idle_w  # a second of it at least, on each node
