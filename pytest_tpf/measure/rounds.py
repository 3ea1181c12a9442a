"""How many calls make a round and how many rounds make a measurement: the plan behind ``tpf(fn)``. Pure."""

from __future__ import annotations

import math

from pytest_tpf.records import record

MIN_ROUNDS = 3
MAX_ROUNDS = 1000


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
