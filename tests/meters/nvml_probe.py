"""Opens the NVML meter and prints what it found and read as JSON; the tests run it in a process whose loader sees the stand-in.

Arguments: how many times every channel is read, and the pause between two rounds (s).
"""

from __future__ import annotations

import json
import os
import sys
import time

from pytest_tpf.codec import as_dict
from pytest_tpf.meters.nvml import NvmlMeter
from pytest_tpf.meters.protocol import Channel, MeterOptions, MeterUnavailable, ReadFault


def reading(channel: Channel) -> list[object]:
    before = time.perf_counter()
    try:
        value: object = channel.read()
    except ReadFault as fault:
        value = [fault.code, str(fault)]
    return [before, value, time.perf_counter()]


def probe(count: int, pause_s: float) -> dict[str, object]:
    meter = NvmlMeter()
    try:
        named = tuple(map(int, os.environ.get("PROBE_WATCH", "").split()))
        opened = meter.open(MeterOptions(watched_pid=os.getppid(), also_watched=named))
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
            "processes": as_dict(list(meter.processes(time.perf_counter() - 1.0))),
        }
    except MeterUnavailable as reason:
        return {"unavailable": str(reason)}
    finally:
        meter.close()


if __name__ == "__main__":
    print(json.dumps(probe(int(sys.argv[1]), float(sys.argv[2]))))
