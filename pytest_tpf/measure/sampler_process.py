"""The helper process that reads meters: one loop, so a read never waits for the interpreter lock of the code under test.

Channels that are asked afterwards (``history``) wait for their sources in threads beside the loop; everything else happens in it.

Commands come in on stdin, answers go out on stdout (``wire``). Whatever a meter's library prints goes to stderr, which the test process
keeps for diagnosis. The process ends when stdin closes or its parent is gone, and leaves interrupts (Ctrl-C) to its parent.

Commands are (number, name, arguments ...); number 0 wants no answer. Answers are (number, value):
``arm`` the channels not yet bracketed; ``collect t0 t1 edges_after`` what was recorded; ``processes since`` who is on the boards; ``stats``
own CPU seconds, armed seconds, and each channel's refresh period, jitter and mean read time.
"""

from __future__ import annotations

import gc
import heapq
import itertools
import math
import os
import select
import signal
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from pytest_tpf.codec import as_dict
from pytest_tpf.measure import wire
from pytest_tpf.measure.history import Bell, HistoryReader, Question
from pytest_tpf.measure.reader import STATUS_EVERY_S, Reader, StatusReader
from pytest_tpf.measure.suspend import SuspendWatch
from pytest_tpf.meters.protocol import BoardProcess, Meter, MeterOptions, MeterUnavailable, Opened, ReadFault

ARM_LIMIT_S = 1.0
"""Longest time for ``arm`` to bracket every energy channel."""

_STATUS_CAPACITY = 200_000
_PARENT_CHECK_S = 1.0
_HEARING_S = 0.25  # commands are heard at least this often, and one reading, however slow the readings are

_now = time.perf_counter


class _Pending:
    """An answer that waits until ``ready``, at most until ``deadline``."""

    def __init__(self, number: int, ready: Callable[[], bool], deadline: float, answer: Callable[[], Any]) -> None:
        self.number, self.ready, self.deadline, self.answer = number, ready, deadline, answer


