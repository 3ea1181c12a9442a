"""What the lines of a power log mean, by its header. Pure.

Understood are ``nvidia-smi --query-gpu=timestamp,uuid,power.draw.instant --format=csv`` (with units or ``nounits``, and further columns), a
plain CSV ``time_s,power_w`` or ``time_s,energy_j``, a CSV of DCGM's field names, and ``dcgmi dmon -e 155,156,157`` with a time before every
line (dmon prints none: ``dcgmi dmon ... | ts %.s``).

Sources: ``nvidia-smi --help-query-gpu`` (``power.draw`` is a one-second average on Ampere except GA100 and newer, as is
``power.draw.average``); DCGM's field list (155 power, 157 instantaneous power, in W; 156 energy since the driver was loaded, in mJ) and the
short names that dmon prints for them.
"""

from __future__ import annotations

import math
import re
from datetime import datetime
from typing import Literal

from pytest_tpf.records import record

EXAMPLES = "timestamp, uuid, power.draw.instant [W]; time_s,power_w; time_s,energy_j; or dcgmi dmon with a time before every line (ts %.s)"

_UNITS = {"w": 1.0, "mw": 1e-3, "kw": 1e3, "j": 1.0, "mj": 1e-3, "kj": 1e3, "wh": 3600.0}
_NVML_AVERAGE_S = 1.0
# DCGM asks the driver for its counter, whose value may be this old.
_DRIVER_REFRESH_S = 0.1
_DCGM_BLANK = 140737488355328.0  # DCGM_FP64_BLANK; the kinds of "unknown" lie just above
_ABSENT = re.compile(r"|-|n/?a|err!|\[[^\]]*\]", re.IGNORECASE)  # nvidia-smi puts the reason in brackets
_BRACKETS = re.compile(r"\s*\[([^\]]*)\]\s*$")
_DOMAIN = re.compile(r"(?:gpu|cpu|dram|ane):\d{1,4}|soc|node")
_DMON_HEADER = re.compile(r"^(?P<time>.*?)#\s*Entity\s+(?P<names>.*)$")
_DMON_ROW = re.compile(r"^(?P<time>.*?)\b(?P<kind>GPU|CPU|GPU-I|GPU-CI|Switch|Link|Core|CI)\s+(?P<id>\d{1,4})\s+(?P<values>.*)$")
_EARLIEST_S, _LATEST_S = 1e8, 1e11  # Unix seconds of 1973 and of the year 5138: neither a running time nor milliseconds
_LONGEST_NAME = 128
MOST_DEVICES = 256


class LogError(Exception):
    """This is not a log that can be replayed. The text is one line for the user, without the file's name."""


class BadLine(Exception):
    """A line that can't be read; the text says why."""


@record
class Column:
    """A column that holds power or energy. ``scale`` turns a bare number into W or J; ``age_s``: how old a value may be when written."""

    index: int
    label: str
    tool: str
    quantity: Literal["power_w", "energy_j"]
    method: str
    scale: float
    averaging_s: float | None = None
    age_s: float = 0.0
    resolution_j: float | None = None


@record
class Source:
    """A device of the log: its domain in reports, and the name that the log gives it."""

    domain: str
    name: str | None = None


class Sources:
    """The devices of a log in the order in which they appear. ``is_counted``: some had no number of their own and got the next one."""

    def __init__(self) -> None:
        self.found: list[Source] = []
        self.is_counted = False

    def place(self, domain: str | None, name: str | None) -> int:
        """The number of a device; ``domain`` None: it is the next GPU. Raises BadLine where the domain is another device's."""
        for number, source in enumerate(self.found):
            if source.name == name and domain in (None, source.domain):
                return number
        taken = {source.domain for source in self.found}
        if domain in taken:
            raise BadLine(f"{domain} is another device already")
        if len(taken) >= MOST_DEVICES:
            raise BadLine(f"more than {MOST_DEVICES} devices")
        self.is_counted |= domain is None
        self.found.append(Source(domain=domain or next(gpu for n in range(len(taken) + 1) if (gpu := f"gpu:{n}") not in taken), name=name))
        return len(self.found) - 1


Row = tuple[float, int, tuple[str, ...]]
"""Unix time (s), the device's place in the layout's ``sources``, and the text of each of the layout's columns."""


@record
class _Kind:
    tool: str
    quantity: Literal["power_w", "energy_j"]
    method: str
    scale: float = 1.0
    averaging_s: float | None = None
    age_s: float = 0.0
    resolution_j: float | None = None


