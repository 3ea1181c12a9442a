"""The prometheus meter over a real Prometheus server that scrapes a known energy, and over one that lies."""

from __future__ import annotations

import dataclasses
import math
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from pytest_tpf.measure.energy import DomainEnergy, energy_of_spans
from pytest_tpf.measure.history import HistoryReader
from pytest_tpf.measure.sampler import trace_of
from pytest_tpf.meters import _prom_client
from pytest_tpf.meters._prom_known import KNOWN
from pytest_tpf.meters.prometheus import PrometheusMeter
from pytest_tpf.meters.protocol import MeterOptions, MeterUnavailable, Opened
from tests.meters.prom_server import EPOCH, POWER_W, Liar, Prometheus, served, success, wait_until
from tests.standin import Standin, StandinUnavailable, many_boards


def joules(t: float) -> float:
    """A square wave between 100 and 400 W."""
    whole = math.floor((t - EPOCH) / 1.6)
    rest = t - EPOCH - 1.6 * whole
    return whole * 400.0 + 400.0 * min(rest, 0.8) + 100.0 * max(rest - 0.8, 0.0)


def cached(value: Callable[[float], float], every_s: float) -> Callable[[float], float]:
    return lambda t: value(math.floor(t / every_s) * every_s)


@pytest.fixture(scope="module")
def server(prometheus_server: Prometheus) -> Prometheus:
    prometheus_server.exporter.metrics |= {
        "pdu_energy_joules_total": joules,
        'pdu_outlet_kwh_total{outlet="7"}': lambda t: 50 + joules(t) / 3.6e6,
        "cached_joules_total": cached(joules, 0.7),
        "bmc_power_watts": lambda t: 300 + 50 * math.sin(t),
    }
    prometheus_server.wait_for("cached_joules_total", 14)
    return prometheus_server


@pytest.fixture
def opened(tmp_path: Path) -> Callable[..., Opened]:
    """Open the meter on a URL with these [[channel]] tables (none: on the URL alone)."""

    def begin(url: str, *channels: str, **server: str) -> Opened:
        text = f'url = "{url}"\n' + "".join(f"{key} = {value}\n" for key, value in server.items())
        path = tmp_path / "prometheus.toml"
        path.write_text(text + "".join(f"[[channel]]\n{channel}\n" for channel in channels))
        return PrometheusMeter().open(MeterOptions(watched_pid=os.getpid(), prometheus=str(path) if channels else url))

    return begin


@pytest.fixture
def lying() -> Iterator[Callable[..., tuple[str, Liar]]]:
    with ExitStack() as running:

        def begin(*series: tuple[dict[str, str], Callable[[float], float | None]], **more: float) -> tuple[str, Liar]:
            liar = Liar(*series or (({"gpu": "0"}, lambda t: POWER_W * (t - EPOCH)),), **more)
            return running.enter_context(served(liar)), liar

        yield begin


CHANNEL = 'domain = "gpu:{gpu}"\nquery = "energy"\nunit = "J"'


def energies(opened: Opened, span: tuple[float, float], patience_s: float = 10.0) -> dict[str, DomainEnergy]:
    """What the channels say of a window, by domain and method; asked until it is complete, for ``patience_s`` at most."""
    found = {}
    for channel in opened.channels:
        reader = HistoryReader(dataclasses.replace(channel, info=dataclasses.replace(channel.info, patience_s=patience_s)))
        question = reader.ask(*span)
        wait_until(lambda question=question: question.over)
        trace = trace_of(channel.info, *reader.row(question))
        found[f"{channel.info.domain} {channel.info.method}"] = energy_of_spans(trace, [span])
    return found


def window(length_s: float = 2.0) -> tuple[float, float]:
    t0 = time.perf_counter()
    time.sleep(length_s)
    return t0, time.perf_counter()


def true_joules(span: tuple[float, float], value: Callable[[float], float] = joules) -> float:
    offset_s = time.time() - time.perf_counter()
    return value(span[1] + offset_s) - value(span[0] + offset_s)


