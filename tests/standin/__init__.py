"""A stand-in for NVIDIA's driver library whose boards draw a power that is known exactly.

``nvml_standin.c`` is compiled with the system's C compiler, once per source text, to a ``libnvidia-ml.so.1`` that NVIDIA's own binding
(and every other tool) loads when its folder comes first in ``LD_LIBRARY_PATH``. The power of a board is a function of ``CLOCK_MONOTONIC``,
which is ``time.perf_counter()`` on Linux, so the true energy between two instants is an integral in closed form: ``Board.true_energy_j``.

    standin = Standin(boards=(Board(base_w=300.0, counter_period_s=0.1),))
    env = standin.environment(tmp_path)          # builds the library, writes the configuration
    subprocess.run([...], env={**os.environ, **env})

The environment must be set before a process starts (the loader reads ``LD_LIBRARY_PATH`` once); ``Standin.preload`` serves a process
that already runs and has not loaded NVML.
"""

from __future__ import annotations

import bisect
import ctypes
import dataclasses
import hashlib
import math
import mmap
import os
import shutil
import struct
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Literal

SOURCE = Path(__file__).with_name("nvml_standin.c")
LIBRARY_NAME = "libnvidia-ml.so.1"
CONFIG_VARIABLE = "TPF_STANDIN_CONFIG"
_FLAGS = ("-O2", "-Wall", "-Wextra", "-shared", "-fPIC", f"-Wl,-soname,{LIBRARY_NAME}")
_NEVER = 1e18

GPU_IS_LOST = 15
DRIVER_NOT_LOADED = 9
NOT_SUPPORTED = 3

# Bits of nvmlDeviceGetCurrentClocksEventReasons (nvml.h).
GPU_IDLE, SW_POWER_CAP, SW_THERMAL_SLOWDOWN, HW_THERMAL_SLOWDOWN, HW_POWER_BRAKE = 0x1, 0x4, 0x20, 0x40, 0x80


