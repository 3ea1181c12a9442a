"""What a tool's answer is worth, against the truth. Pure."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Any, Literal

from benchmarks.known_joules.scenario import Expect
from tests.standin import Board

Verdict = Literal["right", "refused honestly", "refused needlessly", "inaccurate", "wrong, flagged", "crashed", "wrong silently"]
VERDICTS: tuple[Verdict, ...] = (
    "right",
    "refused honestly",
    "refused needlessly",
    "inaccurate",
    "wrong, flagged",
    "crashed",
    "wrong silently",
)
"""From good to bad."""

CLOSE = 0.02
"""Where a tool states no interval, a figure this near to the truth is right."""

WRONG = 0.05
"""A figure outside its interval (or not close) is wrong beyond this relative error and inaccurate below it."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a tool said of one window: ``joules``, or why it said none. Half widths are those of stated 95 % intervals (J).

    ``error``: an exception left the tool; ``died``: its process ended or stopped answering.
    """

    joules: float | None = None
    half_width_j: float | None = None
    absolute_half_width_j: float | None = None
    reason: str | None = None
    error: str | None = None
    died: str | None = None
    flags: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """The true energy between the instants at which the tool's calls returned and were called (``least_j``), and the other way round
    (``most_j``): no tool is blamed for what the board used during the tool's own calls."""

    least_j: float
    most_j: float

    def scaled(self, factor: float) -> Truth:
        """What sensors say that multiply the truth by ``factor``."""
        return Truth(least_j=factor * self.least_j, most_j=factor * self.most_j)

    def nearest_j(self, joules: float) -> float:
        """The true energy that is nearest to ``joules``."""
        return min(max(joules, self.least_j), self.most_j)


def truth_of(boards: Sequence[Board], begin_s: Sequence[float], end_s: Sequence[float]) -> Truth:
    """The energy of ``boards`` in a window; ``begin_s`` and ``end_s`` are when each call was made and when it returned."""
    return Truth(
        least_j=sum(board.true_energy_j(begin_s[1], end_s[0]) for board in boards),
        most_j=sum(board.true_energy_j(begin_s[0], end_s[1]) for board in boards),
    )


def claim_of(answer: dict[str, Any], always_said: frozenset[str], board: int | None = None, notes: Sequence[str] = ()) -> Claim:
    """The claim in an adapter's answer: of the whole, or of one of many boards.

    ``always_said``: remarks (``plain``) that the tool makes in the plainest of windows; they are no flags. ``notes``: those at its start.
    """
    if not {"error", "died", "refused"}.isdisjoint(answer):
        return Claim(error=answer.get("error"), died=answer.get("died"), reason=answer.get("refused"))
    said = answer if board is None else answer["boards"].get(str(board), {"reason": "not among the tool's boards"})
    joules = said.get("joules")
    remarks = [text for text in (*notes, *answer["flags"]) if plain(text) not in always_said]
    return Claim(
        joules=None if joules is None else float(joules),
        half_width_j=said.get("half_width_j"),
        absolute_half_width_j=said.get("absolute_half_width_j"),
        reason=said.get("reason"),
        flags=tuple(text for text in remarks if board is None or concerns(text, board, joules)),
    )


def plain(text: str) -> str:
    """A remark without its numbers, so that the same remark is known again."""
    return re.sub(r"\d+(\.\d+)?", "#", text)


def concerns(text: str, board: int, joules: float | None) -> bool:
    """Whether a remark on a window over many boards is about this one: it names it, or speaks of zeros where its energy is zero."""
    named = re.search(r"\bGPU[ :]?(\d+)\b", text, re.IGNORECASE)
    return int(named[1]) == board if named else "zero" in text and joules == 0


def error_of(joules: float, truth: Truth) -> float | None:
    """The relative error of a figure; None where the truth is zero."""
    nearest_j = truth.nearest_j(joules)
    return joules / nearest_j - 1 if nearest_j else None


def verdict(claim: Claim, truth: Truth, expect: Expect, *, absolute: bool = False) -> Verdict:
    """What the claim is worth. ``absolute`` takes the interval that includes the sensor's scale.

    Remarks count where no interval is stated. Where one is, it is what the tool says of how far it may be off; remarks don't widen it.
    """
    if claim.died or (claim.error and expect == "energy"):
        return "crashed"
    if claim.joules is None:
        return "refused needlessly" if expect == "energy" else "refused honestly"
    nearest_j = truth.nearest_j(claim.joules)
    off_j = abs(claim.joules - nearest_j)
    half_width_j = claim.absolute_half_width_j if absolute else claim.half_width_j
    if off_j <= (CLOSE * nearest_j if half_width_j is None else half_width_j):
        return "right"
    if claim.flags and half_width_j is None:
        return "wrong, flagged" if expect == "energy" else "refused honestly"
    return "inaccurate" if off_j <= WRONG * nearest_j else "wrong silently"
