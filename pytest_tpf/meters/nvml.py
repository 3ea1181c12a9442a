"""NVIDIA boards through NVML, the driver's own library, by NVIDIA's own binding ``pynvml``.

A board gives a cumulative energy counter (Volta and later) and power gauges. The counter is the energy of the board; where there is none
the quickest gauge is, and the method's name says which. The other gauges are read beside it: they must agree. A board is known by its
UUID; its domain is ``gpu:<index>`` with the driver's index (PCI bus order), which is the same for every process, whatever
``CUDA_VISIBLE_DEVICES`` hides from it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from typing import Any

from pytest_tpf.meters._nvml_board import Gauge, NvmlBoard
from pytest_tpf.meters._nvml_processes import board_processes
from pytest_tpf.meters.protocol import BoardProcess, Channel, ChannelInfo, MeterOptions, MeterUnavailable, Opened, ReadFault, Status
from pytest_tpf.meters.visible import BoardId, visible_boards

# Relative standard uncertainty of a board's sensor. NVIDIA states none for the counter; 5 % covers what shunt meters showed on most
# boards (arXiv 2312.02741) and is taken as the expanded (95 %) figure until the board is calibrated against a wall meter.
GAIN = 0.05 / 1.96

COUNTER_RESOLUTION_J = 0.001
# The counter is polled this often until its refresh is known, so that its first edges are known to about a millisecond.
COUNTER_POLL_S = 0.001
# Gauges refresh every 20 to 100 ms.
GAUGE_POLL_S = 0.02

_DRIVER_HELP = "install the NVIDIA driver, or start the container with its GPUs (docker run --gpus all)"


class NvmlMeter:
    """Energy, power and slow evidence of the NVIDIA boards that this process may use."""

    id = "nvml"

    def __init__(self) -> None:
        self._nvml: Any = None
        self._boards: list[NvmlBoard] = []
        self._roots: tuple[int, ...] = ()

    def open(self, options: MeterOptions) -> Opened:
        """The counter and the best gauge of every board that ``CUDA_VISIBLE_DEVICES`` shows.

        Raises:
            MeterUnavailable: no binding, no driver, or no visible board that can be metered.
        """
        self._nvml, self._roots = _initialised(), options.roots
        listed, notes = _listed(self._nvml)
        selection = visible_boards(listed, os.environ)
        notes += selection.notes
        self._boards = list(_usable(self._nvml, selection.boards, notes))
        channels = [channel for board in self._boards for channel in _channels(board, notes)]
        if not channels:
            raise MeterUnavailable(
                "; ".join([f"none of {len(listed)} NVIDIA boards can be metered" if listed else "no NVIDIA board", *notes])
            )
        metered = {channel.info.domain for channel in channels if channel.info.energy}
        return Opened(
            channels=tuple(channels),
            accelerators=tuple(board.accelerator() for board in self._boards),
            notes=tuple(notes),
            unmetered=tuple(domain for b in selection.boards if (domain := f"gpu:{b.index}") not in metered),
        )

    def status(self) -> Sequence[Status]:
        """Utilization, temperature, power limit and clock event reasons of every board, now."""
        return [board.status() for board in self._boards]

    def processes(self, since_s: float) -> Sequence[BoardProcess]:
        """Who is on the boards, and what each made of them since an instant."""
        return board_processes(self._boards, self._roots, since_s)

    def close(self) -> None:
        """Let go of the driver's library."""
        nvml, self._nvml, self._boards = self._nvml, None, []
        if nvml is None:
            return
        with contextlib.suppress(nvml.NVMLError):  # the driver may have gone away under us
            nvml.nvmlShutdown()


def _initialised() -> Any:
    try:
        import pynvml
    except ImportError:
        raise MeterUnavailable("NVML needs NVIDIA's Python binding: pip install nvidia-ml-py") from None
    remedies = {
        pynvml.NVML_ERROR_LIBRARY_NOT_FOUND: f"no NVIDIA driver library (libnvidia-ml.so.1): {_DRIVER_HELP}",
        pynvml.NVML_ERROR_DRIVER_NOT_LOADED: f"the NVIDIA driver is not loaded: sudo modprobe nvidia, or {_DRIVER_HELP}",
        pynvml.NVML_ERROR_NO_PERMISSION: "no permission to talk to the NVIDIA driver: allow reading and writing /dev/nvidia*",
        pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: "the NVIDIA driver was updated while loaded: restart the machine (or reload the module)",
    }
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise MeterUnavailable(remedies.get(error.value, f"NVML can't be initialised ({error}): run nvidia-smi to see why")) from None
    return pynvml


def _listed(nvml: Any) -> tuple[list[BoardId], list[str]]:
    """Every board of the machine in PCI bus order, and a note for each that doesn't answer."""
    boards: list[BoardId] = []
    notes: list[str] = []
    try:
        count = nvml.nvmlDeviceGetCount()
    except nvml.NVMLError as error:
        raise MeterUnavailable(f"NVML can't list its boards ({error}): run nvidia-smi to see why") from None
    for index in range(count):
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
            boards.append(BoardId(index=index, uuid=str(nvml.nvmlDeviceGetUUID(handle)), name=str(nvml.nvmlDeviceGetName(handle))))
        except nvml.NVMLError as error:
            notes.append(f"gpu:{index} is left out: it doesn't answer ({error})")
    return boards, notes


def _usable(nvml: Any, identities: Sequence[BoardId], notes: list[str]) -> Iterator[NvmlBoard]:
    for identity in identities:
        try:
            board = NvmlBoard(nvml, identity)
        except ReadFault as fault:
            notes.append(f"{fault}: left out")
            continue
        if board.is_in_mig_mode():
            notes.append(
                f"{board.domain} ({identity.name}) is left out: in MIG mode the driver meters the whole board, not the slice in use"
            )
        else:
            yield board


def _channels(board: NvmlBoard, notes: list[str]) -> Iterator[Channel]:
    counter, gauges = board.counter(), board.gauges()
    if counter is not None:
        yield Channel(_counter_info(board), counter)
    for index, gauge in enumerate(gauges):
        yield Channel(_gauge_info(board, gauge, energy=counter is None and index == 0), gauge.read_w)
    if counter is None:
        instead = f"its energy is {gauges[0].method} added up over time" if gauges else "and no power reading: its energy is unknown"
        notes.append(f"{board.domain} ({board.id.name}) has no energy counter, {instead}")


def _counter_info(board: NvmlBoard) -> ChannelInfo:
    return ChannelInfo(
        meter=NvmlMeter.id,
        domain=board.domain,
        device=board.id.uuid,
        quantity="energy_j",
        method="nvml_energy_counter",
        source="nvmlDeviceGetTotalEnergyConsumption",
        trust="measured",
        stepped=True,
        poll_s=COUNTER_POLL_S,
        energy=True,
        resolution_j=COUNTER_RESOLUTION_J,
        gain=GAIN,
    )


def _gauge_info(board: NvmlBoard, gauge: Gauge, *, energy: bool) -> ChannelInfo:
    return ChannelInfo(
        meter=NvmlMeter.id,
        domain=board.domain,
        device=board.id.uuid,
        quantity="power_w",
        method=gauge.method,
        source=gauge.source,
        trust="measured",
        stepped=False,
        poll_s=max(GAUGE_POLL_S, (gauge.averaging_s or 0.0) / 20),
        energy=energy,
        gain=GAIN,
        averaging_s=gauge.averaging_s,
    )
