"""What is fuzzed: each target takes bytes as a file's content, and raises only where the code under test is wrong."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytest_tpf.cli.main import main
from pytest_tpf.codec import as_dict
from pytest_tpf.meters._log_formats import LogError
from pytest_tpf.meters._power_log import PowerLog
from pytest_tpf.meters._prom_client import PromError
from pytest_tpf.meters._prom_config import PrometheusConfigError, Query, load_prometheus
from pytest_tpf.meters._prom_series import Moment, SeriesError, merged, read_history, read_matrix, targets
from pytest_tpf.meters.wall_clock import Offset
from pytest_tpf.production.calibration import Calibration, IdleReading, calibration_path, load_calibration
from pytest_tpf.production.facility import FacilityError, load_facility
from pytest_tpf.report.errors import ReportError
from pytest_tpf.report.merge import merge_reports
from pytest_tpf.report.read import scan_report
from pytest_tpf.report.validate import checked
from tests.meters.logs import FORMATS, Sample
from tests.report.factory import measured_test, report_dict

MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None
LARGEST = 64 * 1024


@functools.cache
def folder() -> Path:
    """A folder for this process, removed at its end."""
    kept = tempfile.TemporaryDirectory(prefix="tpf-fuzz-", dir=MEMORY)
    folder.kept = kept  # type: ignore[attr-defined]
    return Path(kept.name)


def file_of(content: bytes, name: str = "file") -> str:
    path = folder() / name
    path.write_bytes(content)
    return str(path)


def is_clean_line(text: str) -> None:
    assert text.isprintable(), text
    assert "\n" not in text
    assert len(text) < 2000, len(text)


def report_file(content: bytes) -> None:
    """Any bytes as a report: each verb gives a code, and nothing that a terminal would obey."""
    path = file_of(content)
    for arguments in (["validate", path], ["show", path], ["show", path, "--test", "a", "--rows", "2"]):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(arguments)
        assert code in (0, 1, 2)
        assert (code == 0) == (err.getvalue() == "")
        for line in (out.getvalue() + err.getvalue()).split("\n"):
            assert line.isprintable(), line


def changed_report(content: bytes) -> None:
    """A valid report with changes: ``PATH JSON`` lines, PATH being numbers that choose their way through it."""
    report: Any = report_dict(measured_test())
    for line in content.split(b"\n")[:8]:
        way, _, text = line.partition(b" ")
        with contextlib.suppress(ValueError, RecursionError):
            change(report, way, json.loads(text))
    report_file(json.dumps(report).encode())


def change(holder: Any, way: bytes, value: Any) -> None:
    for number, step in enumerate(way):
        keys = list(holder) if isinstance(holder, dict) else range(len(holder)) if isinstance(holder, list) else ()
        if not keys:
            return
        key = keys[step % len(keys)]
        if number == len(way) - 1:
            holder[key] = value
            return
        holder = holder[key]


def two_reports(content: bytes) -> None:
    """Two changed reports merged: a refusal in one line, or a valid report that has every test."""
    halves = content.split(b"\0", 1)
    paths = []
    for number, half in enumerate(halves):
        report: Any = report_dict(measured_test())
        for line in half.split(b"\n")[:4]:
            way, _, text = line.partition(b" ")
            with contextlib.suppress(ValueError, RecursionError):
                change(report, way, json.loads(text))
        paths.append(file_of(json.dumps(report).encode(), f"{number}.json"))
    target = str(folder() / "merged.json")
    try:
        merge_reports(paths, target)
    except ReportError as error:
        is_clean_line(str(error))
        return
    whole = checked(scan_report(target))
    assert whole.problems == []
    ids = {value["nodeid"] for path in paths for key, value in scan_report(path) if isinstance(key, int)}
    assert {value["nodeid"] for key, value in scan_report(target) if isinstance(key, int)} == ids


KEY = "cpu: fuzzed"
CALIBRATION = Calibration(
    key=KEY,
    device="cpu",
    gemm_flops_per_s={"float32": 1e11},
    gemm_reasons={"float16": "not supported"},
    copy_bytes_per_s=1e10,
    idle=IdleReading(power_w=12.5, trust="estimated", meter="estimate"),
    created_at="2026-01-02T03:04:05Z",
    software={"torch": "2.13.0"},
)


def calibration(content: bytes) -> None:
    """Any bytes as the file in the user's cache: a sound calibration or none."""
    os.environ["TPF_CACHE_DIR"] = str(folder())
    calibration_path(KEY).write_bytes(content)

    found = load_calibration(KEY)
    assert found is None or (found.key == KEY and all(rate > 0 for rate in found.gemm_flops_per_s.values()))


