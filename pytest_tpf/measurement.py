"""One test being measured: its rounds, its ledger and what it says of itself. The fixture and the plugin both drive it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from pytest_tpf.judge.budgets import is_undecided
from pytest_tpf.judge.steady import changing_head
from pytest_tpf.load.seen import LoadRun, linked
from pytest_tpf.measure.rounds import Effort, calls_per_round, passes_wanted, rounds_wanted, visiting_order
from pytest_tpf.observation import Counts, GridPoint, Ledger, MeasuredRound, Observation, Quality, Surroundings, tokens_of

if TYPE_CHECKING:
    from pytest_tpf.engines.protocol import Generation
    from pytest_tpf.markers import Marker
    from pytest_tpf.records import TestRecord

ENOUGH = 1.5  # calls wanted over calls made, up to which a round is long enough: two rounds never take the same time

SETTLING_ROUNDS = 24  # how many rounds are looked at one by one: what takes longer to settle is a drift, not a warm-up

Progress = Callable[["TestRecord | None", int, int], None]


class Bench(Protocol):
    """What a measurement needs of the session that runs it."""

    def synchronize(self) -> None:
        """Wait until accelerators have done what they were given."""

    def stagger(self) -> None:
        """Wait for a random moment where the meters see only part of the time, so that no two rounds are seen at the same places."""

    def shortest_window_s(self) -> float:
        """The shortest window that the session's meters can tell well enough (s)."""

    def evaluate(self, measurement: Measurement, refreshes: int = 1) -> TestRecord:
        """Compute the record of what was measured so far, after ``refreshes`` of the slowest counter."""

    def asks_for_more(self, measurement: Measurement) -> bool:
        """Whether the same is to be measured once more: it looks worse than it was, or it is to become what later runs are held against."""