def test_every_kind_of_series_gives_the_known_energy_within_its_interval(server, opened):
    found = opened(
        server.url,
        'domain = "gpu:{gpu}"\nquery = "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"\nunit = "mJ"\nuuid_label = "UUID"',
        'domain = "node"\nquery = "pdu_energy_joules_total"\nunit = "J"\nlabels = {job = "a"}',
        'domain = "pdu:{outlet}"\nquery = "pdu_outlet_kwh_total{outlet=\\"7\\", }"\nunit = "kWh"\nlabels = {job = "b"}',
        'domain = "cached"\nquery = "cached_joules_total"\nunit = "J"\nlabels = {job = "a"}',
        'domain = "sum"\nquery = "sum(pdu_energy_joules_total)"\nunit = "J"\nstep_s = 0.05',
        'domain = "bmc"\nquery = "bmc_power_watts"\nunit = "W"\nlabels = {job = "a"}',
    )
    span = window(2.4)
    measured = energies(found, span)
    expected = {
        "gpu:0 prometheus_counter": POWER_W * (span[1] - span[0]),
        "node prometheus_counter": true_joules(span),
        "pdu:7 prometheus_counter": true_joules(span),
        "cached prometheus_counter": true_joules(span),
        "sum prometheus_counter_subquery": 2 * true_joules(span),
        "bmc prometheus_gauge": true_joules(span, lambda t: 300 * t - 50 * math.cos(t)),
    }
    assert {name: e.reasons for name, e in measured.items()} == dict.fromkeys(expected, ())
    off = {name: (e.joules - expected[name], e.half_width_j) for name, e in measured.items()}
    assert {name: abs(by) <= 2 * within for name, (by, within) in off.items()} == dict.fromkeys(expected, True), off
    assert [(board.domain, board.uuid, board.name) for board in found.accelerators] == [("gpu:0", "GPU-one", "Tested X1")]
    notes = "\n".join(found.notes)
    assert "gpu:0: 2 series show board GPU-one (job: a, b): it counts once" in notes
    assert re.search(r"cached: its exporter shows new values every 0\.[68] s and is scraped every 0\.2 s", notes)
    assert "sum(pdu_energy_joules_total) is an expression" in notes


def test_a_url_alone_finds_known_exporters(server, opened):
    found = opened(server.url)
    assert [(c.info.domain, c.info.source.partition(" ")[2], c.info.resolution_j) for c in found.channels] == [
        ("gpu:0", "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", 0.001)
    ]


def test_kepler_is_known_zone_by_zone(lying, opened):
    url, liar = lying(*(({"zone": zone, "instance": "n1"}, lambda t: 60.0 * t) for zone in ("package", "dram")))
    zones = {"package": 0, "dram": 1}

    def answer(query):
        if "label_replace" in query:  # Kepler's counters are there, and a board's power alone
            every = [known.query for group in KNOWN for known in group]
            there = [n for n, known in enumerate(every) if ("kepler_node_cpu" in known and "-1" not in known) or "USAGE_INSTANT" in known]
            return success("vector", [{"metric": {"n": str(n)}, "value": [0, "1"]} for n in there])
        zone = next((zone for zone in zones if f'zone=~"{zone}' in query), None)
        labels = {"zone": zone, "instance": "n1"} if zone else {"gpu": "0", "UUID": "GPU-one"}
        times = [time.time() - 0.2 * n for n in range(20)]
        return (
            success("matrix", [{"metric": labels, "values": [[t, str(60.0 * t)] for t in times]}])
            if "e[" in query or "}[" in query
            else None
        )

    liar.answer = answer
    found = opened(url)
    assert {c.info.domain: (c.info.method, c.info.energy) for c in found.channels} == {
        "gpu:0": ("prometheus_gauge", True),
        "cpu:0": ("prometheus_counter", True),
        "dram:0": ("prometheus_counter", True),
    }
    assert found.channels[0].info.gain != found.channels[1].info.gain


def test_what_happens_in_a_window_is_said(server, opened):
    now = time.time() + 1.0
    server.exporter.metrics |= {
        "resets_total": lambda t: POWER_W * (t - (now if t > now else EPOCH)),
        "vanishes_total": lambda t: POWER_W * t if t < now else None,
        "nan_total": lambda t: POWER_W * t if not now < t < now + 0.3 else math.nan,
        "pauses_total": lambda t: POWER_W * t if not now - 0.5 < t < now + 0.7 else None,
    }
    names = ("resets", "vanishes", "nan", "pauses")
    server.wait_for("resets_total", 3)
    tables = [f'domain = "{name}"\nquery = "{name}_total"\nunit = "J"\nlabels = {{job = "a"}}' for name in names]
    found = opened(server.url, *tables)
    span = time.perf_counter() - 0.3, time.perf_counter() + 2.0
    time.sleep(2.0)
    measured = energies(found, span, patience_s=1.0)
    expected = {"resets": "counter_reset", "vanishes": "not_bracketed", "nan": "counter_unreadable", "pauses": "sampling_gap"}
    told = {name.partition(" ")[0]: energy.reasons for name, energy in measured.items()}
    assert {name: reasons[0] for name, reasons in told.items()} == expected
    assert {reason for reasons in told.values() for reason in reasons[1:]} <= {"sampling_gap"}  # a busy machine's late scrape