_SMI_INSTANT = _Kind(tool="nvidia-smi", quantity="power_w", method="replay_nvidia_smi_power_instant")
_SMI_AVERAGE = _Kind(tool="nvidia-smi", quantity="power_w", method="replay_nvidia_smi_power_average", averaging_s=_NVML_AVERAGE_S)
_SMI_DRAW = _Kind(tool="nvidia-smi", quantity="power_w", method="replay_nvidia_smi_power_draw", averaging_s=_NVML_AVERAGE_S)
_DCGM_INSTANT = _Kind(tool="dcgm", quantity="power_w", method="replay_dcgm_power_instant")
_DCGM_POWER = _Kind(tool="dcgm", quantity="power_w", method="replay_dcgm_power", averaging_s=_NVML_AVERAGE_S)
_DCGM_ENERGY = _Kind(
    tool="dcgm", quantity="energy_j", method="replay_dcgm_energy_counter", scale=1e-3, age_s=_DRIVER_REFRESH_S, resolution_j=1e-3
)
_PLAIN_ENERGY = _Kind(tool="csv", quantity="energy_j", method="replay_csv_energy")
_PLAIN_POWER = _Kind(tool="csv", quantity="power_w", method="replay_csv_power")
# The best first: a counter before any gauge, and of the gauges the one that averages least.
_KINDS = {
    "energy_j": _PLAIN_ENERGY,
    "totec": _DCGM_ENERGY,
    "dcgm_fi_dev_total_energy_consumption": _DCGM_ENERGY,
    "power_w": _PLAIN_POWER,
    "power.draw.instant": _SMI_INSTANT,
    "powinst": _DCGM_INSTANT,
    "dcgm_fi_dev_power_usage_instant": _DCGM_INSTANT,
    "power.draw.average": _SMI_AVERAGE,
    "power.draw": _SMI_DRAW,
    "power": _DCGM_POWER,
    "dcgm_fi_dev_power_usage": _DCGM_POWER,
}
_TIMES = ("timestamp", "time_s", "time")
_DEVICES = ("domain", "uuid", "gpu_uuid", "device", "index", "gpu", "gpu_id")


class Times:
    """Times as logs write them, turned into Unix seconds; a time without a zone is this machine's local time.

    When clocks are set back in autumn an hour of local time comes twice: what would jump back by an hour is taken as the second.
    """

    def __init__(self) -> None:
        self.last_s = -math.inf
        self._minute, self._minute_s = "", 0.0

    def unix_s(self, text: str) -> float:
        """Raises BadLine."""
        if text[:17] == self._minute:
            try:
                self.last_s = self._minute_s + _second(text[17:])
            except ValueError:
                self.last_s = self._parsed(text)
        else:
            self.last_s = self._parsed(text)
        return self.last_s

    def _parsed(self, text: str) -> float:
        self._minute = ""
        try:
            return _plausible(float(text), text)
        except ValueError:
            pass
        try:
            when = datetime.fromisoformat(text.replace("/", "-"))
            t = when.timestamp()
        except (ValueError, OverflowError, OSError):
            raise BadLine(f"{text[:40]!r} is not a time") from None
        if when.tzinfo is None:
            second_s = when.replace(fold=1).timestamp()
            t = second_s if t < self.last_s - 60 <= second_s else t
            if text[13:14] == text[16:17] == ":":
                self._minute, self._minute_s = text[:17], t - when.second - when.microsecond / 1e6
        return _plausible(t, text)


class CsvLayout:
    """Comma-separated lines under a header. ``format`` is the tool that writes such lines."""

    def __init__(self, header: str) -> None:
        """Raises LogError where the header names no time, or neither power nor energy."""
        names = [_BRACKETS.sub("", name).lower() for name in _fields(header)]
        units = [match[1].strip() if (match := _BRACKETS.search(name)) else None for name in _fields(header)]
        self._header = header
        self._time = next((names.index(name) for name in _TIMES if name in names), None)
        self.columns = tuple(
            _column(index, _fields(header)[index], kind, units[index]) for name, kind in _KINDS.items() for index in _places(names, name)
        )
        if self._time is None or not self.columns:
            raise LogError(_not_a_header(header))
        self._devices = {name: names.index(name) for name in _DEVICES if name in names}
        self.format = self.columns[0].tool
        self._least = max(self._time, *(column.index for column in self.columns), *self._devices.values())
        self._times = Times()
        self._numbers: dict[tuple[str, ...], int] = {}
        self.sources = Sources()

    @property
    def names_devices(self) -> bool:
        """Whether the lines say which device they are about."""
        return bool(self._devices)

    def row(self, line: str) -> Row | None:
        """What a line says; None for a comment or a header once more. Raises BadLine."""
        fields = line.split(",")
        if len(fields) <= self._least:
            if line.startswith("#"):
                return None
            raise BadLine(f"{len(fields)} columns where the header has more")
        try:
            t = self._times.unix_s(fields[self._time or 0].strip().strip('"'))
        except BadLine:
            if line.strip() == self._header.strip() or line.startswith("#"):
                return None
            raise
        return t, self._device(fields), tuple([fields[column.index] for column in self.columns])

    def _device(self, fields: list[str]) -> int:
        key = tuple([fields[index] for index in self._devices.values()])
        number = self._numbers.get(key)
        if number is None:
            said = {name: fields[index].strip().strip('"') for name, index in self._devices.items()}
            number = self._numbers[key] = self.sources.place(*self._identity(said))
        return number

    def _identity(self, said: dict[str, str]) -> tuple[str | None, str | None]:
        """Domain and name of a device."""
        if any(len(text) > _LONGEST_NAME or not text.isprintable() for text in said.values()):
            raise BadLine("the device's name is not text")
        name = said.get("uuid") or said.get("gpu_uuid") or None
        for text in (said.get("domain"), said.get("index"), said.get("gpu"), said.get("gpu_id"), said.get("device")):
            if text and (domain := _domain(text)):
                return domain, name
        name = name or said.get("device") or said.get("domain") or None
        return (None if name else "node" if self.format == "csv" else "gpu:0"), name


