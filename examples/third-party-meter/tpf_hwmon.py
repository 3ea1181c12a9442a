"""A meter for sensors that Linux shows under hwmon: an INA219 on a supply rail, a server's power meter, a board's own monitor.

Power files (``power1_input``) are in microwatts, energy files (``energy1_input``) in microjoules. Which sensor measures what only you know:

    TPF_HWMON=cpu:0=/sys/class/hwmon/hwmon3/power1_input,dram:0=/sys/class/hwmon/hwmon3/energy1_input
"""

from __future__ import annotations

import glob
import os
from collections.abc import Callable
from typing import Literal

from pytest_tpf.meters.protocol import Channel, ChannelInfo, MeterOptions, MeterUnavailable, Opened, ReadFault

VARIABLE = "TPF_HWMON"
FILES = "/sys/class/hwmon/hwmon*/*_input"
GAIN = 0.01  # relative standard uncertainty of the sensor's scale: from its data sheet, and that of the shunt


class HwmonMeter:
    """A channel for each ``DOMAIN=FILE`` of the variable."""

    id = "hwmon"

    def open(self, options: MeterOptions) -> Opened:
        """Say what can be read; MeterUnavailable is one line for the user, with what to do about it."""
        wanted = [pair.partition("=") for pair in os.environ.get(VARIABLE, "").split(",") if pair]
        if not wanted:
            found = ", ".join(path for path in sorted(glob.glob(FILES)) if _quantity(path)) or "none here"
            raise MeterUnavailable(f"name sensors, as in {VARIABLE}=node=/sys/class/hwmon/hwmon0/power1_input (found: {found})")
        return Opened(channels=tuple(_channel(domain, path) for domain, _, path in wanted))

    def status(self) -> tuple[()]:
        """Slow evidence such as temperatures, ten times a second; there is none here."""
        return ()

    def close(self) -> None:
        """Let go of what ``open`` took; here nothing is held."""


def _quantity(path: str) -> Literal["power_w", "energy_j"] | None:
    name = os.path.basename(path)
    return "power_w" if name.startswith("power") else "energy_j" if name.startswith("energy") else None


def _channel(domain: str, path: str) -> Channel:
    quantity = _quantity(path)
    if quantity is None:
        raise MeterUnavailable(f"{VARIABLE}: {path!r} is neither a power*_input nor an energy*_input file")
    read = _reader(path)
    try:
        read()
    except ReadFault as fault:
        raise MeterUnavailable(str(fault)) from None
    info = ChannelInfo(
        meter=HwmonMeter.id,
        domain=domain,  # gpu:N, cpu:N, dram:N, soc or node
        device=None,  # a serial number, where the sensor has one
        quantity=quantity,  # power_w is a gauge, energy_j a cumulative counter
        method=f"hwmon_{quantity[:-2]}",
        source=path,
        trust="measured",
        stepped=False,  # True for a counter that holds still and then jumps, as NVIDIA's do
        poll_s=0.02,  # how often to read it
        energy=True,  # the domain's energy comes from this channel
        gain=GAIN,
    )
    return Channel(info, read)


def _reader(path: str) -> Callable[[], float]:
    """A function that reads the file, in watts or joules; it runs in a process of its own, never in the tests'."""

    def read() -> float:
        try:
            with open(path, encoding="ascii") as file:
                return int(file.read()) / 1e6
        except (OSError, ValueError) as error:
            raise ReadFault("counter_unreadable", f"{path} can't be read: {error}") from None

    return read