def test_a_window_that_scrapes_cannot_tell_is_too_short(server, opened):
    found = opened(server.url, 'domain = "node"\nquery = "pdu_energy_joules_total"\nunit = "J"\nlabels = {job = "a"}')
    assert energies(found, window(0.1))["node prometheus_counter"].reasons == ("window_too_short",)


def test_a_board_that_nvml_reads_is_not_counted_again(server, tmp_path):
    (board,) = many_boards(1, base_w=POWER_W, counter_period_s=0.02)
    try:
        environment = Standin(boards=(board,)).environment(tmp_path)
    except StandinUnavailable as reason:
        pytest.skip(str(reason))
    server.exporter.metrics |= {
        f'other_joules_total{{gpu="3",UUID="{board.uuid}"}}': lambda t: POWER_W * (t - EPOCH),
        'more_joules_total{gpu="0",UUID="GPU-elsewhere"}': lambda t: POWER_W * (t - EPOCH),
    }
    server.wait_for("more_joules_total", 3)
    same = _meters(tmp_path, environment, f'url="{server.url}"\n[[channel]]\ndomain="gpu:{{gpu}}"\nquery="other_joules_total"')
    assert [line.split()[:2] for line in same.stdout.splitlines()[2:3]] == [["nvml", "gpu:0"]]
    assert "note: gpu:0: the energy is nvml's; prometheus's, which calls it gpu:3, stands beside it" in same.stdout
    assert "agreement: gpu:0: prometheus_counter is" in same.stdout
    assert "\ngpu:3" not in same.stdout  # not listed as a board of its own
    other = _meters(tmp_path, environment, f'url="{server.url}"\n[[channel]]\ndomain="gpu:{{gpu}}"\nquery="more_joules_total"')
    assert other.returncode == 2
    assert f"gpu:0 is board {board.uuid} for nvml and board GPU-elsewhere for prometheus" in other.stderr


def _meters(folder: Path, environment: dict[str, str], toml: str) -> subprocess.CompletedProcess[str]:
    (folder / "p.toml").write_text(f'{toml}\nunit="J"\nuuid_label="UUID"\n')
    command = [sys.executable, "-m", "pytest_tpf.cli.main", "meters", "--meter", "nvml", "--seconds", "0.7"]
    command += ["--prometheus", str(folder / "p.toml")]
    variables = {**os.environ, **environment}
    variables.pop("CUDA_VISIBLE_DEVICES", None)
    return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=60)


# --- a server that lies -----------------------------------------------------------------------------------------------


def test_a_clock_that_is_ahead_is_allowed_for_and_told(lying, opened):
    url, liar = lying()
    liar.ahead_s = 5.0
    found = opened(url, CHANNEL)
    assert "its clock is +5.0" in found.notes[0]
    assert "which is allowed for; better synchronise the clocks" in found.notes[0]
    span = window(1.5)
    energy = energies(found, span)["gpu:0 prometheus_counter"]
    assert abs(energy.joules - POWER_W * (span[1] - span[0])) <= 2 * energy.half_width_j


def test_a_clock_that_steps_in_the_window_spoils_it(lying, opened):
    url, liar = lying()
    found = opened(url, CHANNEL)
    t0 = time.perf_counter()
    liar.ahead_s = 3.0
    assert "clock_stepped" in energies(found, (t0, t0 + 0.5))["gpu:0 prometheus_counter"].reasons


