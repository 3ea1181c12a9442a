"""A test whose tokens were made by a server: which joules are its, and what is judged without them."""

from __future__ import annotations

import dataclasses

import pytest

from pytest_tpf.evaluate import evaluate
from pytest_tpf.gate import gate_problems
from pytest_tpf.markers import parse_marker
from pytest_tpf.measure.reach import Server
from pytest_tpf.meters.protocol import BoardProcess
from pytest_tpf.observation import Surroundings
from pytest_tpf.settings import Settings
from tests.evaluate.runs import IDENTITY, context, generation, observation, one_round
from tests.measure.test_reach import ELSEWHERE, MACHINE, OURS, reaching

MARKER = parse_marker((), {"max_joules_per_token": 1000.0, "max_output_tokens": 8, "max_e2e_s": 2.0, "max_ttft_s": 1.0})


def record(*traces, server: Server | None, endpoint=None, **more):
    served = generation(endpoint=endpoint or (server and server.endpoint), outputs=(8,))
    seen = observation(one_round(0.0, 10.0, served), drawn=False)
    return evaluate(seen, IDENTITY, MARKER, context(*traces, servers=() if server is None else (server,), **more), {})


def verdicts(test):
    return {budget.metric: budget.verdict for budget in test.budgets}


@pytest.mark.parametrize(("reach", "server"), [("processes", MACHINE), ("machine", ELSEWHERE)])
def test_the_clients_joules_are_never_the_servers(reach, server):
    test = record(reaching(reach), server=server)
    energy = test.energy
    known = (energy.it_j, energy.call_j, energy.net_j, energy.idle_power_w, energy.idle_share, energy.uncertainty_j, energy.trust)
    assert known == (None,) * 7
    assert (energy.valid, energy.reasons, energy.domains) == (False, ("server_not_metered",), {"cpu:0": None})
    assert test.power.mean_w is test.power.peak_w is None
    assert [each.it_j for each in test.rounds] == [None]
    assert test.mandated.joules_per_token.value is None
    assert "server_not_metered" in test.mandated.joules_per_token.reason
    assert server.endpoint in test.warnings[0]


def test_everything_but_joules_is_judged_all_the_same():
    test = record(reaching("machine"), server=ELSEWHERE)
    assert verdicts(test) == {
        "joules_per_token": "not_measured",
        "output_tokens_per_request": "pass",
        "e2e_p95_s": "pass",
        "ttft_p95_s": "pass",
    }


@pytest.mark.parametrize(("reach", "server"), [("processes", OURS), ("machine", MACHINE), ("anywhere", ELSEWHERE)])
def test_a_server_that_the_meter_sees_is_as_good_as_this_process(reach, server):
    assert record(reaching(reach), server=server) == record(reaching(reach), server=None, endpoint=server.endpoint)


def test_a_run_without_joules_of_servers_is_no_run_without_measurements_unless_they_are_asked_for():
    tests = [record(reaching("machine"), server=ELSEWHERE)]
    assert gate_problems(tests, 1, Settings()) == []
    (problem,) = gate_problems(tests, 1, Settings(require="measured"))
    assert "server_not_metered" in problem


def test_in_part_the_servers_joules_are_told_and_the_clients_left_out():
    test = record(reaching("machine", watts=7.0), reaching("anywhere", "gpu:0", watts=50.0), server=ELSEWHERE)
    assert test.energy.domains == {"gpu:0": pytest.approx(50.0)}
    assert test.energy.it_j == pytest.approx(50.0)
    assert test.energy.unmetered == ("cpu:0",)
    assert (test.energy.idle_power_w, test.energy.net_j) == (None, None)
    assert any(warning.startswith("idle power is unknown: ") for warning in test.warnings)
    assert verdicts(test)["joules_per_token"] == "pass"


def test_a_server_that_made_nothing_of_the_measured_rounds_does_not_matter():
    assert record(reaching("machine"), server=ELSEWHERE, endpoint="http://127.0.0.1:1").energy.it_j is not None


def test_who_else_was_on_the_clients_board_says_nothing_of_the_server():
    process = BoardProcess(domain="gpu:0", device="GPU-1", pid=1, own=True)
    others = dataclasses.replace(process, pid=2, own=False, sm_utilization=0.9)
    around = Surroundings(before=(process, others), after=(process, others), unlocked=("gpu:0 could be measured by others",))
    assert record(reaching("machine", "gpu:0"), server=OURS, surroundings=around).conditions.flags
    assert record(reaching("machine", "gpu:0"), server=ELSEWHERE, surroundings=around).conditions.flags == ()
