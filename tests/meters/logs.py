"""Power logs as the tools write them, from the same readings: (Unix time, GPU, watts, cumulative joules)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple


class Sample(NamedTuple):
    t: float
    gpu: int
    watts: float
    joules: float


def uuid(gpu: int) -> str:
    """Unlike any board of the stand-in: measured tests on one board wait for each other."""
    return f"GPU-10600000-0000-4000-8000-{gpu:012x}"


def local(t: float) -> str:
    """As nvidia-smi stamps: local time to the millisecond."""
    return datetime.fromtimestamp(t).strftime("%Y/%m/%d %H:%M:%S.%f")[:-3]


def iso(t: float) -> str:
    return datetime.fromtimestamp(t, UTC).isoformat().replace("+00:00", "Z")


def _csv(header: str, row: Callable[[Sample], str]) -> Callable[[Sequence[Sample]], str]:
    return lambda samples: "".join(f"{line}\n" for line in (header, *map(row, samples)))


def _dmon(stamp: Callable[[float], str]) -> Callable[[Sequence[Sample]], str]:
    def written(samples: Sequence[Sample]) -> str:
        lines = []
        for number, s in enumerate(samples):
            if number % 25 == 0:  # dmon repeats its two header lines
                lines += [f"{stamp(s.t)} #Entity   POWER     TOTEC          TMPTR", f"{stamp(s.t)} ID         W         mJ             C"]
            lines.append(f"{stamp(s.t)} GPU {s.gpu}     {s.watts:.3f}   {round(s.joules * 1000)}   42")
        return "".join(f"{line}\n" for line in lines)

    return written


FORMATS: dict[str, Callable[[Sequence[Sample]], str]] = {
    "smi": _csv("timestamp, uuid, power.draw.instant [W]", lambda s: f"{local(s.t)}, {uuid(s.gpu)}, {s.watts:.2f} W"),
    "smi nounits": _csv("timestamp, index, power.draw [W], utilization.gpu [%]", lambda s: f"{local(s.t)}, {s.gpu}, {s.watts:.2f}, 37"),
    "smi average": _csv(
        "index, uuid, name, power.draw.average [W], timestamp",
        lambda s: f"{s.gpu}, {uuid(s.gpu)}, NVIDIA H100, {s.watts:.2f} W, {local(s.t)}",
    ),
    "power": _csv("time_s,power_w,device", lambda s: f"{s.t:.6f},{s.watts!r},{s.gpu}"),
    "energy": _csv("time_s,domain,energy_j", lambda s: f"{iso(s.t)},gpu:{s.gpu},{s.joules!r}"),
    "kilowatts": _csv('"time_s","gpu","power_w [kW]"', lambda s: f'{s.t!r},"{s.gpu}","{s.watts / 1000!r}"'),
    "dcgm": _csv(
        "timestamp,gpu,DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION,DCGM_FI_DEV_POWER_USAGE_INSTANT",
        lambda s: f"{s.t:.3f},{s.gpu},{round(s.joules * 1000)},{s.watts:.3f}",
    ),
    "dmon": _dmon(lambda t: f"{t:.6f}"),
    "dmon stamped": _dmon(lambda t: f"[{iso(t)}]"),
}
