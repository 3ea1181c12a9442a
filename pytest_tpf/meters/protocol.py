"""What a meter is: something that opens channels, each a number that can be read now, or asked for afterwards.

Meters run inside the sampler's own process, so a ``read`` never waits for the interpreter lock of the code under test.
A meter knows nothing of tests, tokens or budgets. All times are ``time.perf_counter()`` seconds (one clock for all processes).

A third party adds a meter with an entry point in the group ``pytest_tpf.meters`` whose object is a callable without arguments
that returns a ``Meter``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from pytest_tpf.records import Accelerator, Trust, record

Reach = Literal["processes", "machine", "anywhere"]


class MeterUnavailable(Exception):
    """This meter can't be used here. The text is one line for the user: what, where, and what to do about it."""


class ReadFault(Exception):
    """A reading failed. ``code`` is a reason code of the report (``device_lost``, ``counter_unreadable`` ...).

    The channel is left alone until sampling is asked for again; with ``passing`` it goes on, for the next reading is right again.
    """

    def __init__(self, code: str, text: str, *, passing: bool = False) -> None:
        super().__init__(text)
        self.code = code
        self.passing = passing


@record
class ChannelInfo:
    """What is known of a channel before it is read.

    ``quantity``: ``energy_j`` is a cumulative counter (J), ``power_w`` a gauge (W).
    ``stepped``: the value holds still and then jumps (NVML); its edges must be found. Otherwise it is read as it goes (RAPL, estimate).
    ``poll_s``: how often to read a channel that isn't stepped, or a stepped one whose period isn't known yet.
    ``energy``: the energy of ``domain`` comes from this channel (exactly one channel of a domain says so).
    ``resolution_j``: the counter's least step (J). ``gain``: relative standard uncertainty of the sensor's scale.
    ``reach``: whose joules it can see: those of a process tree, of this machine, or of whatever the user pointed it at.
    ``age_s``: how old a reading of a counter may be that isn't stepped and brings a new value with every read.
    ``averaging_s``: the time over which a power gauge averages, where known.

    For a channel with a history ``poll_s`` is how long to wait before asking again, ``patience_s`` how long after the window's end its
    readings may take to arrive, and ``wall_clock`` says that its readings carry this machine's time of day, so that a step of that clock
    spoils them.
    """

    meter: str
    domain: str
    device: str | None
    quantity: Literal["energy_j", "power_w"]
    method: str
    source: str
    trust: Trust
    stepped: bool
    poll_s: float
    energy: bool
    resolution_j: float | None = None
    gain: float | None = None
    averaging_s: float | None = None
    reach: Reach = "machine"
    age_s: float = 0.0
    patience_s: float = 3.0
    wall_clock: bool = False


@record
class Reading:
    """A value that was taken at some instant between ``t_lo`` and ``t_hi``: joules (cumulative) or watts."""

    t_lo: float
    t_hi: float
    value: float


@record
class History:
    """What a source tells afterwards about a window.

    ``readings``: in the order of time, from a few before the window to a few after it where there are any. ``faults``: (instant, reason
    code, one line). ``complete``: there is a reading after the window, so asking again gives nothing better. ``period_s``: the spacing of
    the readings as the source measured it; None leaves it to the readings themselves.
    """

    readings: tuple[Reading, ...] = ()
    faults: tuple[tuple[float, str, str], ...] = ()
    complete: bool
    period_s: float | None = None


@dataclass(frozen=True)
class Channel:
    """A number that is read as it goes, or asked for afterwards: exactly one of ``read`` and ``history`` is given.

    ``read()`` returns joules (cumulative, unwrapped) or watts. ``history(t0, t1)`` says what was read around that window; it is called in
    a thread of its own, one call at a time, and may wait. Both raise ``ReadFault``.
    """

    info: ChannelInfo
    read: Callable[[], float] | None = None
    history: Callable[[float, float], History] | None = None

    def __post_init__(self) -> None:
        if (self.read is None) == (self.history is None):
            raise ValueError(f"the channel of {self.info.domain} needs either read or history")


@record
class Status:
    """A device's slow evidence at one instant; a figure the device doesn't give is None.

    ``held_back_s``: by clock reason, for how long the device has been held back since its driver was loaded (s): a counter, exact where
    looking ten times a second is not. Only the reasons that the device counts are there.
    """

    domain: str
    t: float
    utilization: float | None = None
    temperature_c: float | None = None
    power_limit_w: float | None = None
    clock_reasons: tuple[str, ...] = ()
    sm_clock_mhz: float | None = None
    memory_clock_mhz: float | None = None
    held_back_s: dict[str, float] = dataclasses.field(default_factory=dict)


@record
class BoardProcess:
    """A process that the driver lists on a board. ``name`` is its short name, ``sm_utilization`` its share of the board's time (0..1).

    ``own``: whether it belongs to the process tree that is measured; None where process numbers can't be matched (a container has its own).
    """

    domain: str
    device: str
    pid: int
    name: str | None = None
    used_memory_bytes: int | None = None
    sm_utilization: float | None = None
    own: bool | None = None


@record
class Opened:
    """What ``Meter.open`` found. ``notes`` are one-line remarks for the user (a board refused, a zone not readable)."""

    channels: tuple[Channel, ...]
    accelerators: tuple[Accelerator, ...] = ()
    notes: tuple[str, ...] = ()
    unmetered: tuple[str, ...] = ()


@record
class MeterOptions:
    """What the user said about meters. Plain values only: they cross a process boundary as JSON.

    ``watched_pid``: the process whose tree the ``estimate`` meter follows; ``also_watched``: servers that were started elsewhere on this
    machine, followed with theirs. ``cpu_tdp_w``: the processor's TDP (W), None = assumed.
    ``powercap_root``: where RAPL zones are looked for (tests point it at a tree of their own). ``prometheus``: the URL of a server or a
    TOML file. ``ray``: the address of a cluster. ``replay``: a recording, whose times are moved by ``replay_offset_s`` (s).
    ``past_from_s``, ``past_until_s``: the time of day (Unix seconds) that will be asked about, where it has passed; None: from now on.
    """

    watched_pid: int
    also_watched: tuple[int, ...] = ()
    cpu_tdp_w: float | None = None
    powercap_root: str = "/sys/class/powercap"
    prometheus: str | None = None
    ray: str | None = None
    replay: str | None = None
    replay_offset_s: float = 0.0
    past_from_s: float | None = None
    past_until_s: float | None = None

    @property
    def roots(self) -> tuple[int, ...]:
        """Every process whose tree is the tests' own."""
        return (self.watched_pid, *self.also_watched)


class Meter(Protocol):
    """A source of channels. ``id`` is its name in ``--tpf-meter``.

    A meter that can tell who uses its devices also has ``processes(since_s) -> Sequence[BoardProcess]``: who is on them now, and what each
    made of them since that instant. It is called before and after a test, never inside its window.
    """

    id: str

    def open(self, options: MeterOptions) -> Opened:
        """Find what can be read. Raises MeterUnavailable with the reason and the remedy."""

    def status(self) -> Sequence[Status]:
        """The slow evidence of every device, now; an empty sequence where there is none. Called about ten times a second."""

    def close(self) -> None:
        """Let go of everything; called once, also after a failed ``open``."""
