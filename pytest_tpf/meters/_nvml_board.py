"""One NVIDIA board: the calls of NVIDIA's binding that work on it, in joules, watts and plain names."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pytest_tpf.meters._wrapping import WrappingCounter
from pytest_tpf.meters.protocol import ReadFault, Status
from pytest_tpf.meters.visible import BoardId
from pytest_tpf.records import Accelerator

_T = TypeVar("_T")

# Bits of nvmlDeviceGetCurrentClocksEventReasons (nvml.h, nvmlClocksEventReason*).
CLOCK_REASONS = {
    0x001: "gpu_idle",
    0x002: "applications_clocks_setting",
    0x004: "sw_power_cap",
    0x008: "hw_slowdown",
    0x010: "sync_boost",
    0x020: "sw_thermal_slowdown",
    0x040: "hw_thermal_slowdown",
    0x080: "hw_power_brake_slowdown",
    0x100: "display_clock_setting",
}

# Fields that count for how long a reason has held the clocks back (nvml.h, in ns). Older drivers know only the two violation times.
HELD_BACK_FIELDS = {74: "sw_power_cap", 269: "sw_thermal_slowdown", 270: "hw_thermal_slowdown", 271: "hw_power_brake_slowdown"}
NS_PER_S = 1e9


# NVML counts in 64 bits; where firmware counts in 32, the counter is full at 2^32 mJ. A wider one never gets there by falling.
COUNTER_RANGE_UJ = 2**32 * 1000


@dataclass(frozen=True, slots=True)
class Gauge:
    """A power gauge that works on a board; ``averaging_s`` where it is documented."""

    method: str
    source: str
    averaging_s: float | None
    read_w: Callable[[], float]


class NvmlBoard:
    """A board, held by its UUID. ``nvml`` is the initialised binding."""

    def __init__(self, nvml: Any, identity: BoardId) -> None:
        """Raises ReadFault where the board doesn't answer."""
        self.id = identity
        self.domain = f"gpu:{identity.index}"
        self._nvml = nvml
        self._handle = self.guarded(lambda: nvml.nvmlDeviceGetHandleByUUID(identity.uuid))()
        self._utilization = self._working("nvmlDeviceGetUtilizationRates")
        self._temperature_c = self._working("nvmlDeviceGetTemperatureV", "nvmlDeviceGetTemperature", args=(nvml.NVML_TEMPERATURE_GPU,))
        self._power_limit_mw = self._working("nvmlDeviceGetEnforcedPowerLimit", "nvmlDeviceGetPowerManagementLimit")
        self._clock_reasons = self._working("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons")
        self._sm_clock_mhz = self._working("nvmlDeviceGetClockInfo", args=(nvml.NVML_CLOCK_SM,))
        self._memory_clock_mhz = self._working("nvmlDeviceGetClockInfo", args=(nvml.NVML_CLOCK_MEM,))
        self._held_back = self._held_back_counters()

    def is_in_mig_mode(self) -> bool:
        """Whether the board is cut into slices, which NVML can't meter one by one."""
        return bool(self._value(lambda: self._nvml.nvmlDeviceGetMigMode(self._handle)[0]) == 1)

    def counter(self) -> Callable[[], float] | None:
        """The cumulative energy counter (J since the driver was loaded); None where the board has none."""
        nvml, handle = self._nvml, self._handle

        def read_uj() -> int:
            return int(nvml.nvmlDeviceGetTotalEnergyConsumption(handle)) * 1000

        try:
            return WrappingCounter(self.domain, self.guarded(read_uj), COUNTER_RANGE_UJ, time.perf_counter).read_j
        except ReadFault:
            return None

    def gauges(self) -> tuple[Gauge, ...]:
        """The power gauges that work, the one that averages over the shortest time first; the oldest call only where it is the only one."""
        working = tuple(gauge for gauge in self._fields() if self._value(gauge.read_w) is not None)
        usage = self._usage()
        return working or ((usage,) if self._value(usage.read_w) is not None else ())

    def _fields(self) -> Iterator[Gauge]:
        nvml = self._nvml
        for field, method, averaging_s in (
            (nvml.NVML_FI_DEV_POWER_INSTANT, "nvml_power_instant", self._instant_averaging_s()),
            (nvml.NVML_FI_DEV_POWER_AVERAGE, "nvml_power_average", 1.0),
        ):
            yield Gauge(method, f"NVML field {field}", averaging_s, self._field_w(field))

    def _usage(self) -> Gauge:
        read_w = self.guarded(lambda: float(self._nvml.nvmlDeviceGetPowerUsage(self._handle)) / 1000)
        # NVML's manual: a one-second average on Ampere (except GA100) and newer, instantaneous before.
        architecture = self._architecture()
        averages = architecture is not None and architecture >= self._nvml.NVML_DEVICE_ARCH_AMPERE and not self._is_ga100()
        return Gauge("nvml_power_usage", "nvmlDeviceGetPowerUsage", 1.0 if averages else self._instant_averaging_s(), read_w)

    def _instant_averaging_s(self) -> float | None:
        """Over how long the instant gauge averages (s), as measured on each generation; no document says (arXiv 2312.02741).

        On A100 and H100 it sees a quarter of the time: 25 ms of every 100.
        """
        nvml, architecture = self._nvml, self._architecture()
        if architecture == nvml.NVML_DEVICE_ARCH_AMPERE:
            return 0.025 if self._is_ga100() else 0.1
        by_generation: dict[int, float] = {
            nvml.NVML_DEVICE_ARCH_PASCAL: 0.01,
            nvml.NVML_DEVICE_ARCH_VOLTA: 0.01,
            nvml.NVML_DEVICE_ARCH_TURING: 0.1,
            nvml.NVML_DEVICE_ARCH_ADA: 0.1,
            nvml.NVML_DEVICE_ARCH_HOPPER: 0.025,
        }
        return None if architecture is None else by_generation.get(architecture)

    def _is_ga100(self) -> bool:
        return not {"A100", "A30", "A800"}.isdisjoint(self.id.name.replace("-", " ").split())  # not RTX A1000, A3000

    def _architecture(self) -> int | None:
        architecture = self._value(lambda: self._nvml.nvmlDeviceGetArchitecture(self._handle))
        return None if architecture is None or architecture == self._nvml.NVML_DEVICE_ARCH_UNKNOWN else int(architecture)

    def _field_w(self, field: int) -> Callable[[], float]:
        nvml, handle, request = self._nvml, self._handle, [field]

        def read_w() -> float:
            value = nvml.nvmlDeviceGetFieldValues(handle, request)[0]
            if value.nvmlReturn:
                raise nvml.NVMLError(value.nvmlReturn)
            return float(value.value.uiVal) / 1000

        return self.guarded(read_w)

    def accelerator(self) -> Accelerator:
        """The board's row of the report."""
        nvml = self._nvml
        return Accelerator(
            domain=self.domain,
            name=self.id.name,
            uuid=self.id.uuid,
            index=self.id.index,
            memory_bytes=self._value(lambda: int(nvml.nvmlDeviceGetMemoryInfo(self._handle).total)),
            driver_version=self._value(lambda: str(nvml.nvmlSystemGetDriverVersion())),
            power_limit_w=self._scaled(self._power_limit_mw, 1000),
            persistence_mode=self._value(lambda: bool(nvml.nvmlDeviceGetPersistenceMode(self._handle))),
            ecc_mode=self._value(lambda: bool(nvml.nvmlDeviceGetEccMode(self._handle)[0])),
        )

    def status(self) -> Status:
        """Utilization (0..1), temperature (C), enforced power limit (W), clocks (MHz), what holds them back and for how long (s), now."""
        rates = self._value(self._utilization)
        bits = self._value(self._clock_reasons) or 0
        return Status(
            domain=self.domain,
            t=time.perf_counter(),
            utilization=None if rates is None else rates.gpu / 100,
            temperature_c=self._scaled(self._temperature_c, 1),
            power_limit_w=self._scaled(self._power_limit_mw, 1000),
            clock_reasons=tuple(name for bit, name in CLOCK_REASONS.items() if bits & bit),
            sm_clock_mhz=self._scaled(self._sm_clock_mhz, 1),
            memory_clock_mhz=self._scaled(self._memory_clock_mhz, 1),
            held_back_s=self._value(self._held_back) or {},
        )

    def _held_back_counters(self) -> Callable[[], dict[str, float]] | None:
        """A call that gives every such counter that works on this board (s): one call for the fields, or one for each violation time."""
        answers = self._value(lambda: self._nvml.nvmlDeviceGetFieldValues(self._handle, list(HELD_BACK_FIELDS))) or ()
        fields = [field for field, answer in zip(HELD_BACK_FIELDS, answers, strict=False) if not answer.nvmlReturn]
        if fields:
            return lambda: self._counted_fields_s(fields)
        policies = {"sw_power_cap": self._nvml.NVML_PERF_POLICY_POWER, "thermal": self._nvml.NVML_PERF_POLICY_THERMAL}
        calls = {name: self._working("nvmlDeviceGetViolationStatus", args=(policy,)) for name, policy in policies.items()}
        working = {name: call for name, call in calls.items() if call is not None}
        return (lambda: {name: call().violationTime / NS_PER_S for name, call in working.items()}) if working else None

    def _counted_fields_s(self, fields: Sequence[int]) -> dict[str, float]:
        values = self._nvml.nvmlDeviceGetFieldValues(self._handle, fields)
        return {HELD_BACK_FIELDS[v.fieldId]: v.value.ullVal / NS_PER_S for v in values if not v.nvmlReturn}

    def ask(self, name: str, *args: Any) -> Any:
        """What a call of the binding gives for this board; None where there is no such call or the board doesn't answer it."""
        function = getattr(self._nvml, name, None)
        return None if function is None else self._value(_bound(function, self._handle, *args))

    def guarded(self, call: Callable[[], _T]) -> Callable[[], _T]:
        """``call`` with the driver's error as a ``ReadFault`` that names the board."""
        nvml = self._nvml

        def guarded() -> _T:
            try:
                return call()
            except nvml.NVMLError as error:
                is_lost = error.value in (nvml.NVML_ERROR_GPU_IS_LOST, nvml.NVML_ERROR_RESET_REQUIRED)
                raise ReadFault("device_lost" if is_lost else "counter_unreadable", f"{self.domain} ({self.id.name}): {error}") from None

        return guarded

    def _working(self, *names: str, args: tuple[Any, ...] = ()) -> Callable[[], Any] | None:
        """The first of the named calls that this binding, driver and board know: the newer name comes first."""
        for name in names:
            function = getattr(self._nvml, name, None)
            if function is not None and self._value(call := _bound(function, self._handle, *args)) is not None:
                return call
        return None

    def _value(self, call: Callable[[], Any] | None) -> Any:
        """What the call gives; None where there is no such call or the board doesn't answer it."""
        try:
            return call() if call else None
        except (self._nvml.NVMLError, ReadFault):
            return None

    def _scaled(self, call: Callable[[], Any] | None, divisor: float) -> float | None:
        value = self._value(call)
        return None if value is None else float(value) / divisor


def _bound(function: Callable[..., Any], *args: Any) -> Callable[[], Any]:
    return lambda: function(*args)
