"""Meters by name: what auto opens, what an explicit list demands, and meters of third parties."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys

import pytest

from pytest_tpf.meters.protocol import MeterOptions, MeterUnavailable
from pytest_tpf.meters.registry import BUILT_IN, create_meter, meter_names, name_errors, open_meters, try_meter
from tests.meters.powercap_tree import zone
from tests.standin import Standin, StandinUnavailable, build_library, many_boards


@pytest.fixture
def powercap(tmp_path):
    root = tmp_path / "powercap"
    zone(root, "intel-rapl:0", "package-0", 5_000_000)
    return root


@pytest.fixture
def open_names(tmp_path):
    """Open meters in a process that sees so many stand-in boards and this powercap tree."""
    try:
        build_library()
    except StandinUnavailable as reason:
        pytest.skip(str(reason))

    def open_names(*names, boards=0, powercap=None, **env):
        variables = {**os.environ, **Standin(boards=many_boards(boards)).environment(tmp_path), **env}
        variables.pop("CUDA_VISIBLE_DEVICES", None)
        command = [sys.executable, "-m", "tests.meters.registry_probe", str(powercap or tmp_path / "absent"), *names]
        done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return open_names


def test_auto_opens_whatever_measures(open_names, powercap):
    found = open_names("auto", boards=2, powercap=powercap)
    assert found["meters"] == ["nvml", "rapl"]
    assert found["energy"] == {"gpu:0": "nvml", "gpu:1": "nvml", "cpu:0": "rapl"}
    assert found["unmetered"] == ["dram:0"]
    assert found["notes"] == []


def test_auto_with_boards_only_lists_the_processor_as_unmetered_and_says_why(open_names):
    found = open_names("auto", boards=1)
    assert found["meters"] == ["nvml"]
    assert found["unmetered"] == ["cpu:0", "dram:0"]
    assert [note.split(":")[0] for note in found["notes"]] == ["rapl"]


def test_auto_with_a_processor_only_does_not_complain_of_missing_boards(open_names, powercap):
    found = open_names("auto", powercap=powercap)
    assert (found["meters"], found["notes"]) == (["rapl"], [])


def test_auto_estimates_only_where_nothing_measures_and_says_why(open_names):
    found = open_names("auto")
    assert found["meters"] == ["estimate"]
    assert found["unmetered"] == ["dram:0"]
    assert [note.split(":")[0] for note in found["notes"]] == ["nvml", "rapl", "estimated"]


def test_a_list_opens_exactly_what_it_names(open_names, powercap):
    assert open_names("rapl", boards=1, powercap=powercap)["meters"] == ["rapl"]
    assert open_names("nvml", boards=1, powercap=powercap)["unmetered"] == ["cpu:0", "dram:0"]
    assert open_names("nvml", "nvml", "auto", boards=1, powercap=powercap)["meters"] == ["nvml", "rapl"]


def test_the_fallback_is_opened_once_where_it_is_named_too(open_names):
    assert open_names("auto", "estimate")["meters"] == ["estimate"]


def test_a_fallback_that_failed_by_name_is_not_tried_again(tmp_path):
    with subprocess.Popen([sys.executable, "-c", "pass"]) as gone:
        gone.wait()
    with pytest.raises(MeterUnavailable) as caught:
        open_meters(("auto", "estimate"), MeterOptions(watched_pid=gone.pid, powercap_root=str(tmp_path)))
    assert str(caught.value).count("estimate: ") == 1


def test_what_one_meter_lacks_and_another_reads_is_no_gap(open_names, powercap):
    zone(powercap, "intel-rapl:0:0", "dram", 1_000_000)
    found = open_names("estimate", "rapl", powercap=powercap)
    assert found["energy"] == {"cpu:0": "estimate", "dram:0": "rapl"}
    assert found["unmetered"] == []


def test_every_named_meter_must_open_and_all_reasons_are_given(open_names):
    text = open_names("nvml", "rapl", "estimate")["unavailable"]
    assert "nvml: no NVIDIA board" in text
    assert "rapl: no RAPL packages" in text
    assert "estimate" not in text
    assert "rapl: no RAPL" in open_names("auto", "rapl", boards=1)["unavailable"]


def test_one_domain_has_one_energy_the_first_named_meters(open_names, powercap):
    found = open_names("rapl", "estimate", powercap=powercap)
    assert found["energy"] == {"cpu:0": "rapl"}
    assert any("cpu:0" in note and "estimate" in note for note in found["notes"])
    assert open_names("estimate", "rapl", powercap=powercap)["energy"] == {"cpu:0": "estimate"}


def test_built_in_meters_are_found_without_package_metadata(open_names, powercap):
    assert open_names("auto", boards=1, powercap=powercap)["metadata"] is False


# --- names


def test_every_built_in_meter_can_be_made():
    assert [create_meter(name).id for name in BUILT_IN] == list(BUILT_IN)
    assert meter_names()[: len(BUILT_IN)] == tuple(BUILT_IN)


def test_an_unknown_name_is_an_error_that_names_the_nearest():
    assert name_errors(("auto", "nvml", "rapl", "estimate")) == ()
    (text,) = name_errors(("nvlm", "rapl"))
    assert "'nvlm'" in text
    assert "did you mean 'nvml'" in text
    with pytest.raises(MeterUnavailable, match="did you mean 'rapl'"):
        open_meters(("rapple", "estimate"), MeterOptions(watched_pid=os.getppid()))
    with pytest.raises(MeterUnavailable, match="no meter 'zzz'"):
        create_meter("zzz")


def test_an_empty_list_is_an_error():
    assert name_errors(())
    with pytest.raises(MeterUnavailable, match="auto"):
        open_meters((), MeterOptions(watched_pid=os.getppid()))


# --- third parties, installed as packages are: a module and its entry points on the path

THIRD_PARTY = """
from pytest_tpf.meters.protocol import Channel, ChannelInfo, MeterUnavailable, Opened