def test_samples_from_the_future_are_not_believed(lying, opened):
    url, liar = lying()
    found = opened(url, CHANNEL)
    answer = success("matrix", [{"metric": {"gpu": "0"}, "values": [[time.time() - 60, "1"], [time.time() + 600, "2"]]}])
    liar.answer = lambda query: answer if query.startswith("energy") else None
    t0 = time.perf_counter()
    history = found.channels[0].history(t0, t0 + 0.1)
    assert [code for _, code, _ in history.faults] == ["clock_disagrees"]
    assert len(history.readings) == 1
    assert not history.complete


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((200, {"Content-Type": "text/html"}, b"<html>Sign in</html>"), "answered HTML (a login page?)"),
        ((200, {}, b"\xff\xfe nonsense"), "answered something that is not JSON"),
        ((200, {}, b'{"status": "success"}'), "not that of a Prometheus server"),
        ((200, {}, b"[" * 100_000), "not JSON"),
        (
            (302, {"Location": "https://sso.example/login?next=secret"}, b""),
            "redirects to https://sso.example/login, which is not followed",
        ),
        ((401, {}, b"who are you"), "refuses access (HTTP 401): give credentials"),
        ((404, {}, b"gone"), "HTTP 404"),
        ((503, {}, b"not now"), "HTTP 503"),
        (success("vector", []), "does not tell its time"),
    ],
)
def test_a_server_that_is_none_is_told_in_one_line(lying, opened, answer, said):
    url, liar = lying()
    liar.answer = lambda query: answer
    with pytest.raises(MeterUnavailable) as told:
        opened(url, CHANNEL)
    assert said in str(told.value)
    assert "\n" not in str(told.value)
    assert "secret" not in str(told.value)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (success("matrix", []), "the query energy finds nothing"),
        (success("matrix", [{"metric": {}, "values": [[1.0, "5"]]}]), "has had no sample for"),
        (success("vector", []), "the query gives a vector, not series of samples"),
        (success("matrix", [{"metric": {}, "histograms": []}]), "the query gives histograms"),
        (success("matrix", [{"metric": {}, "values": [["x"]]}]), "no series of float samples"),
        (
            success("matrix", [{"metric": {"x": "1"}, "values": [[9e9, "5"]]}]),
            "needs the label 'gpu', which a series of energy lacks (it has x)",
        ),
        ((400, {}, b'{"status": "error", "error": "parse error: unexpected"}'), "HTTP 400: parse error: unexpected"),
    ],
)
def test_an_answer_that_holds_no_series_is_told_in_one_line(lying, opened, answer, said):
    url, liar = lying()
    liar.answer = lambda query: answer if query.startswith("energy") else None
    with pytest.raises(MeterUnavailable) as told:
        opened(url, CHANNEL)
    assert said in str(told.value)
    assert "\n" not in str(told.value)


def test_an_answer_without_end_is_not_read_to_its_end(lying, opened, monkeypatch):
    monkeypatch.setattr(_prom_client, "LARGEST_ANSWER_BYTES", 1024 * 1024)
    url, liar = lying()
    liar.answer = lambda query: (200, {}, b" " * 3 * 1024 * 1024) if query.startswith("energy") else None
    with pytest.raises(MeterUnavailable, match="answered with more than 1 MB: select fewer series"):
        opened(url, CHANNEL)


def test_a_server_that_is_not_there_or_slow_is_told(lying, opened):
    with pytest.raises(MeterUnavailable, match=r"http://127.0.0.1:9 can't be reached: Connection refused"):
        opened("http://127.0.0.1:9", CHANNEL)
    url, liar = lying()
    liar.answer = lambda query: time.sleep(2)
    with pytest.raises(MeterUnavailable, match=r"did not answer within 0.2 s \(timeout_s\)"):
        opened(url, CHANNEL, timeout_s="0.2")


def test_different_series_of_one_domain_are_not_added_nor_chosen_from(lying, opened):
    series = [({"gpu": "0", "Hostname": host, "UUID": f"GPU-{host}"}, lambda t: POWER_W * t) for host in ("n1", "n2")]
    url, _ = lying(*series)
    with pytest.raises(MeterUnavailable) as told:
        opened(url, f'{CHANNEL}\nuuid_label = "UUID"')
    assert "2 different series of energy are gpu:0 (they differ in Hostname: n1, n2; UUID: GPU-n1, GPU-n2)" in str(told.value)
    chosen = opened(url, f'{CHANNEL}\nlabels = {{Hostname = "n2"}}\nuuid_label = "UUID"')
    assert [channel.info.device for channel in chosen.channels] == ["GPU-n2"]


