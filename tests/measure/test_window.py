"""The energy of a window over several domains."""

from __future__ import annotations

import pytest

from pytest_tpf.measure.trace import Recording
from pytest_tpf.measure.window import window_energy
from tests.measure.simulated import constant, stepped_trace


def test_scales_of_one_kind_of_sensor_are_off_together_and_those_of_different_kinds_are_not():
    boards = [stepped_trace(constant(300.0), 0.1, domain=f"gpu:{index}") for index in range(8)]
    host = stepped_trace(constant(300.0), 0.1, domain="cpu:0")
    energy = window_energy(Recording(traces=tuple(boards)), [(0.5, 2.5)])
    assert energy.gain_uncertainty_j == pytest.approx(0.05 * energy.joules)  # eight boards of a model are no better known than one
    both = window_energy(Recording(traces=(boards[0], host)), [(0.5, 2.5)])
    assert both.gain_uncertainty_j == pytest.approx(0.05 * both.joules / 2**0.5)
    assert window_energy(Recording(traces=()), [(0.5, 2.5)]).gain_uncertainty_j == 0.0
