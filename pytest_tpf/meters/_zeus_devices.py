"""What Zeus's device layer can read on this machine, as channels in joules and watts. Imports ``zeus``; ``meters.zeus`` imports this.

Facts are those of Zeus 0.13 to 0.16 (``zeus/device``): energies are in mJ and power in mW; ``get_gpus()`` looks for NVIDIA boards, then
for AMD's; ``CUDA_VISIBLE_DEVICES`` is read as integers, whatever it holds. NVIDIA boards are therefore chosen by this package's own rules
and each is handed to Zeus by the driver's index. Zeus's own reading of RAPL starts a process for every counter, so its processors are used
only where Zeus's daemon reads them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from typing import Any, Literal

from pytest_tpf.meters.nvml import GAIN
from pytest_tpf.meters.protocol import Channel, ChannelInfo, MeterOptions, MeterUnavailable, Opened, ReadFault
from pytest_tpf.meters.rapl import DRAM_GAIN, PACKAGE_GAIN, RESOLUTION_J, RaplMeter
from pytest_tpf.records import Accelerator

METER = "zeus"
COUNTER_POLL_S = 0.001  # until the refresh is known, as for NVML
GAUGE_POLL_S = 0.02
SLOW_POLL_S = 0.05  # what Zeus itself asks of another process: its daemon, its Jetson helper
MILLI = 0.001

_DAEMON_VARIABLES = ("ZEUSD_SOCK_PATH", "ZEUSD_HOST_PORT")
_INDICES = re.compile(r"\s*\d+\s*(,\s*\d+\s*)*")
_LOST = ("ZeusGPULostError", "ZeusGPUResetRequiredError")
# Apple silicon and Jetson, by domain: the fields of Zeus's measurement that make it up. What a chip doesn't have is None there.
_PARTS = {
    "cpu:0": ("cpu_total_mj", "cpu_energy_mj"),
    "gpu:0": ("gpu_mj", "gpu_sram_mj", "gpu_energy_mj"),
    "dram:0": ("dram_mj",),
    "ane:0": ("ane_mj",),
}
_WHOLE = "total_energy_mj"  # Jetson's input rail, which contains the others


def nvidia(boards: tuple[Accelerator, ...]) -> Opened:
    """The counter and a power gauge of each board, by the driver's index. Raises MeterUnavailable where Zeus reads none of them."""
    from zeus.device.gpu.nvidia import NVIDIAGPU

    channels: list[Channel] = []
    notes: list[str] = []
    for board in boards:
        try:
            channels += _board(NVIDIAGPU(board.index), board, "nvidia")
        except Exception as error:  # Zeus's, the binding's
            notes.append(f"{board.domain} ({board.name}) is left out: {one_line(error)}")
    if not channels:
        raise MeterUnavailable("; ".join(notes) or "Zeus gives neither energy nor power of the NVIDIA boards")
    return Opened(channels=tuple(channels), notes=tuple(notes), accelerators=boards)


def amd() -> Opened:
    """The counter and a power gauge of each AMD GPU, by its HIP index. Zeus takes half a second to check the counters.

    Raises:
        MeterUnavailable: no AMD GPU that Zeus can read, or it would read others than the ones in use.
    """
    from zeus.device import get_gpus
    from zeus.device.gpu import amdsmi_is_available, nvml_is_available

    if nvml_is_available() or not amdsmi_is_available():
        raise MeterUnavailable("no AMD driver library (amdsmi of ROCm 6.2 or later)")
    _check_amd_visibility()
    gpus = _asked(get_gpus).gpus
    boards = [_amd_board(gpu) for gpu in gpus]
    channels = [channel for gpu, board in zip(gpus, boards, strict=True) for channel in _board(gpu, board, "amd")]
    if not channels:
        raise MeterUnavailable("Zeus gives neither energy nor power of the AMD GPUs")
    metered = {channel.info.domain for channel in channels if channel.info.energy}
    return Opened(
        channels=tuple(channels),
        accelerators=tuple(boards),
        unmetered=tuple(board.domain for board in boards if board.domain not in metered),
    )