def test_slices_and_pods_of_a_board_count_once_even_when_they_change(lying, opened):
    began = time.time()
    labels = {"gpu": "0", "UUID": "GPU-one"}
    url, _ = lying(
        ({**labels, "GPU_I_ID": "1"}, lambda t: POWER_W * (t - EPOCH) if t < began else None),
        ({**labels, "GPU_I_ID": "1", "pod": "new"}, lambda t: POWER_W * (t - EPOCH) if t >= began else None),
        ({**labels, "GPU_I_ID": "2", "pod": "new"}, lambda t: POWER_W * (t - EPOCH) if t >= began else None),
    )
    found = opened(url, f'{CHANNEL}\nuuid_label = "UUID"')
    assert [channel.info.domain for channel in found.channels] == ["gpu:0"]
    assert any("MIG mode" in note for note in found.notes)
    now = time.perf_counter()
    span = now - 1.0, now + 0.2
    energy = energies(found, span)["gpu:0 prometheus_counter"]
    assert abs(energy.joules - POWER_W * 1.2) <= 2 * energy.half_width_j


def test_a_series_that_appears_in_the_window_does_not_bracket_it(lying, opened):
    began = time.time() - 1.0
    url, _ = lying(({"gpu": "0"}, lambda t: POWER_W * t if t > began else None))
    now = time.perf_counter()
    measured = energies(opened(url, CHANNEL), (now - 2.0, now + 0.2))
    assert measured["gpu:0 prometheus_counter"].reasons == ("not_bracketed",)


def test_one_board_under_two_names_counts_once(lying, opened):
    url, _ = lying(*(({"gpu": gpu, "UUID": "GPU-one"}, lambda t: POWER_W * t) for gpu in ("0", "nvidia0")))
    found = opened(url, f'{CHANNEL}\nuuid_label = "UUID"')
    assert [channel.info.domain for channel in found.channels] == ["gpu:0"]
    assert any("gpu:nvidia0 is left out: energy shows board GPU-one, which is gpu:0 already" in note for note in found.notes)


def test_secrets_are_sent_and_never_shown(lying, opened, monkeypatch):
    monkeypatch.setenv("PROM_TOKEN", "s3cr3t-token")
    url, liar = lying()
    found = opened(url.replace("//", "//watcher:hunter2@"), CHANNEL)
    assert liar.asked[-1][1]["Authorization"] == "Basic d2F0Y2hlcjpodW50ZXIy"
    with_token = opened(url, CHANNEL, headers='{Authorization = "Bearer $PROM_TOKEN"}')
    assert liar.asked[-1][1]["Authorization"] == "Bearer s3cr3t-token"
    shown = [repr((one.notes, [channel.info for channel in one.channels])) for one in (found, with_token)]
    echoed = [b"Bearer s3cr3t-token", b"token s3cr3t-token is wrong"]
    for text in echoed:
        body = b'{"status": "error", "error": "' + text + b'"}'
        liar.answer = lambda query, body=body: (400, {}, body)
        with pytest.raises(MeterUnavailable) as told:
            opened(url, CHANNEL, headers='{Authorization = "Bearer $PROM_TOKEN"}')
        shown.append(str(told.value))
    assert not [text for text in shown if "hunter2" in text or "s3cr3t" in text or "watcher" in text]
    assert "***" in shown[-1]


def test_a_server_that_goes_away_fails_the_window_and_later_ones_at_once(lying, opened):
    url, liar = lying()
    found = opened(url, CHANNEL, timeout_s="0.5")
    liar.answer = lambda query: (503, {}, b"not now")
    span = window(0.1)
    for _ in range(2):
        assert "source_failed" in energies(found, span)["gpu:0 prometheus_counter"].reasons
    liar.answer = lambda query: None
    assert energies(found, window(1.0))["gpu:0 prometheus_counter"].joules == pytest.approx(POWER_W, rel=0.5)


def test_no_server_named():
    with pytest.raises(MeterUnavailable, match="no server is named: --tpf-prometheus"):
        PrometheusMeter().open(MeterOptions(watched_pid=os.getpid()))


def test_a_server_without_known_exporters(lying, opened):
    url, liar = lying()
    liar.answer = lambda query: success("vector", []) if "label_replace" in query else None
    with pytest.raises(MeterUnavailable, match="scrapes no exporter that is known"):
        opened(url)
    liar.answer = lambda query: success("vector", [{"metric": {"n": "many"}}]) if "label_replace" in query else None
    with pytest.raises(MeterUnavailable, match="does not say which metrics it has"):
        opened(url)
