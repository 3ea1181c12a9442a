"""Opens meters by name and prints what was found as JSON. Arguments: the powercap root, then the names."""

from __future__ import annotations

import json
import os
import sys

from pytest_tpf.meters.protocol import MeterOptions, MeterUnavailable
from pytest_tpf.meters.registry import open_meters


def probe(root: str, names: list[str]) -> dict[str, object]:
    try:
        pairs, notes = open_meters(names, MeterOptions(watched_pid=os.getppid(), powercap_root=root))
    except MeterUnavailable as reason:
        return {"unavailable": str(reason)}
    channels = [channel for _, opened in pairs for channel in opened.channels]
    result = {
        "meters": [meter.id for meter, _ in pairs],
        "energy": {channel.info.domain: channel.info.meter for channel in channels if channel.info.energy},
        "readings": [channel.read() for channel in channels],
        "unmetered": [domain for _, opened in pairs for domain in opened.unmetered],
        "notes": [*notes, *(note for _, opened in pairs for note in opened.notes)],
        "metadata": "importlib.metadata" in sys.modules,
    }
    for meter, _ in pairs:
        meter.close()
    return result


if __name__ == "__main__":
    print(json.dumps(probe(sys.argv[1], sys.argv[2:])))
