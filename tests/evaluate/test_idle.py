"""Idle power is taken from a machine that is idle, with its uncertainty, or not at all and with the reason."""

from __future__ import annotations

import dataclasses

import pytest

from pytest_tpf.evaluate.context import IdlePower
from pytest_tpf.evaluate.idle import idle_power, may_settle
from pytest_tpf.idle import FRESH_S, RETRY_S, IdleWatch
from pytest_tpf.measure.trace import Recording
from pytest_tpf.meters.protocol import BoardProcess, Status
from tests.evaluate.runs import trace

WINDOW = (1.0, 1.4)


def recording(*traces, utilization: float | None = 0.0) -> Recording:
    statuses = tuple(Status(domain="gpu:0", t=1.0 + 0.1 * i, utilization=utilization) for i in range(4))
    return Recording(traces=traces or (trace(watts=75.0),), statuses=statuses)


def fading(fall_w: float):
    """A board whose power falls from one half of the window to the other."""
    plain = trace(watts=75.0)
    edges = tuple(dataclasses.replace(e, joules=e.joules + fall_w * min(max(e.t - 1.0, 0.0), 0.2)) for e in plain.edges)
    return dataclasses.replace(plain, edges=edges)


def test_a_steady_idle_machine_has_idle_power_with_a_small_uncertainty():
    found = idle_power(recording(), WINDOW, 0.02, ())
    assert found.total_w == pytest.approx(75.0)
    assert found.reason is None
    assert 0 <= found.uncertainty_w < 1.0


def test_a_fading_load_is_not_idle_power_but_may_settle():
    found = idle_power(recording(fading(40.0)), WINDOW, 0.02, ())
    assert found.total_w is None
    assert found.reason.startswith("power had not settled: it moved by 40 W")
    assert may_settle(found)


def test_a_little_movement_goes_into_the_uncertainty():
    found = idle_power(recording(fading(4.0)), WINDOW, 0.02, ())
    assert found.total_w == pytest.approx(77.0, abs=0.1)
    assert found.uncertainty_w == pytest.approx(1.96 * 2.0, rel=0.1)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"utilization": 0.3}, "an accelerator was 30% busy while idle power was taken"),
        (
            {"processes": (BoardProcess(domain="gpu:0", device="GPU-1", pid=5, name="train", sm_utilization=0.2),)},
            "train (pid 5) computed on",
        ),
        ({"traces": (trace(watts=75.0), trace("cpu:0", 10.0)), "busy": 0.4}, "the host was 40% busy while idle power was taken"),
        ({"window": (500.0, 500.4)}, "the meters could not tell the idle window"),
    ],
)
def test_a_machine_that_works_has_none_and_the_reason(settings, reason):
    found = idle_power(
        recording(*settings.get("traces", ()), utilization=settings.get("utilization", 0.0)),
        settings.get("window", WINDOW),
        settings.get("busy", 0.02),
        settings.get("processes", ()),
    )
    assert found.total_w is None
    assert found.reason.startswith(reason)
    assert not may_settle(found)


def test_a_busy_host_does_not_matter_where_only_boards_are_metered():
    assert idle_power(recording(), WINDOW, 0.9, ()).total_w == pytest.approx(75.0)


def test_a_resident_process_that_does_nothing_is_no_work():
    resident = BoardProcess(domain="gpu:0", device="GPU-1", pid=5, name="server", used_memory_bytes=1 << 30)
    assert idle_power(recording(), WINDOW, 0.02, (resident,)).total_w == pytest.approx(75.0)


class Machine:
    """A clock and what idle power is found to be, in turn."""

    def __init__(self, *found: IdlePower) -> None:
        self.now_s, self.found, self.taken = 0.0, list(found), 0
        self.watch = IdleWatch(self.take, lambda: self.now_s)

    def take(self) -> IdlePower:
        self.taken += 1
        return self.found.pop(0) if len(self.found) > 1 else self.found[0]


def known(watts) -> IdlePower:
    return IdlePower(total_w=watts, uncertainty_w=1.0)


BUSY = IdlePower(total_w=None, reason="an accelerator was 30% busy while idle power was taken")
FADING = IdlePower(total_w=None, reason="power had not settled: it moved by 40 W while idle power was taken")


def test_idle_power_is_taken_once_while_it_is_fresh():
    machine = Machine(known(75.0))
    for _ in range(3):
        machine.watch.refresh()
    assert machine.taken == 1
    assert machine.watch.latest == known(75.0)


def test_an_old_one_is_taken_again_and_stands_beside_the_first():
    machine = Machine(known(75.0), known(90.0), known(95.0))
    for later_s in (0.0, FRESH_S + 1, FRESH_S + 1):
        machine.now_s += later_s
        machine.watch.refresh()
    assert machine.watch.latest == IdlePower(total_w=95.0, uncertainty_w=1.0, earlier_w=75.0)


def test_a_fading_load_is_waited_for():
    machine = Machine(FADING, FADING, known(75.0))
    machine.watch.refresh()
    assert machine.taken == 3
    assert machine.watch.latest == known(75.0)


def test_a_busy_machine_is_tried_again_before_later_tests_and_then_less_often():
    machine = Machine(BUSY)
    for _ in range(10):
        machine.watch.refresh()
    assert machine.taken == 3
    assert machine.watch.latest == BUSY
    machine.now_s += RETRY_S + 1
    machine.watch.refresh()
    assert machine.taken == 4


def test_what_was_known_goes_on_to_serve():
    machine = Machine(known(75.0), BUSY)
    machine.watch.refresh()
    machine.now_s += FRESH_S + 1
    machine.watch.refresh()
    assert machine.watch.latest == known(75.0)


def test_idle_power_is_that_of_the_servers_that_are_there():
    machine = Machine(known(75.0), known(110.0), BUSY)
    machine.watch.refresh(frozenset({1}))
    machine.watch.refresh(frozenset({1, 2}))  # a server holds its model now
    assert machine.watch.latest == known(110.0), "and that is no drift"
    machine.watch.refresh(frozenset({1, 2}))
    assert machine.taken == 2
    machine.watch.refresh(frozenset({1, 3}))
    assert machine.watch.latest == BUSY, "what another server drew is no answer"
