"""Other rules on the same rounds: pytest-benchmark's, and a plain t-test. They get all ten rounds of either side that ours may ask for."""

from __future__ import annotations

import math

from benchmarks.gate.recorded import joules_per_token, mean, variance
from benchmarks.gate.simulate import Case
from pytest_tpf.judge.distributions import student_tail


def sides(case: Case) -> tuple[list[float], list[float]]:
    """(new, old) J/token by round; old: the newest ten rounds of the reference."""
    old = [joules_per_token(each) for one in case.old[:2] for each in one.rounds]
    return [joules_per_token(each) for each in case.new], old


def mean_5_percent(case: Case) -> bool:
    """``--benchmark-compare-fail=mean:5%``: the new mean is more than 5 % above the old one."""
    new, old = sides(case)
    return mean(new) / mean(old) - 1 > 0.05


def welch_5_percent(case: Case) -> bool:
    """Welch's t-test, one-sided, at 5 %: is the new mean above the old one?"""
    new, old = sides(case)
    parts = [(variance(side) / len(side), len(side) - 1) for side in (new, old)]
    total = math.fsum(part for part, _ in parts)
    degrees = total**2 / math.fsum(part**2 / degrees for part, degrees in parts)
    return student_tail((mean(new) - mean(old)) / math.sqrt(total), degrees) < 0.05
