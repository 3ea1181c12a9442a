"""One channel, or one meter's slow evidence, as the sampler's loop reads it: what a reading gave, what went wrong, when to read again."""

from __future__ import annotations

import math
import sys
import time
from collections import deque
from typing import Any

from pytest_tpf.measure.channel_log import ChannelLog
from pytest_tpf.measure.gauge import lag_s
from pytest_tpf.measure.tracker import PolledTracker, SteppedTracker
from pytest_tpf.meters.protocol import Channel, Meter, ReadFault, Status

STATUS_EVERY_S = 0.1
STATUS_FIELDS: tuple[str, ...] = tuple(Status.__dataclass_fields__)  # what a status is sent as, in this order

_SETTLE_S = 0.25  # beyond the refreshes that a collect waits for
_UNKNOWN_PERIOD_S = 0.15
# A measured counter that shows one value for so long, and over so many refreshes, has stopped: nothing runs on no power at all.
_STUCK_S, _STUCK_PERIODS = 1.0, 20.0

_now = time.perf_counter


class Reader:
    """One channel being sampled: read it, keep what it showed, know when to read again."""

    def __init__(self, channel: Channel) -> None:
        info = channel.info
        self.info = info
        self.log = ChannelLog()
        self.tracker = SteppedTracker(info.poll_s) if info.stepped and info.quantity == "energy_j" else PolledTracker(info.poll_s)
        self.alive = True
        self.lag_s = lag_s(info.averaging_s) if info.quantity == "power_w" else 0.0
        assert channel.read is not None
        self._read = channel.read
        self._reads, self._reading_s = 0, 0.0
        self.restart(_now())

    def restart(self, now: float) -> None:
        """Sampling begins (again), also of a channel that failed: what was wrong may have passed."""
        self.tracker.restart(now)
        self.alive = self._is_first = True
        self.value: float | None = None
        self._moved_s = self._read_s = now

    def run(self) -> float | None:
        """Read once; the instant of the next read, or None where the channel gave up."""
        begin = _now()
        try:
            value = float(self._read())
            if not math.isfinite(value):
                raise ReadFault("counter_unreadable", f"{self.info.source} gave {value}")
        except ReadFault as fault:
            return self._failed(fault)
        except Exception as error:  # a meter's own mistake must not end the others
            return self._failed(ReadFault("counter_unreadable", f"{self.info.source}: {type(error).__name__}: {error}"))
        end = _now()
        self._reads, self._reading_s = self._reads + 1, self._reading_s + end - begin
        self._moved_s = end if value != self.value else self._moved_s
        self.value, self._read_s, self._is_first = value, end, False
        reading = self.tracker.observe(begin, end, value)
        if reading is not None:
            self.log.add(*reading)
        return self.tracker.due

    def mean_read_s(self) -> float | None:
        """How long a read took on average; None before the first."""
        return self._reading_s / self._reads if self._reads else None

    def wait_limit_s(self, readings: int) -> float:
        """How long ``readings`` more of them take at most, if the channel is well."""
        period_s = self.log.period_and_jitter_s()[0] or _UNKNOWN_PERIOD_S
        return (readings + 0.5) * period_s + self.lag_s + _SETTLE_S

    def has_after(self, t: float, readings: int) -> bool:
        """Whether there are ``readings`` readings that tell of a time after ``t``."""
        is_late = (
            self.info.quantity == "energy_j" and not self.info.stepped and self._moved_s <= t
        )  # a counter written less often than read
        return not is_late and self.log.count_after(t + self.lag_s) >= readings

    def stats(self) -> tuple[float | None, float | None, float | None]:
        """Refresh period, jitter and mean time of a read (s), None while unknown."""
        return (*self.log.period_and_jitter_s(), self.mean_read_s())

    def row(self, t0: float, t1: float, gauge_w: float | None) -> tuple[Any, ...]:
        """What was recorded around (``t0``, ``t1``). ``gauge_w``: what the power gauge of the same domain says, where there is one."""
        faults, stuck = self.log.faults_around(t0), self._stuck(gauge_w)
        if stuck is not None:
            faults.append((self._read_s, stuck.code, str(stuck)))
        return (*self.log.between(t0, t1), faults, *self.log.period_and_jitter_s())

    def _stuck(self, gauge_w: float | None) -> ReadFault | None:
        """A measured counter that is read and doesn't move. Not kept: it may move again."""
        limit_s = max(_STUCK_S, _STUCK_PERIODS * (self.log.period_and_jitter_s()[0] or self.info.poll_s))
        still_s = self._read_s - self._moved_s
        is_measured_counter = self.info.quantity == "energy_j" and self.info.trust == "measured"
        if not (self.alive and is_measured_counter and still_s > limit_s):
            return None
        while_w = "" if gauge_w is None else f" while its power gauge says {gauge_w:.0f} W"
        return ReadFault("counter_stuck", f"the counter of {self.info.domain} has stood still for {still_s:.1f} s{while_w}")

    def _failed(self, fault: ReadFault) -> float | None:
        now = _now()
        if not (fault.passing and self._is_first):  # what passed while nobody measured is nobody's fault
            self.log.add_fault(now, fault.code, str(fault))
        if fault.passing:
            self.tracker.restart(now)
            return now + self.info.poll_s
        self.alive = False
        return None


class StatusReader:
    """One meter's slow evidence, ten times a second. ``cost_s``: how long a look takes."""

    def __init__(self, meter: Meter, rows: deque[tuple[Any, ...]]) -> None:
        self._meter, self._rows = meter, rows
        self.cost_s = 0.0

    def run(self) -> float | None:
        """Look once; the instant of the next look, or None where the meter fails (its evidence is then missing, not wrong)."""
        begin = _now()
        try:
            found = self._meter.status()
            self._rows.extend(tuple(getattr(status, name) for name in STATUS_FIELDS) for status in found)
        except Exception as error:  # evidence is optional; energy goes on
            print(f"{getattr(self._meter, 'id', '?')}: no more status: {error}", file=sys.stderr)
            return None
        self.cost_s = max(_now() - begin, 0.9 * self.cost_s)
        return begin + STATUS_EVERY_S if found else None
