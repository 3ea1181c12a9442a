"""Processor packages and their memory through RAPL, as Linux shows it in ``/sys/class/powercap``.

A package is ``cpu:N``, its memory ``dram:N``, N counted over packages (and dies) in order. ``core`` and ``uncore`` lie within the package
and ``psys`` contains it, so neither is ever added. AMD processors show the same files, without memory.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pytest_tpf.meters._wrapping import WrappingCounter
from pytest_tpf.meters.protocol import Channel, ChannelInfo, MeterOptions, MeterUnavailable, Opened, ReadFault, Status
from pytest_tpf.records import record

# Relative standard uncertainties. Packages measure at their voltage regulators since Haswell: 5 % expanded, as for other sensors.
# Memory is often a model with a constant offset, worst when idle (Desrochers et al., MEMSYS 2016): 20 % expanded is our choice.
PACKAGE_GAIN = 0.05 / 1.96
DRAM_GAIN = 0.20 / 1.96

# The usual energy unit of the hardware (Intel SDM, MSR_RAPL_POWER_UNIT: 2^-14 J); the files don't say.
RESOLUTION_J = 2.0**-14
# About how often the registers are written (Intel SDM, volume 3B, RAPL interfaces).
REFRESH_S = 0.001
POLL_S = 0.01

# Only the register interface: intel-rapl-mmio:* shows the same package a second time.
_ZONE = re.compile(r"intel-rapl:(\d+)(?::\d+)?")
_PACKAGE = re.compile(r"package-(\d+)(?:-die-(\d+))?")


@record
class Zone:
    """A directory of the powercap tree: ``name`` is what the kernel calls it, ``parent`` the top-level zone it belongs to."""

    path: Path
    name: str
    parent: str


class RaplMeter:
    """Energy of processor packages and of memory, where the processor counts it."""

    id = "rapl"

    def open(self, options: MeterOptions) -> Opened:
        """A counter for every package and every memory zone that can be read.

        Raises:
            MeterUnavailable: no RAPL here, or no permission to read it; the text holds the command that grants it.
        """
        root = Path(options.powercap_root)
        zones = list(_zones(root))
        packages = sorted((zone for zone in zones if _PACKAGE.fullmatch(zone.name)), key=_package_order)
        if not packages:
            raise MeterUnavailable(f"no RAPL packages in {root}: this processor, kernel, container or virtual machine doesn't show them")
        drams = {zone.parent: zone for zone in zones if zone.name == "dram"}
        wanted = [(f"cpu:{n}", zone) for n, zone in enumerate(packages)]
        wanted += [(f"dram:{n}", drams[zone.parent]) for n, zone in enumerate(packages) if zone.parent in drams]
        readable, refusals = _readable(wanted)
        if not any(domain.startswith("cpu:") for domain in readable):
            raise MeterUnavailable(_refusal_text(root, refusals))
        mirrors = _mirrors(readable)
        counted = {domain: zone for domain, zone in readable.items() if domain not in mirrors}
        expected = [f"{kind}:{n}" for n in range(len(packages)) if f"cpu:{n}" not in mirrors for kind in ("cpu", "dram")]
        return Opened(
            channels=tuple(_channel(domain, zone) for domain, zone in counted.items()),
            notes=(*_psys_notes(zones), *_refusal_notes(refusals), *_mirror_notes(mirrors)),
            unmetered=tuple(domain for domain in expected if domain not in readable),
        )

    def status(self) -> Sequence[Status]:
        """RAPL gives no slow evidence."""
        return ()

    def close(self) -> None:
        """Nothing is held open."""


# --- the tree


def _zones(root: Path) -> Iterator[Zone]:
    names = sorted(os.listdir(root)) if root.is_dir() else []
    for folder in names:
        match = _ZONE.fullmatch(folder)
        if match is None:
            continue
        try:
            name = (root / folder / "name").read_text().strip()
        except OSError:  # listed but hidden, as containers do
            continue
        yield Zone(path=root / folder, name=name, parent=f"intel-rapl:{match.group(1)}")


def _package_order(zone: Zone) -> tuple[int, int]:
    match = _PACKAGE.fullmatch(zone.name)
    return (int(match.group(1)), int(match.group(2) or 0)) if match else (0, 0)


def _readable(wanted: Sequence[tuple[str, Zone]]) -> tuple[dict[str, Zone], dict[str, OSError]]:
    """The domains whose counters can be read now, and why the others can't."""
    readable: dict[str, Zone] = {}
    refusals: dict[str, OSError] = {}
    for domain, zone in wanted:
        try:
            _energy_uj(zone.path)
            readable[domain] = zone
        except (OSError, ValueError) as error:
            refusals[domain] = error if isinstance(error, OSError) else OSError(f"{zone.path / 'energy_uj'} holds no number")
    return readable, refusals