class Measurement:
    """The measuring state of one test. Instants are ``time.perf_counter()`` seconds. ``point``: where in a fit's grid it is."""

    def __init__(self, nodeid: str, marker: Marker, effort: Effort, bench: Bench) -> None:
        self.nodeid = nodeid
        self.marker = marker
        self.effort = effort
        self.ledger = Ledger()
        self.quality: Quality | None = None
        self.extra: dict[str, Any] = {}
        self.params: dict[str, str] = {}
        self.drawn = False
        self.point: GridPoint | None = None
        self._load_run: LoadRun | None = None
        self._open_windows, self._window_start_s = 0, 0.0
        self.contended: tuple[str, ...] = ()
        self.surroundings = Surroundings()
        self._bench = bench
        self._rounds: list[MeasuredRound] = []
        self._calls_per_round = 1
        self._warmup_rounds = 0
        self._dropped_rounds = 0
        self.remeasured_rounds = 0
        self._warmup: list[tuple[Generation, ...]] = []
        self._is_repeated = False
        self._call_start_s = self._run_start_s = time.perf_counter()
        self._call_end_s: float | None = None
        self._is_running = False

    def observation(self) -> Observation:
        """What was seen so far."""
        return Observation(
            drawn=self.drawn,
            call=(self._call_start_s, time.perf_counter() if self._call_end_s is None else self._call_end_s),
            rounds=tuple(self._rounds),
            calls_per_round=self._calls_per_round,
            warmup_rounds=self._warmup_rounds,
            quality=self.quality,
            same_work=self._is_repeated,
            dropped_rounds=self._dropped_rounds,
            warmup=tuple(self._warmup),
        )

    def result(self, refreshes: int = 1) -> TestRecord:
        """The record as of now; waits for ``refreshes`` of the slowest counter."""
        return self._bench.evaluate(self, refreshes)

    # --- the test's body, as the plugin sees it -----------------------------------------------------------------------

    def start_call(self) -> None:
        """The body is about to run: counting starts here."""
        self.ledger.take()
        self._rounds.clear()
        self._call_start_s = self._run_start_s = self._open_round()
        self._call_end_s = None
        self._is_running = True

    def end_run(self) -> None:
        """The body has run once. Where it drew no window of its own, that run was a round."""
        if not self._is_running:
            return
        if not self.drawn:
            self._close_round(self._run_start_s, calls=1)
        self._call_end_s = time.perf_counter()
        self._is_running = False

    def add_late(self) -> None:
        """What was under way when its round ended, and is told of now that nothing is observed any more, belongs to that round."""
        for late in self.ledger.take()[0]:
            for place, one in enumerate(self._rounds):
                if one.start_s <= late.start_s <= one.end_s:
                    cut = dataclasses.replace(late, end_s=min(late.end_s, one.end_s))
                    self._rounds[place] = dataclasses.replace(one, generations=(*one.generations, cut))

    def _run_again(self) -> None:
        self._run_start_s = self._open_round()
        self._is_running = True

    def further_runs(self) -> Iterator[None]:
        """Yields each time a marker-only test's body must run again: its first runs may be warm-ups, whose figures are dropped."""
        warmup, rounds = self.marker.warmup or 0, self.marker.rounds or 1
        for done in range(1, warmup + rounds):
            if self.drawn:
                return
            self._is_repeated = True
            self.end_run()
            if done <= warmup:
                self._warmup_rounds += 1
                self._warmup += [each.generations for each in self._rounds]
                self.start_call()
            else:
                self._run_again()
            yield
        self.end_run()
        if rounds > 1 and not self.drawn and self._bench.asks_for_more(self):
            self.remeasured_rounds = rounds
            for _ in range(rounds):
                self.end_run()
                self._run_again()
                yield

    # --- windows, as the fixture draws them ---------------------------------------------------------------------------

    @contextmanager
    def window(self) -> Iterator[None]:
        """A hand-drawn window: one round. What is drawn inside it, or beside it by a thread, is part of it and not counted twice."""
        self.drawn = True
        if not self._open_windows:
            self.ledger.take()
            self._window_start_s = self._open_round()
        self._open_windows += 1
        try:
            yield
        finally:
            self._open_windows -= 1
            if not self._open_windows:
                self._close_round(self._window_start_s, calls=1)

    def rounds(self, progress: Progress) -> Generator[None, None, None]:
        """Yields each time the measured function must be called once: warm-up first, then rounds until the plan is content.

        Closed early (the function raised), the round under way is kept: its energy was spent.
        """
        self.drawn = self._is_repeated = True
        yield from self._warm_up()
        started_s, latest = time.perf_counter(), None
        wanted = rounds_wanted(self.effort, 0, 0.0, 0.0, None, undecided=False)
        while len(self._rounds) < wanted:
            yield from self._round()
            if self._drop_if_too_short():
                continue
            if len(self._rounds) <= SETTLING_ROUNDS:
                wanted = self._settle([one.end_s - one.start_s for one in self._rounds], wanted, started_s)
            if len(self._rounds) == wanted:
                latest, wanted = self._planned(started_s)
            progress(latest, len(self._rounds), wanted)
        yield from self._once_more(progress)

    def visits(self, grid: Sequence[GridPoint], progress: Progress) -> Generator[None, None, None]:
        """Yields each time the measured function must be called once for ``point``: each is warmed up, then all are visited in passes.

        How many calls a round needs is each point's own. Closed early (the function raised), what was measured until then is kept.
        """
        self.drawn = True
        calls: dict[GridPoint, int] = {}
        try:
            for point in grid:
                self.point, self._calls_per_round = point, 1
                yield from self._warm_up()
                calls[point] = self._calls_per_round
            yield from self._passes(grid, calls, progress)
        finally:
            self.point, self._calls_per_round = None, max(calls.values(), default=1)

    def _passes(self, grid: Sequence[GridPoint], calls: dict[GridPoint, int], progress: Progress) -> Generator[None, None, None]:
        started_s, done, wanted = time.perf_counter(), 0, passes_wanted(self.effort, 0, 0.0, None)
        while done < wanted:
            for point in visiting_order(grid, done):
                self.point, self._calls_per_round = point, calls[point]
                yield from self._round()
                while done == 0 and self._drop_if_too_short():
                    yield from self._round()
                calls[point] = self._calls_per_round
                progress(None, len(self._rounds), wanted * len(grid))
            done += 1
            wanted = self._passes_planned(done, wanted, time.perf_counter() - started_s)

    def _passes_planned(self, done: int, wanted: int, spent_s: float) -> int:
        """How many passes there should be in all; asked of the record only where those that were wanted are done."""
        if done < wanted or self.effort.rounds is not None:
            return wanted
        found = self._bench.evaluate(self).fit
        beta_j, ci95 = (found.joules_per_output_token, found.joules_per_output_token_ci95) if found else (None, None)
        half_width = (ci95[1] - ci95[0]) / 2 / beta_j if ci95 and beta_j and beta_j > 0 else None
        return passes_wanted(self.effort, done, spent_s, half_width)

    def runs(self, progress: Progress) -> Generator[None, None, None]:
        """Yields each time the list of a load must be run once: the marker's warm-ups, and its rounds (one, unless it says more).

        Closed early (every request failed, or the run was ended), the round under way is kept. ``keep`` says how a run went.
        """
        rounds = self.marker.rounds or 1
        self.drawn, self._is_repeated = True, rounds > 1
        for _ in range(self.marker.warmup or 0):
            self._open_round()
            yield
            self._bench.synchronize()
            self._warmup_rounds += 1
            self._warmup.append(self._taken()[1])
        self.ledger.take()
        for done in range(1, rounds + 1):
            yield from self._round()
            progress(None, done, rounds)
        if rounds > 1:
            yield from self._once_more(progress)

    def keep(self, run: LoadRun) -> None:
        """How the run of a load went that is now over."""
        self._load_run = run

    def _once_more(self, progress: Progress) -> Generator[None, None, None]:
        """As many rounds again, where somebody asks for them."""
        first = len(self._rounds)
        if not self._bench.asks_for_more(self):
            return
        while self.remeasured_rounds < first:
            yield from self._round()
            self.remeasured_rounds += 1
            progress(None, first + self.remeasured_rounds, 2 * first)

    def _round(self) -> Generator[None, None, None]:
        start_s, called = self._open_round(), 0
        try:
            while called < self._calls_per_round:
                called += 1
                yield
        finally:
            self._close_round(start_s, called)

    def _drop_if_too_short(self) -> bool:
        """Lengthen rounds that the meter can't tell: the first calls were slower (caches, compilation) than those that followed.

        The rounds so far (of this point, in a grid) become warm-up, so that all that count have the same number of calls.
        """
        last = self._rounds[-1]
        length_s = last.end_s - last.start_s
        calls = calls_per_round(length_s / last.calls, self._bench.shortest_window_s())
        if calls <= ENOUGH * self._calls_per_round:
            return False
        self._calls_per_round = calls
        kept = [each for each in self._rounds if each.point != self.point]
        self._warmup_rounds += len(self._rounds) - len(kept)
        self._rounds = kept
        return True

    def _settle(self, amounts: Sequence[float | None], wanted: int, started_s: float) -> int:
        """How many rounds are wanted once those at the start that still changed (in ``amounts`` per token) have become warm-up.

        They are dropped when enough are left without them; until then further rounds are wanted, while time allows. Nothing is dropped
        where the user fixed the number of rounds, or asked for no warm-up.
        """
        if self.effort.rounds is not None or not self.effort.warmup:
            return wanted
        tokens = [tokens_of(one) for one in self._rounds]
        known = [amount / n for amount, n in zip(amounts, tokens, strict=True) if amount is not None and n]
        head = changing_head(known) if len(known) == len(self._rounds) else 0
        if not head:
            return wanted
        least = self.effort.least
        if len(self._rounds) - head < least:
            is_time_left = time.perf_counter() - started_s < self.effort.max_time_s
            return max(wanted, head + least) if is_time_left else wanted
        del self._rounds[:head]
        self._warmup_rounds += head
        self._dropped_rounds += head
        return len(self._rounds)

    def _planned(self, started_s: float) -> tuple[TestRecord, int]:
        """The record as of now, and how many rounds are wanted in its light."""
        record, done = self._bench.evaluate(self), len(self._rounds)
        wanted = self._settle([one.it_j for one in record.rounds], done, started_s)
        if len(self._rounds) < done:
            return self._planned(started_s)  # the rounds that are left have figures of their own
        return record, max(wanted, self._plan(record, time.perf_counter() - started_s))

    def _warm_up(self) -> Generator[None, None, None]:
        for _ in range(self.effort.warmup):
            start_s = self._open_round()
            yield
            self._bench.synchronize()
            self._calls_per_round = calls_per_round(time.perf_counter() - start_s, self._bench.shortest_window_s())
            self._warmup_rounds += 1
            self._warmup.append(self.ledger.take()[0])
        self.ledger.take()

    def _plan(self, record: TestRecord, spent_s: float) -> int:
        done, made, figure = len(self._rounds), len(self._rounds) + self._dropped_rounds, record.mandated.joules_per_token
        half_width = (figure.ci95[1] - figure.ci95[0]) / 2 / figure.value if figure.ci95 and figure.value else None
        undecided = any(is_undecided(budget) for budget in record.budgets)
        return rounds_wanted(self.effort, done, spent_s / made, spent_s, half_width, undecided)

    def _open_round(self) -> float:
        self._bench.synchronize()
        self._bench.stagger()
        return time.perf_counter()

    def _close_round(self, start_s: float, calls: int) -> None:
        self._bench.synchronize()
        end_s = time.perf_counter()
        load, generations, declared = self._taken()
        self._rounds.append(
            MeasuredRound(
                start_s=start_s, end_s=end_s, calls=calls, generations=generations, declared=declared, point=self.point, load=load
            )
        )

    def _taken(self) -> tuple[LoadRun | None, tuple[Generation, ...], tuple[Counts, ...]]:
        """What was seen since the last time; what was seen of a load's requests goes to them."""
        (generations, declared), run = self.ledger.take(), self._load_run
        if run is None:
            return None, generations, declared
        self._load_run = None
        load, generations = linked(run, generations, declared)
        return load, generations, declared
