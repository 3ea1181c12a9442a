"""Measures scenarios with tools: starts adapters, orders windows at random instants, and has every answer judged.

Windows of different tools never overlap, but for scenarios that are ``calm``: of those four are measured at a time, twice each.
"""

from __future__ import annotations

import contextlib
import dataclasses
import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from benchmarks.known_joules.adapter import AdapterProcess, Answer, started
from benchmarks.known_joules.batch import Batch, batches
from benchmarks.known_joules.judge import Claim, Truth, Verdict, claim_of, error_of, plain, truth_of, verdict
from benchmarks.known_joules.scenario import Scenario
from benchmarks.known_joules.scenarios import CONTROL
from benchmarks.known_joules.tools import Tool
from tests.standin import Standin

CALM_AT_ONCE, CALM_REPEATS = 4, 2
LEAD_S = 0.15  # from an order to the earliest begin of its window
SPREAD_S = 0.3  # windows begin at random within this time after that
SETTLED_S = 1.0  # a board's planned misfortune comes at least so long after its tool was ready
FIRST_ALLOWANCE_S = 4.0
ATTEMPTS = 4


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One window of one scenario as one tool told it. ``truth`` and ``error`` are what a perfect reader of the same sensor would say;
    the ``absolute`` ones are the energy itself, which differs where the scenario's gain is not 1."""

    scenario: Scenario
    tool: str
    length_s: float
    truth: Truth | None
    claim: Claim
    verdict: Verdict
    error: float | None
    absolute_verdict: Verdict
    absolute_error: float | None


