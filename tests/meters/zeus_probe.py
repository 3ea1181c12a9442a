"""Opens the zeus meter and prints what it found and read as JSON, and what it imported; run in a process of its own.

Arguments: how many times every channel is read, the pause between two rounds (s), and a folder of RAPL zones ("" for the machine's own).
"""

from __future__ import annotations

import json
import os
import sys
import time

from pytest_tpf.codec import as_dict
from pytest_tpf.meters.protocol import MeterOptions, MeterUnavailable
from pytest_tpf.meters.zeus import ZeusMeter
from tests.meters.nvml_probe import reading

HEAVY = ("numpy", "pandas", "sklearn", "torch", "zeus.monitor")


def probe(count: int, pause_s: float, rapl: str) -> dict[str, object]:
    if rapl:
        import zeus.device.cpu.rapl

        zeus.device.cpu.rapl.RAPL_DIR = rapl  # Zeus looks for zones in /sys alone, even where its daemon reads them
    if os.environ.get("ZEUS_PROBE_CHIP") == "apple":
        import zeus.device.soc
        from zeus.device.soc.apple import AppleSilicon

        zeus.device.soc._soc = AppleSilicon()  # Zeus makes it on a Mac alone
    meter = ZeusMeter()
    try:
        opened = meter.open(MeterOptions(watched_pid=1))
        rows: list[list[object]] = [[] for _ in opened.channels]
        for _ in range(count):
            for row, channel in zip(rows, opened.channels, strict=True):
                row.append(reading(channel))
            time.sleep(pause_s)
        return {
            "channels": [as_dict(channel.info) for channel in opened.channels],
            "readings": rows,
            "accelerators": as_dict(opened.accelerators),
            "notes": list(opened.notes),
            "unmetered": list(opened.unmetered),
            "statuses": as_dict(list(meter.status())),
            "heavy": [name for name in HEAVY if name in sys.modules],
        }
    except MeterUnavailable as reason:
        return {"unavailable": str(reason)}
    finally:
        meter.close()


if __name__ == "__main__":
    print(json.dumps(probe(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3])))