class SamplerLoop:
    """Samples while armed, answers commands, and rests ``linger_s`` after being told to."""

    def __init__(self, opened: Sequence[tuple[Meter, Opened]], linger_s: float, inbox: wire.Inbox, out_fd: int, parent: int) -> None:
        channels = [channel for _, found in opened for channel in found.channels]
        self._live = {index: Reader(channel) for index, channel in enumerate(channels) if channel.read is not None}
        self._bell = Bell()
        self._asked = {i: HistoryReader(channel, self._bell.ring) for i, channel in enumerate(channels) if channel.history is not None}
        self._meters = [meter for meter, _ in opened]
        self._statuses: deque[tuple[Any, ...]] = deque(maxlen=_STATUS_CAPACITY)
        self._status_readers = [StatusReader(meter, self._statuses) for meter, _ in opened]
        self._linger_s, self._inbox, self._out_fd, self._parent = linger_s, inbox, out_fd, parent
        self._queue: list[tuple[float, int, Reader | StatusReader]] = []
        self._order = itertools.count()
        self._pending: list[_Pending] = []
        self._rest_at: float | None = None
        self._armed_since: float | None = None
        self._cpu_at_arm = self._cpu_s = self._armed_s = 0.0
        self._next_parent_check = 0.0
        self._watch = SuspendWatch()
        self._suspensions: list[tuple[float, str, str]] = []

    def run(self) -> None:
        """Until told to stop, or nobody is left to tell."""
        try:
            while not self._inbox.closed and self._parent_lives():
                self._listen()
                self._note_suspension()
                self._read_what_is_due()
                self._answer_pending()
                self._rest_if_time()
        except BrokenPipeError:
            pass  # the parent is gone

    # --- commands

    def _listen(self) -> None:
        now = _now()
        wake = min(self._queue[0][0] if self._queue else math.inf, self._rest_at or math.inf, self._next_parent_check)
        wake = min([wake, *(pending.deadline for pending in self._pending)])
        heard = select.select([self._inbox.fd, self._bell.fd], [], [], max(wake - now, 0.0))[0]
        if self._bell.fd in heard:
            self._bell.heard()
        if self._inbox.fd in heard:
            self._inbox.fill()
        for number, name, *arguments in self._inbox.messages():
            getattr(self, f"_do_{name}")(number, *arguments)

    def _do_arm(self, number: int) -> None:
        now, self._rest_at = _now(), None
        for reader in self._live.values():
            if self._armed_since is None or not reader.alive:
                reader.restart(now)
                self._push(now, reader)
        if self._armed_since is None:
            self._armed_since, self._cpu_at_arm = now, time.process_time()
            for status in self._status_readers:
                self._push(now, status)
        for source in self._asked.values():
            source.arm()
        since = self._armed_since
        # Two edges: the power before the window's first refresh tells where in it a job began.
        self._wait_for(number, self._has_readings(2, since), now + ARM_LIMIT_S, lambda: self._not_bracketed(since))

    def _do_rest(self, number: int) -> None:
        self._rest_at = _now() + self._linger_s
        self._reply(number, None)

    def _do_collect(self, number: int, t0: float, t1: float, edges_after: int) -> None:
        armed = self._armed_since is not None
        waits = [reader.wait_limit_s(edges_after) for reader in self._live.values() if armed and reader.info.energy]
        enough, read_by = self._has_readings(edges_after, t1), max(_now(), t1) + max(waits, default=0.0)
        questions = {index: source.ask(t0, t1) for index, source in self._asked.items()}

        def ready() -> bool:
            return (_now() >= read_by or enough()) and all(question.over for question in questions.values())

        deadline = max([read_by, *(question.deadline for question in questions.values())])
        self._wait_for(number, ready, deadline, lambda: self._recorded(t0, t1, questions))

    def _do_forget(self, number: int, t: float) -> None:
        for reader in self._live.values():
            reader.log.forget_before(t)
        while self._statuses and self._statuses[0][1] < t - 2 * STATUS_EVERY_S:
            self._statuses.popleft()
        self._reply(number, None)

    def _do_processes(self, number: int, since: float) -> None:
        """Who is on the boards. A meter that can't tell, or fails to, has nobody."""
        rows: list[Any] = []
        for meter in self._meters:
            try:
                rows += [as_dict(process) for process in getattr(meter, "processes", _nobody)(since)]
            except Exception as error:  # evidence is optional; energy goes on
                print(f"{getattr(meter, 'id', '?')}: no process list: {error}", file=sys.stderr)
        self._reply(number, rows)

    def _do_stats(self, number: int) -> None:
        running = self._armed_since is not None
        cpu_s = self._cpu_s + (time.process_time() - self._cpu_at_arm if running else 0.0)
        armed_s = self._armed_s + (_now() - (self._armed_since or 0.0) if running else 0.0)
        stats = {index: reader.stats() for index, reader in self._live.items()}
        stats |= {index: source.stats() for index, source in self._asked.items()}
        self._reply(number, (cpu_s, armed_s, [stats[index] for index in sorted(stats)]))

    def _do_stop(self, number: int) -> None:
        self._reply(number, None)
        self._inbox.closed = True

    # --- sampling

    def _push(self, due: float, task: Reader | StatusReader) -> None:
        heapq.heappush(self._queue, (due, next(self._order), task))

    def _read_what_is_due(self) -> None:
        begin = _now()
        for _ in range(len(self._queue)):
            now = _now()
            if not self._queue or self._queue[0][0] > now or now - begin > _HEARING_S:
                return
            due, _, task = heapq.heappop(self._queue)
            if isinstance(task, StatusReader) and self._would_hide_an_edge(task, due, now):
                self._push(self._queue[0][0], task)
                continue
            following = task.run()
            if following is not None:
                self._push(following, task)

    def _would_hide_an_edge(self, task: StatusReader, due: float, now: float) -> bool:
        """A look takes milliseconds on real boards; it waits for a pause between reads that fits it, within reason."""
        if not self._queue or now - due > STATUS_EVERY_S:
            return False
        return self._queue[0][0] - now < task.cost_s

    def _note_suspension(self) -> None:
        """The clock of the readings stands still while the machine sleeps; the counters may not, or start anew."""
        slept_s = self._watch.slept_s()
        if slept_s is None:
            return
        now, fault = _now(), ReadFault("suspended", f"the machine was suspended for {slept_s:.1f} s")
        self._suspensions.append((now, fault.code, str(fault)))
        for reader in self._live.values():
            reader.tracker.restart(now)  # no edge spans the sleep

    def _rest_if_time(self) -> None:
        if self._rest_at is None or self._pending or _now() < self._rest_at:
            return
        if self._armed_since is not None:
            self._armed_s += _now() - self._armed_since
            self._cpu_s += time.process_time() - self._cpu_at_arm
        self._armed_since = self._rest_at = None
        self._queue.clear()

    # --- answers

    def _has_readings(self, readings: int, after: float) -> Callable[[], bool]:
        """Whether every live energy channel has ``readings`` readings (edges, if stepped) after an instant, or none will come."""
        energy = [reader for reader in self._live.values() if reader.info.energy]
        return lambda: self._armed_since is None or all(not r.alive or r.has_after(after, readings) for r in energy)

    def _not_bracketed(self, since: float) -> list[int]:
        energy = [(index, reader) for index, reader in self._live.items() if reader.info.energy]
        return [index for index, reader in energy if not reader.alive or reader.log.count_after(since) < 1]

    def _recorded(self, t0: float, t1: float, questions: dict[int, Question]) -> Any:
        gauges_w = {r.info.domain: r.value for r in self._live.values() if r.alive and r.info.quantity == "power_w"}
        rows = {index: reader.row(t0, t1, gauges_w.get(reader.info.domain)) for index, reader in self._live.items()}
        rows |= {index: source.row(questions[index]) for index, source in self._asked.items()}
        for *_, faults, _, _ in rows.values():
            faults += [suspension for suspension in self._suspensions if suspension[0] >= t0]
        margin_s = 2 * STATUS_EVERY_S
        return [rows[index] for index in sorted(rows)], [row for row in self._statuses if t0 - margin_s <= row[1] <= t1 + margin_s]

    def _wait_for(self, number: int, ready: Callable[[], bool], deadline: float, answer: Callable[[], Any]) -> None:
        self._pending.append(_Pending(number, ready, deadline, answer))

    def _answer_pending(self) -> None:
        for pending in list(self._pending):
            if _now() >= pending.deadline or pending.ready():
                self._pending.remove(pending)
                self._reply(pending.number, pending.answer())

    def _reply(self, number: int, value: Any) -> None:
        if number:
            wire.send(self._out_fd, (number, value))

    def _parent_lives(self) -> bool:
        """A forked child of the parent may hold stdin open, so its end alone isn't waited for."""
        now = _now()
        if now < self._next_parent_check:
            return True
        self._next_parent_check = now + _PARENT_CHECK_S
        return os.getppid() == self._parent


