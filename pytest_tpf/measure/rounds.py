"""How many calls make a round and how many rounds make a measurement: the plan behind ``tpf(fn)``. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

from pytest_tpf.records import record

MIN_ROUNDS = 3
MAX_ROUNDS = 1000

_Point = TypeVar("_Point")


@record
class Effort:
    """What the user will spend: ``rounds`` exactly, or as many as ``target_ci`` needs within ``max_time_s``, but ``least`` in any case."""

    rounds: int | None
    warmup: int
    max_time_s: float
    target_ci: float
    least: int = MIN_ROUNDS


def calls_per_round(call_s: float, shortest_round_s: float) -> int:
    """Calls in a round so that it lasts at least ``shortest_round_s``, as timeit does; at least 1."""
    return max(1, math.ceil(shortest_round_s / max(call_s, 1e-9)))


def rounds_wanted(effort: Effort, done: int, round_s: float, spent_s: float, half_width: float | None, undecided: bool) -> int:
    """How many rounds there should be in all, seen after ``done`` of them (never fewer than ``done``).

    ``half_width``: relative half-width of the 95 % interval of J/token, None where unknown (then time decides).
    ``undecided``: a budget's limit lies inside the interval, so the interval should shrink although it is narrow enough.
    The half-width shrinks with the square root of the number of rounds.
    """
    if effort.rounds is not None:
        return max(done, effort.rounds)
    if done < effort.least:
        return effort.least
    affordable = done + max(0, math.floor((effort.max_time_s - spent_s) / max(round_s, 1e-9)))
    needed = 2 * done if half_width is None or undecided else math.ceil(done * (half_width / effort.target_ci) ** 2)
    return max(done, min(needed, affordable, MAX_ROUNDS))


def passes_wanted(effort: Effort, done: int, spent_s: float, half_width: float | None) -> int:
    """How often every point of a grid should be visited in all, seen after ``done`` times: as often as rounds are made otherwise.

    An even number where the user didn't fix it, as ``visiting_order`` wants it. ``half_width``: relative, of what is fitted.
    """
    wanted = rounds_wanted(effort, done, spent_s / max(done, 1), spent_s, half_width, undecided=False)
    return wanted if effort.rounds is not None else wanted + wanted % 2


def visiting_order(grid: Sequence[_Point], done: int) -> Sequence[_Point]:
    """The order of the pass after ``done`` others: there, and back again.

    Seen twice so, every point has the same mean place in time: a steady drift adds as much to each and makes no slope. What a warm-up
    bends cancels in the slopes of a sorted grid, too, since it is alike at both ends.
    """
    return grid[::-1] if done % 2 else grid