class DmonLayout:
    """Lines of ``dcgmi dmon`` with a time before each: an entity of two words, then the values."""

    format = "dcgmi dmon"
    names_devices = True

    def __init__(self, header: str) -> None:
        """Raises LogError where lines carry no time, or neither power nor energy is among the fields."""
        match = _DMON_HEADER.match(header)
        assert match is not None
        if not match["time"].strip():
            raise LogError("these lines of dcgmi dmon carry no times: record with `dcgmi dmon -e 155,156,157 | ts %.s`")
        names = [name.lower() for name in match["names"].split()]
        self.columns = tuple(
            _column(index, name.upper(), kind, None) for name, kind in _KINDS.items() for index in _places(names, name) if name in names
        )
        if not self.columns:
            raise LogError("dcgmi dmon recorded neither power nor energy: add the fields 155, 156 or 157")
        self._times = Times()
        self._numbers: dict[str, int] = {}
        self.sources = Sources()

    def row(self, line: str) -> Row | None:
        """What a line says; None for headers, units and entities that aren't whole boards. Raises BadLine."""
        match = _DMON_ROW.match(line)
        if match is None:
            if _DMON_HEADER.match(line) or re.search(r"\bID\b", line, re.IGNORECASE):
                return None
            raise BadLine("neither a header nor the values of an entity")
        if match["kind"] != "GPU":
            return None
        values = match["values"].split()
        if len(values) <= max(column.index for column in self.columns):
            raise BadLine(f"{len(values)} values where the header has more")
        t = self._times.unix_s(match["time"].strip(" \t[]:"))
        number = self._numbers.get(match["id"])
        if number is None:
            number = self._numbers[match["id"]] = self.sources.place(f"gpu:{int(match['id'])}", None)
        return t, number, tuple([values[column.index] for column in self.columns])


Layout = CsvLayout | DmonLayout


def layout_of(first_line: str) -> Layout:
    """How to read a log that begins with this line. Raises LogError where it is none that is understood."""
    return DmonLayout(first_line) if _DMON_HEADER.match(first_line) else CsvLayout(first_line)


def _fields(line: str) -> list[str]:
    return [field.strip().strip('"') for field in line.split(",")]


def _places(names: list[str], name: str) -> list[int]:
    return [index for index, found in enumerate(names) if found == name][:1]


def _column(index: int, label: str, kind: _Kind, unit: str | None) -> Column:
    scale = kind.scale if unit is None else _UNITS.get(unit.lower())
    if scale is None:
        raise LogError(f"the unit of {label[:60]!r} is not known: use {', '.join(_UNITS)}")
    return Column(
        index=index,
        label=label,
        quantity=kind.quantity,
        tool=kind.tool,
        method=kind.method,
        scale=scale,
        averaging_s=kind.averaging_s,
        age_s=kind.age_s,
        resolution_j=kind.resolution_j,
    )


def _not_a_header(line: str) -> str:
    shown = ascii(line.strip()[:60])
    try:
        Times().unix_s(_fields(line)[0])
    except BadLine:
        return f"its first line {shown} names no time with power or energy: expected {EXAMPLES}"
    remedy = f"record without noheader, or put the header in front ({EXAMPLES})"
    return f"its first line {shown} is a reading, so what its columns are isn't known: {remedy}"


def value_of(text: str, column: Column) -> float | None:
    """Watts or joules; None where the log says that there is no value. A unit behind the number counts more than the header's.

    Raises:
        BadLine: neither a number nor a way of saying that there is none.
    """
    number, _, unit = text.strip().strip('"').partition(" ")
    try:
        scale = _UNITS[unit.strip().lower()] if unit else column.scale
        value = float(number) * scale
    except (ValueError, KeyError):
        if _ABSENT.fullmatch(text.strip()):
            return None
        raise BadLine(f"{text.strip()[:40]!r} is not a number of watts or joules") from None
    if 0 <= value < _DCGM_BLANK * scale:
        return value
    if (value >= 0 and not math.isinf(value)) or math.isnan(value):
        return None
    raise BadLine(f"{text.strip()[:40]!r} is no power and no energy")


def _domain(text: str) -> str | None:
    if text.isascii() and text.isdigit() and len(text) <= 4:
        return f"gpu:{int(text)}"
    return text if _DOMAIN.fullmatch(text) else None


def _second(text: str) -> float:
    second = float(text)
    if not 0 <= second < 61:
        raise ValueError(text)
    return second


def _plausible(t: float, text: str) -> float:
    if not _EARLIEST_S <= t <= _LATEST_S:
        raise BadLine(f"{text[:40]!r} is not a time in Unix seconds")
    return t