def _nobody(since: float) -> Sequence[BoardProcess]:
    return ()


def open_all(names: Sequence[str], options: MeterOptions) -> tuple[list[tuple[Meter, Opened]], list[str]]:
    """Open the named meters: (meter, what it found) pairs and one-line notes. Raises MeterUnavailable where none can be used."""
    from pytest_tpf.meters.registry import open_meters

    return open_meters(names, options)


def serve(in_fd: int, out_fd: int) -> None:
    """The process's whole life: read the order, open the meters, say what was found, sample, close."""
    inbox = wire.Inbox(in_fd)
    order = None
    while order is None and not inbox.closed:
        inbox.fill()
        order = next(inbox.messages(), None)
    if order is None:
        return
    names, options, linger_s, parent = order
    opened: list[tuple[Meter, Opened]] = []
    try:
        opened, notes = open_all(names, MeterOptions(**options))
        wire.send(out_fd, ("ready", _described(opened, notes)))
        gc.freeze()  # what was loaded stays; collections during sampling have little to look at
        SamplerLoop(opened, linger_s, inbox, out_fd, parent).run()
    except MeterUnavailable as error:
        wire.send(out_fd, ("unavailable", str(error)))
    except Exception as error:
        traceback.print_exc()  # to stderr, which is kept for diagnosis
        wire.send(out_fd, ("unavailable", f"the sampler failed: {type(error).__name__}: {error}"))
    finally:
        for meter, _ in opened:
            meter.close()


def _described(opened: Sequence[tuple[Meter, Opened]], notes: Sequence[str]) -> dict[str, Any]:
    return {
        "channels": [as_dict(channel.info) for _, found in opened for channel in found.channels],
        "accelerators": [as_dict(board) for _, found in opened for board in found.accelerators],
        "notes": [*notes, *(note for _, found in opened for note in found.notes)],
        "unmetered": list(dict.fromkeys(name for _, found in opened for name in found.unmetered)),
    }


def main() -> None:
    """Entry point: answers go to what was stdout; nothing else may."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    out_fd = os.dup(1)
    os.dup2(2, 1)
    serve(0, out_fd)


if __name__ == "__main__":
    main()