def processors(options: MeterOptions) -> Opened:
    """Packages and memory as Zeus's daemon reads them. Raises MeterUnavailable where ``rapl`` does without, or there is no daemon."""
    try:
        RaplMeter().open(options)
    except MeterUnavailable as unavailable:
        if not any(name in os.environ for name in _DAEMON_VARIABLES):
            raise MeterUnavailable(f"{unavailable}; or set ZEUSD_SOCK_PATH to the socket of Zeus's daemon") from None
    else:
        raise MeterUnavailable("the rapl meter reads the processor: --tpf-meter zeus,rapl")
    from zeus.device import get_cpus

    cpus = _asked(get_cpus).cpus
    if any(type(cpu).__name__ != "ZeusdRAPLCPU" for cpu in cpus):
        raise MeterUnavailable("Zeus would start a process for every RAPL counter: use its daemon (ZEUSD_SOCK_PATH) or the rapl meter")
    channels = [channel for cpu in cpus for channel in _package(cpu)]
    if not channels:
        raise MeterUnavailable("Zeus's daemon gives no processor's energy")
    return Opened(channels=tuple(channels))


def soc() -> Opened:
    """Apple silicon or a Jetson. Raises MeterUnavailable where this machine is neither."""
    from zeus.device import get_soc

    chip = _asked(get_soc)
    first = _asked(chip.get_total_energy_consumption)
    is_jetson = type(chip).__name__ == "Jetson"
    parts = {"soc": (_WHOLE,)} if getattr(first, _WHOLE, None) is not None else _PARTS
    channels = []
    for domain, names in parts.items():
        present = tuple(name for name in names if getattr(first, name, None) is not None)
        if present:
            channels.append(_soc_channel(chip, domain, present, is_jetson))
    if not channels:
        raise MeterUnavailable("Zeus gives no energy of this chip")
    return Opened(channels=tuple(channels))


def stop_helper() -> None:
    """End the process that Zeus keeps for a Jetson, if there is one."""
    import zeus.device.soc as module

    stop = getattr(getattr(module, "_soc", None), "_stop_process", None)
    if stop is not None:
        stop()


# --- boards


def _board(gpu: Any, board: Accelerator, maker: str) -> Iterator[Channel]:
    """A counter where it can be read, and the first gauge that can: the instantaneous one follows the load best."""
    label = f"{board.domain} ({board.name})"
    counter = _guarded(label, gpu.get_total_energy_consumption)
    has_counter = _works(counter)
    if has_counter:
        yield Channel(_counter_info(board, maker), counter)
    for kind, averaging_s in (("instant", None), ("average", 1.0 if maker == "nvidia" else None)):
        read_w = _guarded(label, getattr(gpu, f"get_{kind}_power_usage"))
        if _works(read_w):
            yield Channel(_gauge_info(board, maker, kind, averaging_s, energy=not has_counter), read_w)
            return


def _counter_info(board: Accelerator, maker: str) -> ChannelInfo:
    return _info(
        board.domain,
        "energy_j",
        f"zeus_{maker}_energy_counter",
        f"zeus get_total_energy_consumption({board.index})",
        device=board.uuid,
        stepped=True,
        poll_s=COUNTER_POLL_S,
        resolution_j=MILLI,
    )


def _gauge_info(board: Accelerator, maker: str, kind: str, averaging_s: float | None, *, energy: bool) -> ChannelInfo:
    return _info(
        board.domain,
        "power_w",
        f"zeus_{maker}_power_{kind}",
        f"zeus get_{kind}_power_usage({board.index})",
        device=board.uuid,
        poll_s=GAUGE_POLL_S,
        energy=energy,
        averaging_s=averaging_s,
    )


def _amd_board(gpu: Any) -> Accelerator:
    index = int(gpu.gpu_index)
    limit_mw = _value(gpu.get_power_management_limit)
    return Accelerator(
        domain=f"gpu:{index}",
        name=str(_value(gpu.get_name) or "AMD GPU"),
        uuid=str(_value(lambda: _amd_uuid(gpu)) or f"HIP-{index}"),
        index=index,
        power_limit_w=None if limit_mw is None else float(limit_mw) * MILLI,
    )


def _amd_uuid(gpu: Any) -> Any:
    import amdsmi

    return amdsmi.amdsmi_get_gpu_device_uuid(gpu.handle)


