"""One condition studied: how often a suite in which nothing changed raises an alarm, and how often a change is caught."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.gate.recorded import Recorded
from benchmarks.gate.rivals import mean_5_percent, welch_5_percent
from benchmarks.gate.simulate import Case, Reference, a_suite, judged, learned, settled, worse

CHANGES = (0.05, 0.075, 0.10, 0.15, 0.20)
INJECTED = 2
"""Tests of a suite that are made worse, one at a time."""

RULES: dict[str, Callable[[Case], bool]] = {"pytest-benchmark mean:5%": mean_5_percent, "Welch's t-test at 5 %": welch_5_percent}


@dataclass(frozen=True)
class Found:
    """What a rule did: suites with an alarm and tests that raised one, of all; undecided tests; and of each change the share caught."""

    rule: str
    suites: int
    alarmed_suites: int
    tests: int
    alarmed_tests: int
    inconclusive_tests: int
    caught: dict[float, float]
    unsettled: dict[float, float]

    @property
    def alarms_in_20(self) -> float:
        """Of 20 runs in which nothing changed, so many raise an alarm."""
        return 20 * self.alarmed_suites / self.suites


def study(recorded: Sequence[Recorded], reference: Reference, suites: int, tests: int, seed: int, *, together: bool = False) -> list[Found]:
    """Our gate, and where the reference is a single run, the other rules on the same suites."""
    rng = random.Random(seed)
    ours, others = _Tally("tpf"), {name: _Tally(name) for name in RULES if reference.runs == 1}
    for _ in range(suites):
        cases = a_suite(rng, recorded, reference, tests, together=together)
        places = rng.sample(range(tests), INJECTED)
        _gate(ours, cases, places)
        for name, tally in others.items():
            tally.add([RULES[name](case) for case in cases], 0)
            for change in CHANGES:
                tally.caught[change] += sum(RULES[name](worse(cases[place], 1 + change)) for place in places)
    return [tally.found(suites, tests) for tally in (ours, *others.values())]


def _gate(tally: _Tally, cases: Sequence[Case], places: Sequence[int]) -> None:
    noise = learned(cases)
    changes = [judged(case, noise, len(cases)) for case in cases]
    unchanged = settled(changes)
    tally.add([each.verdict == "fail" for each in unchanged], sum(each.verdict == "inconclusive" for each in unchanged))
    for change in CHANGES:
        for place in places:
            injected = judged(worse(cases[place], 1 + change), noise, len(cases))
            with_it = settled([*changes[:place], injected, *changes[place + 1 :]])[place]
            tally.caught[change] += with_it.verdict == "fail"
            tally.unsettled[change] += with_it.verdict == "inconclusive"


class _Tally:
    def __init__(self, rule: str) -> None:
        self.rule = rule
        self.alarmed_suites = self.alarmed_tests = self.inconclusive = 0
        self.caught = dict.fromkeys(CHANGES, 0)
        self.unsettled = dict.fromkeys(CHANGES, 0)

    def add(self, alarms: Sequence[bool], inconclusive: int) -> None:
        self.alarmed_suites += any(alarms)
        self.alarmed_tests += sum(alarms)
        self.inconclusive += inconclusive

    def found(self, suites: int, tests: int) -> Found:
        trials = suites * INJECTED
        return Found(
            rule=self.rule,
            suites=suites,
            alarmed_suites=self.alarmed_suites,
            tests=suites * tests,
            alarmed_tests=self.alarmed_tests,
            inconclusive_tests=self.inconclusive,
            caught={change: count / trials for change, count in self.caught.items()},
            unsettled={change: count / trials for change, count in self.unsettled.items()},
        )
