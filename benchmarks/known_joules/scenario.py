"""What a scenario is."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal

from tests.standin import Board, Standin

Expect = Literal["energy", "unknowable", "nothing"]
"""``energy``: what the board shows tells the window's energy, so a figure is wanted. ``unknowable``: it doesn't, so a refusal is honest.
``nothing``: the process may use no board; 0 J and a refusal are both right."""

MOMENTS = ("step_at_s", "step_until_s", "reset_at_s", "lost_at_s")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A known amount of energy and what surrounds it.

    ``length_s``: window lengths are drawn from this range, uniformly, anew for every repetition.
    ``environment``: variables of the tool's process; ``visible``: the boards that count, by the driver's index (None: all).
    ``timed``: the boards' ``MOMENTS`` are places in the window instead of instants: 0 its begin, 1 its end, less or more before or after.
    ``group``: one-board scenarios of the same group and lengths share a process and its windows, one board each; empty: alone.
    ``calm``: nothing here depends on timing finely, so several may be measured at once.
    """

    name: str
    category: str
    boards: tuple[Board, ...]
    length_s: tuple[float, float]
    expect: Expect = "energy"
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    visible: tuple[int, ...] | None = None
    fail: tuple[tuple[str, int], ...] = ()
    init_error: int = 0
    timed: bool = False
    group: str = ""
    calm: bool = False

    @property
    def gain(self) -> float:
        """What the boards' sensors multiply the truth with; the same for all boards of a scenario."""
        return self.boards[0].gain if self.boards else 1.0

    def standin(self, begin_s: float = 0.0, length_s: float = 0.0) -> Standin:
        """The driver library for a window that is planned for these instants (they matter where ``timed``)."""
        boards = tuple(placed(board, begin_s, length_s) for board in self.boards) if self.timed else self.boards
        return Standin(boards=boards, fail=self.fail, init_error=self.init_error)


def placed(board: Board, begin_s: float, length_s: float) -> Board:
    """``board`` with its moments as instants of a window that begins at ``begin_s``."""
    never = Board()
    moved = {name: begin_s + place * length_s for name in MOMENTS if (place := getattr(board, name)) != getattr(never, name)}
    return dataclasses.replace(board, **moved)