def _check_amd_visibility() -> None:
    """Raises MeterUnavailable where Zeus would meter other GPUs than the ones that HIP shows."""
    if "ROCR_VISIBLE_DEVICES" in os.environ:
        raise MeterUnavailable("ROCR_VISIBLE_DEVICES hides GPUs from the program but not from Zeus: use HIP_VISIBLE_DEVICES instead")
    name = "HIP_VISIBLE_DEVICES" if "HIP_VISIBLE_DEVICES" in os.environ else "CUDA_VISIBLE_DEVICES"
    text = os.environ.get(name)
    if text is not None and not _INDICES.fullmatch(text):
        raise MeterUnavailable(f"{name}={text!r} is not a list of indices, and Zeus understands nothing else")


# --- processors and chips


def _package(cpu: Any) -> Iterator[Channel]:
    first = _asked(cpu.get_total_energy_consumption)
    index = int(cpu.cpu_index)
    for kind, field, gain in (("cpu", "cpu_mj", PACKAGE_GAIN), ("dram", "dram_mj", DRAM_GAIN)):
        if getattr(first, field) is None:
            continue
        domain, source = f"{kind}:{index}", f"zeusd, {field} of package {index}"
        info = _info(
            domain, "energy_j", f"zeusd_rapl_{kind}_counter", source, poll_s=SLOW_POLL_S, resolution_j=max(MILLI, RESOLUTION_J), gain=gain
        )
        yield Channel(info, _guarded(domain, _field_of(cpu, field)))


def _field_of(cpu: Any, name: str) -> Callable[[], Any]:
    return lambda: getattr(cpu.get_total_energy_consumption(), name)


def _soc_channel(chip: Any, domain: str, fields: tuple[str, ...], is_jetson: bool) -> Channel:
    def read_mj() -> float:
        measured = chip.get_total_energy_consumption()
        return float(sum(getattr(measured, field) for field in fields))

    source = f"zeus {type(chip).__name__}: {' + '.join(fields)}"
    if is_jetson:
        info = _info(domain, "energy_j", "zeus_jetson_power_added_up", source, poll_s=SLOW_POLL_S)
    else:
        info = _info(domain, "energy_j", "zeus_apple_energy_counter", source, stepped=True, poll_s=COUNTER_POLL_S, resolution_j=MILLI)
    return Channel(info, _guarded(domain, read_mj))


# --- reading


def _info(
    domain: str,
    quantity: Literal["energy_j", "power_w"],
    method: str,
    source: str,
    *,
    poll_s: float,
    device: str | None = None,
    stepped: bool = False,
    energy: bool = True,
    resolution_j: float | None = None,
    averaging_s: float | None = None,
    gain: float = GAIN,
) -> ChannelInfo:
    return ChannelInfo(
        meter=METER,
        domain=domain,
        device=device,
        quantity=quantity,
        method=method,
        source=source,
        trust="measured",
        stepped=stepped,
        poll_s=poll_s,
        energy=energy,
        resolution_j=resolution_j,
        gain=gain,
        averaging_s=averaging_s,
    )


def _guarded(label: str, read_milli: Callable[[], Any]) -> Callable[[], float]:
    """``read_milli`` (mJ or mW) in whole units; any error of Zeus or a driver's binding becomes a ReadFault that names the device."""

    def read() -> float:
        try:
            return float(read_milli()) * MILLI
        except Exception as error:  # Zeus, and the bindings of several makers below it
            is_lost = type(error).__name__ in _LOST
            raise ReadFault("device_lost" if is_lost else "counter_unreadable", f"{label}: {one_line(error)}") from None

    return read


def _works(read: Callable[[], float]) -> bool:
    try:
        read()
    except ReadFault:
        return False
    return True


def _value(call: Callable[[], Any]) -> Any:
    """What the call gives; None where it fails: a board's name is no reason to lose its energy."""
    try:
        return call()
    except Exception:
        return None


def _asked(call: Callable[[], Any]) -> Any:
    """What Zeus answers. Raises MeterUnavailable with Zeus's own reason."""
    try:
        return call()
    except Exception as error:
        raise MeterUnavailable(one_line(error)) from None


def one_line(error: Exception) -> str:
    """An error as one line of text."""
    return " ".join(str(error).split()) or type(error).__name__