class StandinUnavailable(Exception):
    """There is no C compiler, or it refused the source."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """A compute process that a board says runs on it from ``from_s`` on, and the share of its time that it uses."""

    pid: int
    used_bytes: int
    sm_percent: int = 0
    from_s: float = 0.0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """One board. Times ``*_at_s`` are ``time.perf_counter()`` seconds; -1 for a figure the board doesn't give.

    ``shape``: ``constant`` (base), ``square`` (base + swing for the first ``duty`` of every period), ``sine`` (base + swing * sin),
    ``step`` (base + swing between ``step_at_s`` and ``step_until_s``). With ``drive``, the path of a ``Drive``, that file's waveform
    instead, and base before it begins.
    ``counter_*``: the cumulative counter is latched every ``counter_period_s`` (0: at every read) give or take ``counter_jitter_s``
    (less than half a period); it starts anew from zero at ``reset_at_s``.
    ``counter_wrap_j``: the counter starts again from zero when it has counted so much (0: never); ``stuck_at_s``: it never moves after.
    ``power_fails_at_s``, ``power_fails_until_s``: between them every power gauge answers "not supported".
    ``power_period_s``: how often the gauges refresh, each time off by at most ``noise_w`` to either side; ``*_window_s``: the time
    each averages over, ending at the refresh.
    ``gain`` multiplies what the sensors say, not what is true; ``gauge_gain`` what the gauges say beyond that.
    ``latency_s``: duration of an energy or power call, value taken halfway.
    ``mig``, ``ecc``: 1 on, 0 off, -1 not supported. The temperature rises by its slope from ``heats_from_s`` on.
    ``cap_share``, ``thermal_share``, ``brake_share``: share of all time in which the clocks are held back, as the board's counters tell it
    (-1: no such counter); without ``held_back_fields`` only the older violation times tell the first two.
    """

    uuid: str = "GPU-00000000-0000-0000-0000-000000000000"
    name: str = "NVIDIA Stand-in 100"
    pci_bus_id: str = "00000000:01:00.0"
    memory_bytes: int = 80 * 1024**3
    memory_used_bytes: int = 1024**3
    shape: Literal["constant", "square", "sine", "step"] = "constant"
    drive: str = ""
    base_w: float = 300.0
    swing_w: float = 0.0
    period_s: float = 1.0
    phase_s: float = 0.0
    duty: float = 0.5
    step_at_s: float = _NEVER
    step_until_s: float = _NEVER
    counter_supported: bool = True
    counter_period_s: float = 0.1
    counter_phase_s: float = 0.0
    counter_jitter_s: float = 0.0
    energy_offset_j: float = 0.0
    reset_at_s: float = _NEVER
    power_supported: bool = True
    instant_supported: bool = True
    average_supported: bool = True
    usage_supported: bool = True
    gauge_gain: float = 1.0
    noise_w: float = 0.0
    power_period_s: float = 0.1
    power_phase_s: float = 0.0
    instant_window_s: float = 0.025
    average_window_s: float = 1.0
    usage_window_s: float = 1.0
    gain: float = 1.0
    latency_s: float = 0.0
    lost_at_s: float = _NEVER
    power_limit_w: float = 700.0
    default_limit_w: float = 700.0
    clock_reasons: int = 0
    utilization_percent: int = 50
    temperature_c: int = 40
    mig: int = 0
    seed: int = 1
    architecture: int = 9
    sm_clock_mhz: int = 1980
    memory_clock_mhz: int = 3201
    ecc: int = 1
    temperature_slope_c_per_s: float = 0.0
    heats_from_s: float = 0.0
    cap_share: float = 0.0
    thermal_share: float = 0.0
    brake_share: float = 0.0
    held_back_fields: bool = True
    counter_wrap_j: float = 0.0
    stuck_at_s: float = _NEVER
    power_fails_at_s: float = _NEVER
    power_fails_until_s: float = _NEVER
    processes: tuple[Process, ...] = ()

    def __post_init__(self) -> None:
        if self.counter_jitter_s and not 0 <= self.counter_jitter_s < self.counter_period_s / 2:
            raise ValueError("counter_jitter_s must be less than half of counter_period_s")

    def power_w(self, t: float) -> float:
        """The true power at ``t`` (W)."""
        u = t - self.phase_s
        match self.shape:
            case "square":
                return self.base_w + self.swing_w * ((u / self.period_s) % 1.0 < self.duty)
            case "sine":
                return self.base_w + self.swing_w * math.sin(2 * math.pi * math.fmod(u, self.period_s) / self.period_s)
            case "step":
                return self.base_w + self.swing_w * (self.step_at_s <= t < self.step_until_s)
            case _:
                return self.base_w

    def true_energy_j(self, t0: float, t1: float) -> float:
        """The true energy between two instants (J): the integral of ``power_w``, in closed form; exact but for rounding."""
        if self.drive:
            return Drive.read(Path(self.drive)).energy_j(t0, t1, before_w=self.base_w)
        return self.base_w * (t1 - t0) + self._swing_integral_j(t1) - self._swing_integral_j(t0)

    def _swing_integral_j(self, t: float) -> float:
        u = t - self.phase_s
        match self.shape:
            case "square":
                whole, on = math.floor(u / self.period_s), self.duty * self.period_s
                return self.swing_w * (whole * on + min(u - whole * self.period_s, on))
            case "sine":
                return self.swing_w * self.period_s / math.tau * (1 - math.cos(math.tau * math.fmod(u, self.period_s) / self.period_s))
            case "step":
                return self.swing_w * max(0.0, min(t, self.step_until_s) - self.step_at_s)
            case _:
                return 0.0

    def last_refresh_s(self, t: float) -> float:
        """When the counter that is read at ``t`` was latched."""
        if self.counter_period_s <= 0:
            return t
        k = math.floor((t - self.counter_phase_s) / self.counter_period_s) + 1
        while self._refresh_s(k) > t:
            k -= 1
        return self._refresh_s(k)

    def _refresh_s(self, k: int) -> float:
        unit = (_splitmix64((k ^ (self.seed << 48)) % 2**64) >> 11) / 2.0**53
        return self.counter_phase_s + k * self.counter_period_s + (2 * unit - 1) * self.counter_jitter_s

    def counter_j(self, t: float) -> float:
        """What the counter says at ``t`` (J, whole millijoules)."""
        latched = self.last_refresh_s(min(t, self.stuck_at_s))
        start, offset = (self.reset_at_s, 0.0) if latched >= self.reset_at_s else (0.0, self.energy_offset_j)
        joules = math.floor((offset + self.gain * self.true_energy_j(start, latched)) * 1000) / 1000
        return math.fmod(joules, self.counter_wrap_j) if self.counter_wrap_j else joules

    def config(self) -> str:
        """This board's section of the configuration file."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "processes"}
        lines = [f"{key} {int(value) if isinstance(value, bool) else value}" for key, value in fields.items() if value != ""]
        return "\n".join(["[board]", *lines, *(f"process {p.pid} {p.used_bytes} {p.sm_percent} {p.from_s}" for p in self.processes)])