def _mirrors(readable: dict[str, Zone]) -> dict[str, str]:
    """Domains that show the counter of an earlier one of their kind (some processors repeat it for every die), with that one."""
    mirrors: dict[str, str] = {}
    domains = list(readable)
    for later, domain in enumerate(domains):
        for earlier in domains[:later]:
            same_kind = earlier.split(":")[0] == domain.split(":")[0]
            if same_kind and earlier not in mirrors and _is_one_counter(readable[earlier].path, readable[domain].path):
                mirrors[domain] = earlier
                break
    return mirrors


def _is_one_counter(first: Path, second: Path) -> bool:
    """Whether a reading of ``second`` lies between two of ``first``, microseconds and so millijoules apart, twice.

    Two counters of their own agree so closely in about one of 10^8 cases.
    """

    def is_bracketed() -> bool:
        return _energy_uj(first) <= _energy_uj(second) <= _energy_uj(first)

    try:
        return is_bracketed() and is_bracketed()
    except (OSError, ValueError):
        return False


# --- reading


def _energy_uj(zone: Path) -> int:
    return _read_int(os.fspath(zone / "energy_uj"))


def _read_int(path: str) -> int:
    # Opened at every read, so that a zone that goes away is noticed; without Python's file layers that takes some microseconds.
    fd = os.open(path, os.O_RDONLY)
    try:
        return int(os.read(fd, 32))
    finally:
        os.close(fd)


def _range_uj(zone: Path) -> int | None:
    try:
        return _read_int(os.fspath(zone / "max_energy_range_uj"))
    except (OSError, ValueError):
        return None


def _guarded(domain: str, zone: Path) -> Callable[[], int]:
    path = os.fspath(zone / "energy_uj")

    def read_uj() -> int:
        try:
            return _read_int(path)
        except (OSError, ValueError) as error:
            raise ReadFault("counter_unreadable", f"{domain}: {path} can't be read any more ({_why(error)})") from None

    return read_uj


def _why(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)


def _channel(domain: str, zone: Zone) -> Channel:
    is_package = domain.startswith("cpu:")
    info = ChannelInfo(
        meter=RaplMeter.id,
        domain=domain,
        device=None,
        quantity="energy_j",
        method="rapl_package_counter" if is_package else "rapl_dram_counter",
        source=str(zone.path / "energy_uj"),
        trust="measured",
        stepped=False,
        poll_s=POLL_S,
        energy=True,
        resolution_j=RESOLUTION_J,
        gain=PACKAGE_GAIN if is_package else DRAM_GAIN,
        age_s=REFRESH_S,
    )
    counter = WrappingCounter(domain, _guarded(domain, zone.path), _range_uj(zone.path), time.perf_counter)
    return Channel(info, counter.read_j)


# --- what the user is told


def _grant(root: Path) -> str:
    return f"sudo chmod a+r {root}/intel-rapl:*/energy_uj {root}/intel-rapl:*:*/energy_uj"


def _refusal_text(root: Path, refusals: dict[str, OSError]) -> str:
    if any(isinstance(error, PermissionError) for error in refusals.values()):
        return f"no permission to read the processor's energy counters; grant it until the next start with: {_grant(root)}"
    return f"the processor's energy counters in {root} can't be read: {_why(next(iter(refusals.values())))}"


def _refusal_notes(refusals: dict[str, OSError]) -> Iterator[str]:
    for domain, error in refusals.items():
        yield f"{domain} is not metered: its RAPL counter can't be read ({_why(error)})"


def _mirror_notes(mirrors: dict[str, str]) -> Iterator[str]:
    for domain, first in mirrors.items():
        yield f"{domain} is left out: it shows the counter of {first} a second time"


def _psys_notes(zones: Sequence[Zone]) -> Iterator[str]:
    for zone in zones:
        if zone.name == "psys":
            yield f"{zone.path.name} (psys) is left out: it contains the packages, which are counted themselves"
