"""Power that something else records into a file, attached to the tests that run meanwhile: ``--tpf-replay FILE``.

The log may be written on another machine (``ssh host nvidia-smi ... > file``, a network folder) and may still be growing: it is read on
when a window has ended, until it reaches beyond the window. Its times of day are turned into this process's clock by this machine's clock;
how well the recorder's clock agrees with it can't be known from the log. ``--tpf-replay-offset`` moves the log by a known difference.
"""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Iterator, Sequence

from pytest_tpf.meters._log_formats import Column, LogError, Source
from pytest_tpf.meters._power_log import PowerLog, Series
from pytest_tpf.meters.protocol import Channel, ChannelInfo, History, MeterOptions, MeterUnavailable, Opened, ReadFault, Reading, Status
from pytest_tpf.meters.wall_clock import wall_offset

# Relative standard uncertainty: 5 % expanded, as for any sensor that nobody calibrated.
GAIN = 0.05 / 1.96
LARGEST_BYTES = 128 * 1024 * 1024
"""A log is read from its beginning once, at 8 to 15 MB/s; the sampler may take half a minute to start."""

POLL_S = 0.1
FIRST_READING_LIMIT_S = 3.0
_LEAST_PATIENCE_S, _LONGEST_PATIENCE_S = 5.0, 60.0
_PATIENCE_PERIODS = 3.0
_KEPT_BEFORE_S = 60.0
_STALE_S, _STALE_PERIODS = 10.0, 10.0
_PIECE_BYTES = 1 << 20
_LONGEST_SOURCE = 400


class GrowingFile:
    """A file that is read as far as it goes, again and again; usable from several threads."""

    def __init__(self, path: str, log: PowerLog) -> None:
        self.path, self.log = path, log
        self.lock = threading.Lock()
        self._read_bytes = 0
        self._quiet_since: float | None = None

    def catch_up(self) -> None:
        """Give the log what was appended since. Opened anew each time, so that a network folder shows it. Raises OSError, LogError."""
        with open(self.path, "rb") as file:
            if os.fstat(file.fileno()).st_size < self._read_bytes:
                raise LogError("it was cut or replaced while it was being replayed")
            file.seek(self._read_bytes)
            before = self._read_bytes
            while piece := file.read(_PIECE_BYTES):
                self._read_bytes += len(piece)
                self.log.feed(piece)
        if self._read_bytes > before:
            self._quiet_since = None
        elif self._quiet_since is None:
            self._quiet_since = time.monotonic()

    def quiet_s(self) -> float:
        """For how long nothing has been appended, as far as was looked (s)."""
        return 0.0 if self._quiet_since is None else time.monotonic() - self._quiet_since


class ReplayMeter:
    """Power or energy of every device of a log."""

    id = "replay"

    def open(self, options: MeterOptions) -> Opened:
        """A channel for the best counter and the best gauge of each device.

        Raises:
            MeterUnavailable: no log was given, it can't be read, isn't understood, or holds no reading after some seconds.
        """
        path, offset_s = options.replay, options.replay_offset_s
        if path is None:
            raise MeterUnavailable("no log is given: --tpf-replay FILE")
        from_s = time.time() if options.past_from_s is None else options.past_from_s
        file = GrowingFile(path, PowerLog(keep_from_s=from_s - offset_s - _KEPT_BEFORE_S))
        try:
            _wait_for_readings(file)
        except LogError as error:
            raise MeterUnavailable(f"{path}: {error}") from None
        except OSError as error:
            raise MeterUnavailable(f"{path} can't be read: {error.strerror or error}") from None
        channels = list(_channels(file, offset_s))
        if not channels:
            raise MeterUnavailable(f"{path}: none of its readings has a value")
        metered = {channel.info.domain for channel in channels}
        silent = dict.fromkeys(source.domain for source, _, _ in file.log.series if source.domain not in metered)
        return Opened(channels=tuple(channels), notes=tuple(_notes(file, offset_s, options.past_until_s)), unmetered=tuple(silent))

    def status(self) -> Sequence[Status]:
        """A log gives no slow evidence."""
        return ()

    def close(self) -> None:
        """Nothing is held open."""


def _wait_for_readings(file: GrowingFile) -> None:
    """Read what is there; a recorder that was only just started gets some seconds for its first reading. Raises OSError, LogError."""
    about = os.stat(file.path)
    if not stat.S_ISREG(about.st_mode):
        raise LogError("it is not a file")
    if about.st_size > LARGEST_BYTES:
        raise LogError(f"it holds {about.st_size / 2**20:.0f} MB, more than {LARGEST_BYTES / 2**20:.0f}: start a new log, or cut this one")
    deadline = time.monotonic() + FIRST_READING_LIMIT_S
    file.catch_up()
    while not file.log.rows and time.monotonic() < deadline:
        time.sleep(POLL_S)
        file.catch_up()
    if file.log.rows:
        return
    if file.log.first_bad is not None:
        raise LogError("no line can be read; line {}: {}".format(*file.log.first_bad))
    raise LogError("it holds no reading yet: start recording before the tests")


