"""A third party's meter, installed as one would be: a module and the entry point that names it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

POWER_W = 250.0

_MODULE = """
import json, os, sys, time
from pytest_tpf.meters.protocol import Channel, ChannelInfo, MeterUnavailable, Opened, ReadFault, Status

BEHAVIOUR = json.loads(os.environ["KNOWN_METER"])

def joules():
    now = time.perf_counter()
    if BEHAVIOUR.get("print"):
        print("a library that talks to stdout", flush=True)
    if now >= BEHAVIOUR.get("hang_at", 1e18):
        time.sleep(3600)
    if now >= BEHAVIOUR.get("raise_at", 1e18):
        raise RuntimeError("the wire came off")
    if now >= BEHAVIOUR.get("nan_at", 1e18):
        return float("nan")
    if now >= BEHAVIOUR.get("lost_at", 1e18):
        raise ReadFault("device_lost", "the meter was unplugged")
    return BEHAVIOUR["power_w"] * (now - BEHAVIOUR.get("reset_at", 0.0) * (now >= BEHAVIOUR.get("reset_at", 1e18)))

class KnownMeter:
    id = "known"

    def open(self, options):
        if "exit" in BEHAVIOUR:
            print("the meter's firmware gave up", file=sys.stderr, flush=True)
            os._exit(BEHAVIOUR["exit"])
        if "unavailable" in BEHAVIOUR:
            raise MeterUnavailable(BEHAVIOUR["unavailable"])
        info = ChannelInfo(
            meter="known", domain="node", device=None, quantity="energy_j", method="known", source="the test", trust="measured",
            stepped=False, poll_s=0.01, energy=True, resolution_j=1e-6, gain=0.01,
        )
        return Opened(channels=(Channel(info, joules),), notes=("the known meter is open",), unmetered=("dram:0",))

    def status(self):
        if BEHAVIOUR.get("bad_status"):
            raise RuntimeError("no status today")
        return ()

    def close(self):
        if "closed" in BEHAVIOUR:
            open(BEHAVIOUR["closed"], "w").write("closed")
"""


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, **behaviour: object) -> None:
    """Put the meter ``known`` on the path of this process and of those it starts."""
    (folder / "known_meter.py").write_text(_MODULE)
    dist_info = folder / "known_meter-1.0.dist-info"
    dist_info.mkdir(exist_ok=True)
    (dist_info / "METADATA").write_text("Metadata-Version: 2.1\nName: known-meter\nVersion: 1.0\n")
    (dist_info / "entry_points.txt").write_text("[pytest_tpf.meters]\nknown = known_meter:KnownMeter\n")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("KNOWN_METER", json.dumps({"power_w": POWER_W, **behaviour}))