class WallPlug:
    id = "wallplug"
    closed = 0

    def open(self, options):
        info = ChannelInfo(meter="wallplug", domain="node", device=None, quantity="energy_j", method="plug", source="plug",
                           trust="measured", stepped=False, poll_s=1.0, energy=True)
        return Opened(channels=(Channel(info, lambda: 42.0),))

    def status(self):
        return ()

    def close(self):
        WallPlug.closed += 1

class Missing(WallPlug):
    def open(self, options):
        raise MeterUnavailable("plug it in")

class Broken(WallPlug):
    def open(self, options):
        raise KeyError("a bug\\nof theirs")

def unmakeable():
    raise RuntimeError("no")
"""


@pytest.fixture
def third_party(tmp_path, monkeypatch):
    site = tmp_path / "site"
    info = site / "tpf_wallplug-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "tpf_wallplug.py").write_text(THIRD_PARTY)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tpf-wallplug\nVersion: 1.0\n")
    names = {"wallplug": "WallPlug", "missing": "Missing", "broken": "Broken", "unmakeable": "unmakeable", "absent": "absent"}
    lines = [f"{name} = tpf_wallplug:{attribute}" for name, attribute in names.items()]
    (info / "entry_points.txt").write_text("[pytest_tpf.meters]\n" + "\n".join(lines) + "\n")
    monkeypatch.syspath_prepend(site)
    yield
    sys.modules.pop("tpf_wallplug", None)


OPTIONS = MeterOptions(watched_pid=os.getppid())


@pytest.mark.usefixtures("third_party")
def test_a_third_partys_meter_opens_by_name():
    assert "wallplug" in meter_names()
    ((meter, opened),), notes = open_meters(("wallplug",), OPTIONS)
    assert opened.channels[0].read() == 42.0
    assert opened.unmetered == (), "the whole node is metered"
    assert notes == []
    meter.close()


@pytest.mark.usefixtures("third_party")
@pytest.mark.parametrize(
    ("names", "counted", "unmetered"), [(("rapl", "wallplug"), {"cpu:0"}, {"dram:0"}), (("wallplug", "rapl"), {"node"}, set())]
)
def test_a_whole_machine_and_its_parts_are_never_added(powercap, names, counted, unmetered):
    pairs, notes = open_meters(names, dataclasses.replace(OPTIONS, powercap_root=str(powercap)))
    channels = [channel.info for _, opened in pairs for channel in opened.channels]
    assert {info.domain for info in channels} == {"cpu:0", "node"}
    assert {info.domain for info in channels if info.energy} == counted
    assert {domain for _, opened in pairs for domain in opened.unmetered} == unmetered
    assert any("is not added" in note for note in notes)
    for meter, _ in pairs:
        meter.close()


@pytest.mark.usefixtures("third_party")
@pytest.mark.parametrize(
    ("name", "reason"),
    [("missing", "plug it in"), ("broken", "KeyError: 'a bug"), ("unmakeable", "RuntimeError: no"), ("absent", "AttributeError")],
)
def test_a_third_partys_failure_is_one_line(name, reason):
    attempt = try_meter(name, OPTIONS)
    assert attempt.opened is None
    assert reason in attempt.reason
    assert "\n" not in attempt.reason
    with pytest.raises(MeterUnavailable, match=f"^{name}: "):
        open_meters((name,), OPTIONS)


@pytest.mark.usefixtures("third_party")
def test_every_meter_is_closed_where_one_fails():
    with pytest.raises(MeterUnavailable):
        open_meters(("wallplug", "missing", "broken"), OPTIONS)
    import tpf_wallplug

    assert tpf_wallplug.WallPlug.closed == 3