def _channels(file: GrowingFile, offset_s: float) -> Iterator[Channel]:
    """Each device's best counter and best gauge that hold values; the energy is the counter's, else the gauge's."""
    chosen: dict[tuple[str, str], tuple[Source, Column, Series]] = {}
    for source, column, series in file.log.series:
        if series.has_values:
            chosen.setdefault((source.domain, column.quantity), (source, column, series))
    for (domain, quantity), (source, column, series) in chosen.items():
        is_energy = quantity == "energy_j" or (domain, "energy_j") not in chosen
        info = _info(file.path, column, source, series, offset_s, energy=is_energy)
        yield Channel(info, history=_Asked(file, column, series, offset_s, info.patience_s))


def _info(path: str, column: Column, source: Source, series: Series, offset_s: float, *, energy: bool) -> ChannelInfo:
    patience_s = (series.spacing_s() or 1.0) * _PATIENCE_PERIODS + (column.averaging_s or 0.0)
    shown = path if len(path) <= _LONGEST_SOURCE else "..." + path[-_LONGEST_SOURCE:]
    return ChannelInfo(
        meter=ReplayMeter.id,
        domain=source.domain,
        device=source.name,
        quantity=column.quantity,
        method=column.method,
        source=f"{shown}, {column.label[:60]}, clock offset {offset_s:+.3f} s",
        trust="replayed",
        stepped=False,
        poll_s=POLL_S,
        energy=energy,
        reach="anywhere",
        resolution_j=column.resolution_j,
        gain=GAIN,
        averaging_s=column.averaging_s,
        patience_s=min(max(patience_s, _LEAST_PATIENCE_S), _LONGEST_PATIENCE_S),
        wall_clock=True,
    )


class _Asked:
    """What the log says around a window; reads on where it doesn't reach far enough yet."""

    def __init__(self, file: GrowingFile, column: Column, series: Series, offset_s: float, patience_s: float) -> None:
        self._file, self._column, self._series = file, column, series
        self._offset_s, self._patience_s = offset_s, patience_s

    def __call__(self, t0: float, t1: float) -> History:
        # Log time = perf_counter + this: the day's clock now, less what the user adds to the log.
        ahead_s = wall_offset().offset_s - self._offset_s
        blur_s = self._column.averaging_s or 0.0
        start_s, end_s = t0 + ahead_s - blur_s, t1 + ahead_s + blur_s
        with self._file.lock:
            try:
                self._file.catch_up()
            except (LogError, OSError) as error:
                raise ReadFault("counter_unreadable", f"{self._file.path}: {error}") from None
            rows = self._series.around(start_s, end_s)
            # A counter's second reading tells how power went on after the window, as with any counter.
            is_complete = self._series.count_from(end_s) >= (2 if self._column.quantity == "energy_j" else 1)
            is_complete |= self._file.quiet_s() > self._patience_s  # a recorder that ended is waited for once, not in every test
            faults = [(lo, hi) for lo, hi in self._series.set_back if lo <= end_s and start_s <= hi]
        return History(
            readings=tuple(Reading(t_lo=t - self._column.age_s - ahead_s, t_hi=t - ahead_s, value=value) for t, value in rows),
            faults=tuple(self._set_back(t0, t1, lo - ahead_s, hi - ahead_s) for lo, hi in faults),
            complete=is_complete,
            period_s=self._series.spacing_s(),
        )

    def _set_back(self, t0: float, t1: float, lo: float, hi: float) -> tuple[float, str, str]:
        text = f"the clock that {self._file.path} was written by was set back by {hi - lo:.3f} s"
        return min(max(lo, t0), t1), "clock_stepped", text


def _notes(file: GrowingFile, offset_s: float, past_until_s: float | None) -> Iterator[str]:
    path, log = file.path, file.log
    unknown = "how well the recorder's clock then agrees with this machine's is not known"
    yield f"replayed from {path}: clock offset {offset_s:+.3f} s; {unknown}"
    if log.layout is not None and log.layout.sources.is_counted:
        domains = ", ".join(source.domain for source in log.layout.sources.found)
        yield f"{path} tells GPUs by name alone: they are numbered in its order ({domains})"
    if log.bad and log.first_bad is not None:
        number, why = log.first_bad
        yield f"{path}: {log.bad} lines can't be read and are left out, the first is line {number}: {why}"
    if log.repeated:
        hint = "" if log.layout is None or log.layout.names_devices else ": if they are several devices', record uuid or index too"
        yield f"{path}: {log.repeated} readings have the time of the one before and are left out{hint}"
    stale_s = time.time() - (log.last_s + offset_s)
    spacing_s = max((series.spacing_s() or 0.0 for _, _, series in log.series), default=0.0)
    if past_until_s is not None:
        return  # a log of the past is old, and that is well
    if abs(stale_s) > max(_STALE_S, _STALE_PERIODS * spacing_s):
        apart = f"{abs(stale_s):.0f} s {'old' if stale_s > 0 else 'ahead'}"
        yield f"{path}: its last reading is {apart}: if it is still being written, clocks or time zones differ (--tpf-replay-offset)"
