"""Whatever Zeus's device layer reads: NVIDIA and AMD boards, Apple silicon, Jetson, and processors through Zeus's daemon.

Zeus (https://ml.energy/zeus) is read, not run: each device's counter or gauge is a channel like any other, so windows, uncertainty and gaps
are this package's own. Only ``zeus.device`` is imported, which needs neither scikit-learn nor torch. NVIDIA boards are found and described
by the ``nvml`` meter, whose rules for ``CUDA_VISIBLE_DEVICES`` and MIG hold here too, and read through Zeus.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pytest_tpf.meters.nvml import NvmlMeter
from pytest_tpf.meters.protocol import BoardProcess, MeterOptions, MeterUnavailable, Opened, Status

INSTALL = "Zeus 0.13 or later is not installed: pip install 'pytest-tpf[zeus]'"


class ZeusMeter:
    """Energy and power of the devices that Zeus supports."""

    id = "zeus"

    def __init__(self) -> None:
        self._nvml = NvmlMeter()
        self._has_nvidia = False
        self._is_imported = False

    def open(self, options: MeterOptions) -> Opened:
        """A counter or gauge of every device that Zeus finds.

        Raises:
            MeterUnavailable: Zeus isn't installed, or finds nothing it can read; the text says what was looked for and what helps.
        """
        try:
            import zeus.device  # noqa: F401  tells whether it is there
        except ImportError:
            raise MeterUnavailable(INSTALL) from None
        from pytest_tpf.meters import _zeus_devices as devices

        self._is_imported = True
        tried: dict[str, Callable[[], Opened]] = {
            "GPU": lambda: self._boards(options),
            "processor": lambda: devices.processors(options),
            "SoC": devices.soc,
        }
        found: dict[str, Opened] = {}
        reasons: dict[str, str] = {}
        for kind, look in tried.items():
            try:
                found[kind] = look()
            except MeterUnavailable as unavailable:
                reasons[kind] = str(unavailable)
        if not found:
            raise MeterUnavailable("Zeus finds nothing to read: " + "; ".join(f"{kind}: {why}" for kind, why in reasons.items()))
        return _together(found, reasons)

    def status(self) -> Sequence[Status]:
        """The slow evidence of NVIDIA boards; Zeus has none of the others."""
        return self._nvml.status() if self._has_nvidia else ()

    def processes(self, since_s: float) -> Sequence[BoardProcess]:
        """Who is on NVIDIA boards, and what each made of them since an instant; Zeus doesn't tell of the others."""
        return self._nvml.processes(since_s) if self._has_nvidia else ()

    def close(self) -> None:
        """Let go of the drivers' libraries and of Zeus's helper process, if it started one."""
        self._nvml.close()
        if self._is_imported:
            from pytest_tpf.meters._zeus_devices import stop_helper

            stop_helper()

    def _boards(self, options: MeterOptions) -> Opened:
        """NVIDIA's boards, else AMD's: Zeus, too, knows one maker at a time."""
        from pytest_tpf.meters import _zeus_devices as devices

        try:
            listed = self._nvml.open(options)
        except MeterUnavailable as no_nvidia:
            try:
                return devices.amd()
            except MeterUnavailable as no_amd:
                raise MeterUnavailable(f"{no_nvidia}; {no_amd}") from None
        opened = devices.nvidia(listed.accelerators)
        self._has_nvidia = True
        metered = {channel.info.domain for channel in opened.channels if channel.info.energy}
        boards = [board.domain for board in listed.accelerators]
        unmetered = tuple(domain for domain in dict.fromkeys((*boards, *listed.unmetered)) if domain not in metered)
        return Opened(channels=opened.channels, accelerators=listed.accelerators, notes=(*listed.notes, *opened.notes), unmetered=unmetered)


def _together(found: dict[str, Opened], reasons: dict[str, str]) -> Opened:
    """Everything found. A chip of its own has no separate GPU or processor, so there is nothing to explain."""
    notes = [note for opened in found.values() for note in opened.notes]
    explained = () if "SoC" in found else tuple(kind for kind in ("GPU", "processor") if kind in reasons)
    return Opened(
        channels=tuple(channel for opened in found.values() for channel in opened.channels),
        accelerators=tuple(board for opened in found.values() for board in opened.accelerators),
        notes=(*notes, *(f"zeus reads no {kind}: {reasons[kind]}" for kind in explained)),
        unmetered=tuple(domain for opened in found.values() for domain in opened.unmetered),
    )
