"""Was the machine quiet? What others used of it while a benchmark ran, and a refusal to start on a busy one.

Load averages lag and count the benchmark itself, so the share of the machine that was busy with other work is taken from /proc/stat:
all busy time less that of this process and of its children that have ended. Only Linux tells it; elsewhere it is unknown.
"""

from __future__ import annotations

import os
import resource
import time
from dataclasses import dataclass
from pathlib import Path

BUSY_LIMIT = 0.10
"""Share of all cores that other work may use; beyond it figures are marked as noisy."""

_LOOK_S = 2.0
_STEAL, _IDLE, _IO_WAIT = 7, 3, 4  # columns of /proc/stat


class NotQuiet(SystemExit):
    """The machine is busy with other work: exits with one line that says so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """What others did during a run: shares of all cores; None where the system doesn't say."""

    others_share: float | None
    steal_share: float | None
    load_before: float
    load_after: float

    @property
    def noisy(self) -> bool:
        """Whether figures of this run should not be published."""
        return any(share is not None and share > BUSY_LIMIT for share in (self.others_share, self.steal_share))

    def as_dict(self) -> dict[str, object]:
        """For a result file."""
        shares = {"others_share": self.others_share, "steal_share": self.steal_share}
        rounded = {name: None if share is None else round(share, 4) for name, share in shares.items()}
        return rounded | {"load_before": self.load_before, "load_after": self.load_after, "noisy": self.noisy}

    def __str__(self) -> str:
        share = "unknown" if self.others_share is None else f"{100 * self.others_share:.1f} % of the machine"
        steal = "unknown" if self.steal_share is None else f"{100 * self.steal_share:.1f} %"
        verdict = "NOISY: take these figures again on a quiet machine" if self.noisy else "quiet"
        return f"{verdict} (other work: {share}, stolen: {steal}, load {self.load_before:.2f} before, {self.load_after:.2f} after)"


class Watch:
    """Open at the start of a run; ``noise()`` says what others did since. Child processes must have been waited for by then."""

    def __init__(self) -> None:
        self._load = os.getloadavg()[0]
        self._start_s, self._own_s, self._machine = time.monotonic(), _own_cpu_s(), _machine_cpu_s()

    def noise(self) -> Noise:
        """What others did since this watch was made."""
        capacity_s = (time.monotonic() - self._start_s) * (os.cpu_count() or 1)
        machine = _machine_cpu_s()
        others = steal = None
        if machine is not None and self._machine is not None and capacity_s > 0:
            busy_s, steal_s = (after - before for before, after in zip(self._machine, machine, strict=True))
            others = max(busy_s - (_own_cpu_s() - self._own_s), 0.0) / capacity_s
            steal = steal_s / capacity_s
        return Noise(others_share=others, steal_share=steal, load_before=self._load, load_after=os.getloadavg()[0])


def require_quiet(*, anyway: bool) -> None:
    """Look at the machine for two seconds; raises NotQuiet where other work uses it, unless ``anyway``."""
    watch = Watch()
    time.sleep(_LOOK_S)
    noise = watch.noise()
    if noise.noisy and not anyway:
        raise NotQuiet(f"the machine is not quiet: {noise}; stop other work, or pass --noisy to measure anyway (the result says so)")


def _own_cpu_s() -> float:
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    )


def _machine_cpu_s() -> tuple[float, float] | None:
    """(busy, stolen) CPU seconds of the whole machine since it started."""
    try:
        fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    except OSError:
        return None
    ticks = [int(field) for field in fields]
    hertz = os.sysconf("SC_CLK_TCK")
    busy = sum(tick for column, tick in enumerate(ticks) if column not in (_IDLE, _IO_WAIT, _STEAL))
    return busy / hertz, ticks[_STEAL] / hertz
