from __future__ import annotations

import dataclasses
import json
import os
import random
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.beside_peers.__main__ import NO_GPU, error_cell, goals_met, microseconds
from benchmarks.beside_peers.accuracy import COUNTERS_S, LOADS, MARGIN, Plan, Told
from benchmarks.beside_peers.cost import LOOP, TIMED, tree, tree_cpu_s
from benchmarks.known_joules.judge import Truth
from benchmarks.known_joules.tools import OURS
from benchmarks.peers import environment
from tests.standin import Board, Standin, StandinUnavailable

TOLD = Told(
    tool=OURS,
    length_s=0.25,
    counter_s=0.02,
    load="job",
    truth=Truth(least_j=100.0, most_j=100.0),
    joules=100.5,
    half_width_j=1.0,
    reason=None,
)
REFUSED = dataclasses.replace(TOLD, joules=None, reason="window_too_short")


@given(nominal_s=st.sampled_from((0.05, 0.25, 1.0, 5.0)), pause_s=st.floats(0.6, 0.7), seed=st.integers(0, 999))
def test_a_job_lies_whole_inside_its_window_and_no_other_does(nominal_s, pause_s, seed):
    plan = Plan(nominal_s, period_s=(1 + MARGIN) * nominal_s + pause_s, phase_s=0.1)
    begin_s, length_s = plan.next_window(random.Random(seed))
    assert (1 - MARGIN) * nominal_s <= length_s <= (1 + MARGIN) * nominal_s
    for board in plan.boards()[-len(COUNTERS_S) :]:
        expected_j = board.base_w * length_s + board.swing_w * plan.job_s
        assert board.true_energy_j(begin_s, begin_s + length_s) == pytest.approx(expected_j, rel=1e-6)


def test_boards_are_every_load_on_every_counter_in_the_order_of_the_table():
    boards = Plan(0.25, 0.9, 0.0).boards()
    assert [board.counter_period_s for board in boards] == [*COUNTERS_S] * len(LOADS)
    assert len({board.uuid for board in boards}) == len(boards)


def test_a_refused_window_is_counted_and_has_no_error():
    assert error_cell([TOLD, TOLD]) == "0.50 / 0.50 %"
    assert error_cell([TOLD, REFUSED]) == "0.50 / 0.50 % (1 of 2 refused)"
    assert error_cell([REFUSED, REFUSED]) == "all 2 refused"
    assert error_cell([]) == NO_GPU


def test_the_goals_are_for_our_windows_of_250_ms_on_both_counters():
    slow = dataclasses.replace(TOLD, counter_s=0.1)
    assert goals_met([TOLD, slow])
    assert not goals_met([TOLD])
    assert not goals_met([TOLD, dataclasses.replace(slow, joules=107.0)])


def test_times_are_shown_in_the_unit_that_reads_best():
    assert microseconds(4.94) == "4.9 us"
    assert microseconds(63_800.0) == "63.8 ms"
    assert microseconds(None) == NO_GPU


def test_the_cost_of_a_window_of_the_plugin_can_be_taken(tmp_path):
    try:
        variables = Standin(boards=(Board(counter_period_s=0.02, utilization_percent=0),)).environment(tmp_path)
    except StandinUnavailable as reason:
        pytest.skip(str(reason))
    command = [sys.executable, str(LOOP), TIMED[OURS].module, TIMED[OURS].name, "40", "0"]
    done = subprocess.run(command, env=environment(**variables, HOME=str(tmp_path)), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)) == {"wall_us", "cpu_us", "cold_us", "evaluate_ms"}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_the_cpu_of_a_process_and_its_children_is_seen():
    with subprocess.Popen([sys.executable, "-c", "sum(range(10**7)); input()"], stdin=subprocess.PIPE, text=True) as child:
        assert {os.getpid(), child.pid} <= set(tree(os.getpid()))
        child.communicate("\n")
    assert tree_cpu_s(os.getpid())[os.getpid()] > 0
