"""How wrong the energy of a window is: every tool on the same boards, its windows opened and closed at the same planned instants.

Four boards at once: two kinds of load, each on a counter that refreshes every 20 and every 100 ms.

* half swing: a square wave between 150 and 300 W, 0.8 s, at no particular phase of the window;
* job: 90 W when idle and 600 W while a job runs, which starts up to 15 % of its length after the window and ends as long before it.

Each adapter (benchmarks/known_joules) says when its calls were made and when they returned; a figure's error is against the true energy
between these instants, whichever of them favours it. Lengths are random within 15 % of the nominal, and so are starts.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from benchmarks.known_joules.adapter import AdapterProcess, Answer, started
from benchmarks.known_joules.judge import Truth, error_of, truth_of
from benchmarks.known_joules.tools import Tool
from tests.standin import Board, Standin, many_boards

WINDOWS = {0.05: 60, 0.25: 60, 1.0: 40, 5.0: 24}
"""How many windows of each nominal length (s)."""

COUNTERS_S = (0.02, 0.1)
LOADS = ("half swing", "job")
MARGIN = 0.15
LEAD_S = 0.25
_BETWEEN_S = (0.6, 0.7)  # from a window's end to the next one's earliest start, a little different for each length


@dataclass(frozen=True, slots=True)
class Told:
    """What a tool said of one window of one board. ``half_width_j``: of its stated 95 % interval."""

    tool: str
    length_s: float
    counter_s: float
    load: str
    truth: Truth | None
    joules: float | None
    half_width_j: float | None
    reason: str | None

    @property
    def error(self) -> float | None:
        """The relative error of its figure."""
        return None if self.joules is None or self.truth is None else error_of(self.joules, self.truth)


@dataclass(frozen=True, slots=True)
class Plan:
    """Jobs of ``job_s`` that start every ``period_s`` from ``phase_s`` on, so that windows can be planned around them."""

    nominal_s: float
    period_s: float
    phase_s: float

    @property
    def job_s(self) -> float:
        """How long a job runs."""
        return (1 - MARGIN) * self.nominal_s

    def boards(self) -> tuple[Board, ...]:
        """Each load on each counter."""
        kinds = [(load, counter_s) for load in LOADS for counter_s in COUNTERS_S]
        return tuple(self._board(load, counter_s, i) for i, (load, counter_s) in enumerate(kinds))

    def _board(self, load: str, counter_s: float, number: int) -> Board:
        known = many_boards(number + 1)[number]
        shape = (
            {"base_w": 150.0, "swing_w": 150.0, "period_s": 0.8}
            if load == "half swing"
            else {"base_w": 90.0, "swing_w": 510.0, "period_s": self.period_s, "phase_s": self.phase_s, "duty": self.job_s / self.period_s}
        )
        counter = {"counter_period_s": counter_s, "counter_phase_s": 0.0137 * number, "energy_offset_j": 1e6}
        return Board(shape="square", uuid=known.uuid, pci_bus_id=known.pci_bus_id, seed=known.seed, **counter, **shape)

    def next_window(self, rng: random.Random) -> tuple[float, float]:
        """(begin, length) of a window around the next job."""
        before, after = rng.uniform(0, MARGIN) * self.nominal_s, rng.uniform(0, MARGIN) * self.nominal_s
        jobs = (time.perf_counter() + LEAD_S + before - self.phase_s) // self.period_s + 1
        return self.phase_s + jobs * self.period_s - before, before + self.job_s + after


def measure(tools: Sequence[Tool], rng: random.Random, progress: Callable[[str], None]) -> list[Told]:
    """Every tool on every window."""
    found = []
    for nominal_s, count in WINDOWS.items():
        progress(f"{count} windows of {nominal_s:g} s")
        period_s = (1 + MARGIN) * nominal_s + rng.uniform(*_BETWEEN_S)
        plan = Plan(nominal_s, period_s, rng.uniform(0, period_s))
        with _adapters(tools, Standin(boards=plan.boards())) as adapters:
            for _ in range(count):
                begin_s, length_s = plan.next_window(rng)
                for adapter in adapters:
                    adapter.order(begin_s, length_s)
                for tool, adapter in zip(tools, adapters, strict=True):
                    found += _told(tool, plan, adapter.answer())
    return found


@contextlib.contextmanager
def _adapters(tools: Sequence[Tool], standin: Standin) -> Iterator[list[AdapterProcess]]:
    with contextlib.ExitStack() as stack:
        adapters = [stack.enter_context(started(tool.command, standin)) for tool in tools]
        for tool, adapter in zip(tools, adapters, strict=True):
            if not adapter.greeting().get("ready"):
                raise SystemExit(f"{tool.name} can't be used here: {adapter.greeting()}")
        yield adapters


def _told(tool: Tool, plan: Plan, answer: Answer) -> Iterator[Told]:
    for number, board in enumerate(plan.boards()):
        said = answer.get("boards", {}).get(str(number), {})
        yield Told(
            tool=tool.name,
            length_s=plan.nominal_s,
            counter_s=board.counter_period_s,
            load=LOADS[number // len(COUNTERS_S)],
            truth=truth_of([board], answer["begin_s"], answer["end_s"]) if "end_s" in answer else None,
            joules=said.get("joules"),
            half_width_j=said.get("half_width_j"),
            reason=said.get("reason") or answer.get("error") or answer.get("died"),
        )
