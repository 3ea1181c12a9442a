"""Scenarios that share a process: a tool's library is configured when its process starts, so each configuration needs one."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.known_joules.scenario import Scenario, placed
from tests.standin import Board, Standin, many_boards

MOST_BOARDS = 12


@dataclass(frozen=True, slots=True)
class Batch:
    """One scenario, or several of one board each, which are then measured in the same windows."""

    scenarios: tuple[Scenario, ...]

    @property
    def first(self) -> Scenario:
        """The scenario whose lengths, environment and timing are those of all."""
        return self.scenarios[0]

    @property
    def shared(self) -> bool:
        """Whether each board is a scenario of its own."""
        return len(self.scenarios) > 1

    def standin(self, begin_s: float, length_s: float) -> Standin:
        """The driver library for a window that is planned for these instants."""
        if not self.shared:
            return self.first.standin(begin_s, length_s)
        return Standin(boards=tuple(board for (board,) in self.boards(begin_s, length_s)))

    def boards(self, begin_s: float, length_s: float) -> list[tuple[Board, ...]]:
        """For each scenario its boards."""
        if not self.shared:
            return [self.first.standin(begin_s, length_s).boards]
        ids = many_boards(len(self.scenarios))
        boards = (scenario.boards[0] for scenario in self.scenarios)
        named = [dataclasses.replace(b, uuid=i.uuid, pci_bus_id=i.pci_bus_id, seed=i.seed) for b, i in zip(boards, ids, strict=True)]
        return [(placed(board, begin_s, length_s) if self.first.timed else board,) for board in named]


def batches(scenarios: Sequence[Scenario]) -> list[Batch]:
    """The scenarios in as few processes as their groups allow."""
    together: dict[object, list[Scenario]] = {}
    for number, scenario in enumerate(scenarios):
        key = (scenario.group, scenario.length_s, scenario.timed) if scenario.group else number
        together.setdefault(key, []).append(scenario)
    return [Batch(tuple(rows[i : i + MOST_BOARDS])) for rows in together.values() for i in range(0, len(rows), MOST_BOARDS)]