class Drive:
    """A waveform in a file, which boards follow: from each instant on that power. It may grow while they are read."""

    _HEAD, _TURN = struct.Struct("q"), struct.Struct("ddd")

    def __init__(self, path: Path, capacity: int = 100_000) -> None:
        """Make an empty file for ``capacity`` turns."""
        self.path = path
        path.write_bytes(bytes(self._HEAD.size + capacity * self._TURN.size))
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 0)
        self._turns: list[tuple[float, float, float]] = []

    @classmethod
    def read(cls, path: Path) -> Drive:
        """The waveform as it stands in the file, for asking only."""
        content = path.read_bytes()
        drive, (count,) = cls.__new__(cls), cls._HEAD.unpack_from(content)
        drive.path = path
        drive._turns = [cls._TURN.unpack_from(content, cls._HEAD.size + i * cls._TURN.size) for i in range(count)]
        return drive

    @classmethod
    def attach(cls, path: Path) -> Drive:
        """The waveform in the file, for going on with: from one process at a time."""
        drive = cls.read(path)
        with path.open("r+b") as file:
            drive._memory = mmap.mmap(file.fileno(), 0)
        return drive

    def set(self, watts: float, at_s: float | None = None) -> None:
        """From ``at_s`` (``perf_counter`` seconds, never before the last; None: now) on the power is ``watts``."""
        t = time.perf_counter() if at_s is None else at_s
        joules = self._turns[-1][2] + self._turns[-1][1] * (t - self._turns[-1][0]) if self._turns else 0.0
        self._turns.append((t, watts, joules))
        count = len(self._turns)
        self._TURN.pack_into(self._memory, self._HEAD.size + (count - 1) * self._TURN.size, *self._turns[-1])
        self._HEAD.pack_into(self._memory, 0, count)

    def energy_j(self, t0: float, t1: float, before_w: float = 0.0) -> float:
        """The energy between two instants (J)."""
        return self._until_j(t1, before_w) - self._until_j(t0, before_w)

    def _until_j(self, t: float, before_w: float) -> float:
        index = bisect.bisect_right(self._turns, t, key=lambda turn: turn[0]) - 1
        if index < 0:
            return before_w * (t - self._turns[0][0]) if self._turns else before_w * t
        start, watts, joules = self._turns[index]
        return joules + watts * (t - start)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Standin:
    """The library: its boards in PCI order, and how it misbehaves.

    ``init_error``: an NVML error number that initialising returns; ``init_delay_s``: how long initialising takes.
    ``call_delay_s``: how long every call takes; ``log``: a file that gets a line "function seconds" for every call.
    ``fail``: (function, NVML error number) pairs: that call always fails so (13 = the driver doesn't have it).
    """

    boards: tuple[Board, ...] = ()
    driver: str = "575.57.08"
    init_error: int = 0
    init_delay_s: float = 0.0
    call_delay_s: float = 0.0
    log: str = ""
    fail: tuple[tuple[str, int], ...] = ()

    def config(self) -> str:
        """The whole configuration file."""
        head = [f"driver {self.driver}", f"init_error {self.init_error}", f"init_delay_s {self.init_delay_s}"]
        head += [f"call_delay_s {self.call_delay_s}", *([f"log {self.log}"] if self.log else [])]
        sections = [*head, *(f"fail {name} {code}" for name, code in self.fail), *(board.config() for board in self.boards)]
        return "\n".join(sections) + "\n"

    def environment(self, folder: Path) -> dict[str, str]:
        """Build the library, write the configuration into ``folder``; the variables a process needs to see these boards.

        Raises:
            StandinUnavailable: the library can't be built here.
        """
        path = folder / "nvml-standin.conf"
        path.write_text(self.config())
        search = [str(build_library().parent), *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]
        return {"LD_LIBRARY_PATH": os.pathsep.join(search), CONFIG_VARIABLE: str(path)}

    def preload(self, folder: Path) -> None:
        """Make these boards visible to this process, which must not have loaded NVML yet; sets ``TPF_STANDIN_CONFIG``."""
        os.environ.update(self.environment(folder))
        ctypes.CDLL(str(build_library()))  # the loader finds a loaded library by its soname


def many_boards(count: int, **settings: object) -> tuple[Board, ...]:
    """``count`` boards that differ in UUID, bus and seed and share ``settings`` (fields of ``Board``)."""
    return tuple(
        Board(uuid=f"GPU-{i:08x}-0000-4000-8000-{i:012x}", pci_bus_id=f"00000000:{i + 1:02X}:00.0", seed=i + 1, **settings)  # type: ignore[arg-type]
        for i in range(count)
    )


def build_library() -> Path:
    """The compiled library; built once per source text in a folder of the user's own under the temporary directory.

    Raises:
        StandinUnavailable: there is no compiler, or it fails.
    """
    digest = hashlib.sha256(SOURCE.read_bytes() + " ".join(_FLAGS).encode()).hexdigest()[:16]
    folder = Path(tempfile.gettempdir()) / f"tpf-standin-{os.getuid()}-{digest}"
    library = folder / LIBRARY_NAME
    if library.exists():
        return library
    folder.mkdir(mode=0o700, exist_ok=True)
    compiler = shutil.which(os.environ.get("CC", "gcc")) or shutil.which("cc")
    if compiler is None:
        raise StandinUnavailable("no C compiler (gcc) to build the NVML stand-in with")
    _compile(compiler, library)
    return library


def _compile(compiler: str, library: Path) -> None:
    draft = library.with_name(f"{LIBRARY_NAME}.{os.getpid()}")  # renamed when whole: test workers may build at the same time
    done = subprocess.run([compiler, *_FLAGS, "-o", str(draft), str(SOURCE), "-lm"], capture_output=True, text=True)
    if done.returncode:
        raise StandinUnavailable(f"{compiler} can't build the NVML stand-in: {done.stderr.strip()}")
    draft.replace(library)


def _splitmix64(x: int) -> int:
    mask = 2**64 - 1
    x = (x + 0x9E3779B97F4A7C15) & mask
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
    return x ^ (x >> 31)