def facility(content: bytes) -> None:
    with contextlib.suppress(FacilityError):
        profile = load_facility(file_of(content, "facility.toml"))
        assert profile.pue.value is None or profile.pue.value >= 1


def power_log(content: bytes) -> None:
    """Any bytes as a power log, whole and in two pieces: times that rise, and the same readings either way."""
    found = []
    for pieces in ([content], [content[: len(content) // 2], content[len(content) // 2 :]]):
        log = PowerLog()
        try:
            for piece in pieces:
                log.feed(piece)
        except LogError as error:
            found.append(str(error))
            continue
        series = [(list(series.times), list(series.values)) for _, _, series in log.series]
        assert all(times == sorted(set(times)) for times, _ in series)
        found.append(repr((log.rows, log.bad, series)))
    assert found[0] == found[1]


def prometheus_file(content: bytes) -> None:
    with contextlib.suppress(PrometheusConfigError):
        load_prometheus(file_of(content, "prometheus.toml"), {})


QUERIES = (
    Query(domain="gpu:{gpu}", query="DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", unit="mJ", uuid_label="UUID"),
    Query(domain="node", query="power", unit="W"),
)


def prometheus_answer(content: bytes) -> None:
    """Any JSON as the answer to a range query: series and readings, or a complaint."""
    try:
        data = json.loads(content)
    except (ValueError, RecursionError):
        return
    with contextlib.suppress(PromError, SeriesError):
        series = read_matrix(data)
        moment = Moment(clock=Offset(t=0.0, offset_s=1.7e9, half_width_s=0.001), server_s=1.7e9 + 60, scrape_s=0.01)
        for query in QUERIES:
            for target in targets(query, series, moment.server_s)[0]:
                read_history(merged(one for one in series if target.holds(one, query)), query, moment, 10.0, 20.0)


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target
    for target in (report_file, changed_report, two_reports, calibration, facility, power_log, prometheus_file, prometheus_answer)
}

_SAMPLES = [Sample(1.7e9 + step, step % 2, 100.0 + step, 100.0 * step) for step in range(6)]
_MATRIX = {
    "resultType": "matrix",
    "result": [{"metric": {"UUID": "GPU-1", "gpu": "0"}, "values": [[1.7e9 + step, str(step * 1e5)] for step in range(40)]}],
}
SEEDS: dict[str, list[bytes]] = {
    "report_file": [json.dumps(report_dict()).encode(), json.dumps(report_dict() | {"tests": []}, indent=1).encode()],
    "changed_report": [b'\x07\x00\x08\x00 -1\n\x07\x00\x00 "\\ud800\\u001b[2J"', b'\x04\x03 {"a": "b"}\n\x00 "1.4.0"'],
    "two_reports": [b'\x07\x00\x00 "other"\0\x07\x01\x00 "x"', b'\x04\x00\x01 "other"\0\x06\x00\x03 null'],
    "calibration": [json.dumps(as_dict(CALIBRATION)).encode()],
    "facility": [
        b'pue = 1.25\npue_kind = "annual"\npue_category = "PUE2"\npower_budget_w = 1200\npower_boundary = "node"\ncurrency = "EUR"\n'
    ],
    "power_log": [write(_SAMPLES).encode() for write in FORMATS.values()],
    "prometheus_file": [
        b'url = "http://localhost:9090"\ntimeout_s = 3\n[headers]\nA = "$B"\n[[channel]]\ndomain = "node"\nquery = "power"\nunit = "W"\n'
    ],
    "prometheus_answer": [json.dumps(_MATRIX).encode()],
}
