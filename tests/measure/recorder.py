"""A third party's meter whose channel is asked afterwards, installed as one would be; it behaves as told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

POWER_W = 250.0
EVERY_S = 0.05

_MODULE = """
import json, os, time
from pytest_tpf.meters.protocol import Channel, ChannelInfo, History, Opened, Reading, ReadFault

BEHAVIOUR = json.loads(os.environ["RECORDER"])
EVERY_S = 0.05

def info(domain, **more):
    known = {"method": "recorded", "source": "the recorder", "trust": "measured", "device": None, "meter": "recorder", "stepped": False}
    return ChannelInfo(domain=domain, **{**known, "quantity": "energy_j", "poll_s": 0.02, "energy": True, **more})

def joules(n):
    return BEHAVIOUR["power_w"] * n * EVERY_S

def history(t0, t1):
    with open(BEHAVIOUR["calls"], "a") as calls:
        calls.write("asked\\n")
    time.sleep(BEHAVIOUR.get("slow_s", 0.0))
    if BEHAVIOUR.get("hangs"):
        time.sleep(3600)
    if BEHAVIOUR.get("faults"):
        raise ReadFault("device_lost", "the recorder's tape tore")
    if BEHAVIOUR.get("raises"):
        raise RuntimeError("no tape in the recorder")
    known_until = time.perf_counter() - BEHAVIOUR.get("lag_s", 0.0)
    last = min(int(known_until / EVERY_S), int(t1 / EVERY_S) + 5)
    readings = tuple(Reading(t_lo=n * EVERY_S, t_hi=n * EVERY_S + 1e-4, value=joules(n)) for n in range(int(t0 / EVERY_S) - 4, last + 1))
    return History(readings=readings, complete=last * EVERY_S > t1, period_s=EVERY_S)

class RecorderMeter:
    id = "recorder"

    def open(self, options):
        live = Channel(info("cpu:0", poll_s=0.01), read=lambda: 100.0 * time.perf_counter())
        recorded = Channel(info("fan:0", patience_s=BEHAVIOUR["patience_s"]), history=history)
        also_live = Channel(info("dram:0", poll_s=0.01), read=lambda: 10.0 * time.perf_counter())
        return Opened(channels=(live, recorded, also_live))

    def status(self):
        return ()

    def close(self):
        pass
"""


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, **behaviour: object) -> Path:
    """Put the meter ``recorder`` on the path of this process and of those it starts; the file it counts its calls in."""
    (folder / "recorder_meter.py").write_text(_MODULE)
    dist_info = folder / "recorder_meter-1.0.dist-info"
    dist_info.mkdir(exist_ok=True)
    (dist_info / "METADATA").write_text("Metadata-Version: 2.1\nName: recorder-meter\nVersion: 1.0\n")
    (dist_info / "entry_points.txt").write_text("[pytest_tpf.meters]\nrecorder = recorder_meter:RecorderMeter\n")
    monkeypatch.syspath_prepend(str(folder))
    calls = folder / "calls"
    monkeypatch.setenv("RECORDER", json.dumps({"power_w": POWER_W, "calls": str(calls), "patience_s": 5.0, **behaviour}))
    return calls