class Suite:
    """The tools and what is known of each by now."""

    def __init__(self, tools: Sequence[Tool], seed: int) -> None:
        self.versions: dict[str, str] = {}
        self._tools = tools
        self._random = random.Random(seed)
        self._allowance_s = {tool.name: FIRST_ALLOWANCE_S for tool in tools}
        self._always_said: dict[str, frozenset[str]] = {tool.name: frozenset() for tool in tools}

    def measure(self, scenarios: Sequence[Scenario], repeats: int, progress: Callable[[str], None]) -> list[Outcome]:
        """Every scenario with every tool, ``repeats`` times."""
        self._meet(progress)
        found: list[Outcome] = []
        every = batches(scenarios)
        calm = [(batch, tool) for batch in every if batch.first.calm for tool in self._tools]
        rest = [batch for batch in every if not batch.first.calm]
        for number, batch in enumerate(rest):
            progress(f"{number + 1}/{len(rest)} {batch.first.category}: {batch.first.name}" + " ..." * batch.shared)
            found += self._planned(batch, self._tools, repeats) if batch.first.timed else self._in_turn(batch, self._tools, repeats)
        progress(f"{len(calm)} measurements in which timing plays no part, {CALM_AT_ONCE} at a time")
        with ThreadPoolExecutor(CALM_AT_ONCE) as pool:
            for outcomes in pool.map(lambda pair: self._alone(*pair, min(repeats, CALM_REPEATS)), calm):
                found += outcomes
        return found

    def _meet(self, progress: Callable[[str], None]) -> None:
        """Learn each tool's version, how long it takes to start, and what it says in the plainest of windows."""
        for tool in self._tools:
            progress(f"starting {tool.name}")
            batch = Batch((CONTROL,))
            with self._adapter(batch, tool, batch.standin(0.0, 0.0)) as adapter:
                greeting = adapter.greeting()
                if not greeting.get("ready"):
                    raise SystemExit(f"{tool.name} can't be used here: {greeting}")
                answers = [adapter.window(time.perf_counter() + LEAD_S, 0.3) for _ in range(2)]
            said = [*greeting.get("notes", ()), *(text for answer in answers for text in answer.get("flags", ()))]
            self._always_said[tool.name] = frozenset(map(plain, said))
            self.versions[tool.name] = f"{greeting['distribution']} {greeting['version']}"

    # --- three ways through a batch

    def _in_turn(self, batch: Batch, tools: Sequence[Tool], repeats: int) -> list[Outcome]:
        """All tools are started together; then their windows take turns, in random order."""
        found: list[Outcome] = []
        with contextlib.ExitStack() as stack:
            standin = batch.standin(0.0, 0.0)
            adapters = [(tool, stack.enter_context(self._adapter(batch, tool, standin))) for tool in tools]
            for _, adapter in adapters:
                adapter.greeting()
            for _ in range(repeats):
                length_s = self._random.uniform(*batch.first.length_s)
                for tool, adapter in self._random.sample(adapters, len(adapters)):
                    begin_s = time.perf_counter() + LEAD_S + self._random.uniform(0.0, SPREAD_S)
                    found += self._judged(batch, tool, adapter, adapter.window(begin_s, length_s), begin_s, length_s)
        return found

    def _planned(self, batch: Batch, tools: Sequence[Tool], repeats: int) -> list[Outcome]:
        """What happens to a board must be planned before its tool starts: one process a window."""
        return [
            outcome
            for _ in range(repeats)
            for length_s in [self._random.uniform(*batch.first.length_s)]
            for tool in tools
            for outcome in self._planned_window(batch, tool, length_s)
        ]

    def _planned_window(self, batch: Batch, tool: Tool, length_s: float) -> list[Outcome]:
        for _ in range(ATTEMPTS):
            started_s = time.perf_counter()
            begin_s = started_s + self._allowance_s[tool.name] + self._random.uniform(0.0, SPREAD_S)
            with self._adapter(batch, tool, batch.standin(begin_s, length_s)) as adapter:
                adapter.greeting()
                start_up_s = time.perf_counter() - started_s
                if started_s + start_up_s + SETTLED_S < begin_s:
                    answer = adapter.window(begin_s, length_s)
                    self._allowance_s[tool.name] = max(1.4 * start_up_s + SETTLED_S + 0.2, 0.8 * self._allowance_s[tool.name])
                    return self._judged(batch, tool, adapter, answer, begin_s, length_s)
                self._allowance_s[tool.name] = 2 * (start_up_s + SETTLED_S)
        raise SystemExit(f"{tool.name} starts too slowly for {batch.first.name!r}: {self._allowance_s[tool.name]:.0f} s were not enough")

    def _alone(self, batch: Batch, tool: Tool, repeats: int) -> list[Outcome]:
        return self._planned(batch, [tool], repeats) if batch.first.timed else self._in_turn(batch, [tool], repeats)

    # --- one window

    def _adapter(self, batch: Batch, tool: Tool, standin: Standin) -> contextlib.AbstractContextManager[AdapterProcess]:
        return started(tool.command, standin, batch.first.environment)

    def _judged(self, batch: Batch, tool: Tool, adapter: AdapterProcess, answer: Answer, begin_s: float, length_s: float) -> list[Outcome]:
        notes = adapter.greeting().get("notes", ())
        found = []
        for index, (scenario, boards) in enumerate(zip(batch.scenarios, batch.boards(begin_s, length_s), strict=True)):
            counted = boards if scenario.visible is None else [boards[i] for i in scenario.visible]
            claim = claim_of(answer, self._always_said[tool.name], index if batch.shared else None, notes)
            truth = truth_of(counted, answer["begin_s"], answer["end_s"]) if {"begin_s", "end_s"} <= answer.keys() else None
            found.append(outcome(scenario, tool.name, length_s, truth, claim))
        return found


def outcome(scenario: Scenario, tool: str, length_s: float, truth: Truth | None, claim: Claim) -> Outcome:
    """A claim, judged against what the sensor can tell and against the energy itself."""
    true = truth or Truth(least_j=0.0, most_j=0.0)  # without a window there is no figure either
    read = true.scaled(scenario.gain)
    return Outcome(
        scenario=scenario,
        tool=tool,
        length_s=length_s,
        truth=truth and read,
        claim=claim,
        verdict=verdict(claim, read, scenario.expect),
        error=None if claim.joules is None else error_of(claim.joules, read),
        absolute_verdict=verdict(claim, true, scenario.expect, absolute=True),
        absolute_error=None if claim.joules is None else error_of(claim.joules, true),
    )
