"""``tpf import`` on what AIPerf, vllm bench serve and GuideLLM really wrote (``imported/README.md``), and on what they wouldn't."""

from __future__ import annotations

import copy
import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_tpf.cli.main import main
from pytest_tpf.report.read import read_report
from pytest_tpf.report.validate import validate
from tests.meters.prom_server import POWER_W

FILES = Path(__file__).parent / "imported"
AIPERF, DETAILED, SUMS = FILES / "aiperf-0.13.0.json", FILES / "vllm-0.33.0-detailed.json", FILES / "vllm-0.33.0-sums.jsonl"
GUIDELLM, SAMPLED = FILES / "guidellm-0.8.1.json", FILES / "guidellm-0.8.1-sampled.json"
WATTS = 100.0


@pytest.fixture(autouse=True)
def utc(monkeypatch):
    """The files' times of day are UTC."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.fixture
def imported(tmp_path, capsys):
    """``tpf import`` in this process: the rows of its report, which is valid."""

    def run(*arguments: object) -> list[dict[str, Any]]:
        out = tmp_path / "report.json"
        code = main(["import", *map(str, arguments), "-o", str(out)])
        said = capsys.readouterr()
        assert (code, said.err) == (0, "")
        run.said = said.out
        run.report = report = read_report(out)
        assert validate(report) == []
        return report["tests"]

    return run


@pytest.fixture
def refused(tmp_path, capsys):
    """``tpf import`` of something unusable: the one line that it says."""

    def run(*arguments: object) -> str:
        code = main(["import", *map(str, arguments), "-o", str(tmp_path / "report.json")])
        said = capsys.readouterr()
        assert (code, said.out, said.err.count("\n")) == (2, "", 1)
        assert not (tmp_path / "report.json").exists()
        return said.err

    return run


@pytest.fixture
def changed(tmp_path):
    """A copy of a result with other members."""

    def make(path: Path, **members: Any) -> Path:
        copy_ = tmp_path / f"changed-{path.name}"
        document = json.loads(path.read_text().splitlines()[0] if path == SUMS else path.read_text()) | members
        copy_.write_text(json.dumps({name: value for name, value in document.items() if value is not ...}))
        return copy_

    return make


@pytest.fixture
def log(tmp_path):
    """A power log at 20 Hz over some time, of a power that is a function of it."""

    def make(start_s: float, end_s: float, watts=lambda t: WATTS) -> Path:
        path = tmp_path / "power.csv"
        times = [start_s + step / 20 for step in range(int((end_s - start_s) * 20))]
        path.write_text("time_s,power_w\n" + "".join(f"{t:.3f},{watts(t):.2f}\n" for t in times))
        return path

    return make


def told(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())


def elsewhere(document: dict[str, Any]) -> list[float]:
    """``start_times`` by the clock of a machine that was started at some other time."""
    return [start_s + 5e7 for start_s in document["start_times"]]


# --- what they say ----------------------------------------------------------------------------------------------------


def test_aiperf(imported):
    (row,) = imported(AIPERF)
    found, work, service = told(AIPERF), row["workload"], row["service"]
    assert (row["nodeid"], row["outcome"], row["labels"]) == (f"{AIPERF}::aiperf", "passed", {"tool": "aiperf", "tool_version": "0.13.0"})
    assert (work["engine"], work["model"]["name"], work["token_source"]) == ("aiperf", "toy", "usage")
    assert (work["requests"], work["incomplete_requests"], work["output_tokens"], work["prompt_tokens"]) == (12, 1, 11 * 12, 253)
    names = {"ttft_s": "time_to_first_token", "tpot_s": "inter_token_latency", "inter_chunk_s": "inter_chunk_latency"}
    for ours, theirs in {**names, "e2e_s": "request_latency"}.items():
        assert service[ours]["count"] == found[theirs]["count"]
        for figure, name in {"mean": "avg", "p50": "p50", "p95": "p95", "p99": "p99", "min": "min", "max": "max"}.items():
            assert service[ours][figure] == pytest.approx(found[theirs][name] / 1e3)
    assert (service["goodput"]["good"], service["goodput"]["attempted"]) == (11, 12)
    assert (service["load"]["mode"], service["load"]["concurrency"]) == ("closed", 2)
    assert service["duration_s"] == pytest.approx(1.26911)
    assert row["mandated"]["latency"]["ttft_p95_s"] == service["ttft_s"]["p95"]
    assert any("local time" in warning for warning in row["warnings"])


def test_aiperf_counts_by_its_own_tokenizer_where_replies_had_no_usage(imported, changed):
    (row,) = imported(changed(AIPERF, usage_completion_tokens=..., total_usage_completion_tokens=..., total_usage_prompt_tokens=...))
    assert (row["workload"]["token_source"], row["workload"]["output_tokens"], row["workload"]["prompt_tokens"]) == ("tokenizer", 132, 220)


def test_a_distribution_that_lacks_a_figure_is_null_and_that_is_said(imported, changed):
    ttft = told(AIPERF)["time_to_first_token"]
    del ttft["p95"]
    (row,) = imported(changed(AIPERF, time_to_first_token=ttft))
    assert row["service"]["ttft_s"] is None
    assert "time_to_first_token is left out: AIPerf's file has no p95 of it" in row["warnings"]


def test_a_run_that_was_broken_off_did_not_pass(imported, changed):
    (row,) = imported(changed(AIPERF, is_complete=False, incomplete_reason="records stalled"))
    assert row["outcome"] == "failed"
    assert "AIPerf did not finish the run: records stalled" in row["warnings"]


def test_vllm_bench_request_by_request(imported):
    (row,) = imported(DETAILED)
    found, work, service = told(DETAILED), row["workload"], row["service"]
    assert (work["engine"], work["model"]["name"], work["token_source"]) == ("vllm bench", "toy", "usage")
    assert (work["requests"], work["incomplete_requests"], work["output_tokens"], work["prompt_tokens"]) == (14, 2, 144, 212)
    for ours, theirs in {"ttft_s": "ttft", "tpot_s": "tpot", "inter_chunk_s": "itl"}.items():
        for figure in ("mean", "p50", "p95", "p99"):
            assert service[ours][figure] == pytest.approx(found[f"{figure}_{theirs}_ms"] / 1e3, rel=1e-6)
    assert (service["ttft_s"]["count"], service["e2e_s"]["count"], service["inter_chunk_s"]["count"]) == (12, 12, 12 * 11)
    assert (service["goodput"]["good"], service["goodput"]["attempted"], work["accepted_tokens"]) == (11, 14, None)
    assert service["tokens_per_second"] == pytest.approx(found["output_throughput"])
    assert 0 < service["busy_s"] <= service["duration_s"]
    assert any("may hold a role and no token" in warning for warning in row["warnings"])


def test_vllm_bench_sums_have_the_quantiles_that_stand_there_and_no_distribution(imported):
    first, second = imported(SUMS)
    assert [row["nodeid"] for row in (first, second)] == [f"{SUMS}::vllm bench[0 openai]", f"{SUMS}::vllm bench[1 openai]"]
    assert (first["service"]["ttft_s"], first["service"]["tpot_s"], first["service"]["inter_chunk_s"]) == (None, None, None)
    assert first["mandated"]["latency"]["ttft_p95_s"] == pytest.approx(0.05382868405)
    assert first["service"]["e2e_s"]["count"] == 8  # it keeps latencies, with a 0 for each request that failed
    assert first["service"]["load"]["offered_requests_per_second"] == 20.0
    assert (first["workload"]["output_tokens"], first["workload"]["requests"], first["workload"]["incomplete_requests"]) == (96, 10, 2)


def test_guidellm_request_by_request(imported):
    (row,) = imported(GUIDELLM)
    found, work, service = told(GUIDELLM)["benchmarks"][0]["metrics"], row["workload"], row["service"]
    assert (work["engine"], work["model"]["name"], work["token_source"]) == ("guidellm", "toy", "usage")
    assert (work["requests"], work["output_tokens"], work["prompt_tokens"], work["accepted_tokens"]) == (8, 96, 131, 96)
    assert service["ttft_s"]["mean"] == pytest.approx(found["time_to_first_token_ms"]["successful"]["mean"] / 1e3, rel=1e-4)
    assert service["tpot_s"]["mean"] == pytest.approx(found["inter_token_latency_ms"]["successful"]["mean"] / 1e3, rel=1e-4)
    assert service["e2e_s"]["p50"] < found["request_latency"]["successful"]["median"]  # which waits until the stream is closed
    assert service["inter_chunk_s"] is None
    assert service["tokens_per_second"] == pytest.approx(96 / 0.7427282, rel=1e-6)


def test_guidellm_with_a_sample_of_its_requests(imported):
    rows = imported(SAMPLED)
    for row, benchmark in zip(rows, told(SAMPLED)["benchmarks"], strict=True):
        ttft = benchmark["metrics"]["time_to_first_token_ms"]["successful"]
        assert (row["workload"]["requests"], row["workload"]["incomplete_requests"], row["workload"]["output_tokens"]) == (8, 1, 84)
        assert row["service"]["ttft_s"]["p95"] == pytest.approx(ttft["percentiles"]["p95"] / 1e3)
        assert row["service"]["tpot_s"] is None
        assert any("weights that of inter_token_latency_ms by tokens" in warning for warning in row["warnings"])
    assert [row["params"]["streams"] for row in rows] == ["1", "2"]


def test_guidellm_with_a_warm_up_has_the_requests_that_it_counts_itself(imported, changed):
    (benchmark,) = told(GUIDELLM)["benchmarks"]
    began_s = benchmark["start_time"] + 0.25
    late = [each for each in benchmark["requests"]["successful"] if each["request_end_time"] >= began_s]
    totals = benchmark["metrics"] | {"request_totals": {"successful": len(late), "errored": 0, "incomplete": 0, "total": len(late)}}
    (row,) = imported(changed(GUIDELLM, benchmarks=[benchmark | {"start_time": began_s, "metrics": totals}]))
    assert 0 < len(late) < 8
    assert (row["workload"]["requests"], row["workload"]["output_tokens"]) == (len(late), 12 * len(late))
    assert row["service"]["busy_s"] <= row["service"]["duration_s"]
    assert any("of the requests' time lies outside, and J/token may be too low" in warning for warning in row["warnings"])


# --- energy -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("path", "start_s"), [(AIPERF, 1795263242.387482), (GUIDELLM, 1795263296.867267)])
def test_energy_is_that_of_the_log_over_the_same_time(imported, log, path, start_s):
    power = log(start_s - 5, start_s + 10, lambda t: WATTS if t >= start_s + 0.5 else 3 * WATTS)
    (row,) = imported(path, "--replay", power, "--pue", 1.25)
    seconds, energy, tokens = row["service"]["duration_s"], row["energy"], row["workload"]["output_tokens"]
    true_j = 0.5 * 3 * WATTS + (seconds - 0.5) * WATTS
    assert (energy["valid"], energy["trust"], energy["method"]) == (True, "replayed", "replay_csv_power")
    assert abs(energy["it_j"] - true_j) <= energy["uncertainty_j"] < 0.2 * true_j
    assert energy["facility_j"] == pytest.approx(1.25 * energy["it_j"])
    assert row["mandated"]["joules_per_token"]["value"] == pytest.approx(energy["it_j"] / tokens)
    assert row["mandated"]["pue_adjusted_power_w"]["value"] == pytest.approx(1.25 * energy["it_j"] / seconds)
    assert row["derived"]["joules_per_request"] == pytest.approx(energy["it_j"] / row["workload"]["requests"])
    (meter,) = imported.report["meters"]
    assert (meter["domain"], meter["trust"], meter["update_period_s"]) == ("node", "replayed", pytest.approx(0.05, rel=0.1))
    assert "(1 replayed)" in imported.said


def test_every_benchmark_of_a_sweep_has_its_own_energy(imported, log):
    power = log(1795265070, 1795265140, lambda t: WATTS if t < 1795265100 else 4 * WATTS)
    first, second = imported(SAMPLED, "--replay", power)
    for row, watts in ((first, WATTS), (second, 4 * WATTS)):
        assert row["power"]["mean_w"] == pytest.approx(watts)


def test_an_offset_moves_the_log(imported, log):
    power = log(1795263242 - 3600, 1795263252 - 3600)
    (row,) = imported(AIPERF, "--replay", power, "--replay-offset", 3600)
    assert row["energy"]["it_j"] == pytest.approx(WATTS * row["service"]["duration_s"])


def test_a_log_of_another_time_gives_no_energy_and_says_why(imported, log):
    (row,) = imported(AIPERF, "--replay", log(1795263300, 1795263310))
    assert (row["energy"]["it_j"], row["energy"]["reasons"]) == (None, ["not_bracketed"])


def test_without_a_meter_energy_is_null(imported):
    for row in (row for path in (AIPERF, DETAILED, GUIDELLM) for row in imported(path)):
        assert (row["energy"]["it_j"], row["energy"]["reasons"]) == (None, ["no_meter"])
        assert row["mandated"]["joules_per_token"]["value"] is None
    assert "(1 without energy)" in imported.said


def test_energy_from_a_prometheus_server(imported, changed, prometheus_server):
    start_s = time.time() + 1.0  # the server may have been started just now
    time.sleep(4.0)
    start, end = (datetime.fromtimestamp(t, UTC).isoformat() for t in (start_s, start_s + 2))
    (row,) = imported(changed(AIPERF, start_time=start, end_time=end), "--prometheus", prometheus_server.url)
    energy, true_j = row["energy"], POWER_W * row["service"]["duration_s"]
    assert (energy["trust"], energy["method"]) == ("measured", "prometheus_counter")
    assert abs(energy["it_j"] - true_j) <= energy["uncertainty_j"] < 0.5 * true_j
    assert imported.report["environment"]["accelerators"][0]["name"] == "Tested X1"


# --- when vllm bench ran ----------------------------------------------------------------------------------------------


def test_a_date_in_whole_seconds_widens_the_interval_by_what_power_did_around(imported, changed, log):
    found = told(DETAILED)
    start_s = 1795264367.0
    result = changed(DETAILED, start_times=elsewhere(found))
    (steady,) = imported(result, "--replay", log(start_s - 10, start_s + 10))
    (rising,) = imported(result, "--replay", log(start_s - 10, start_s + 10, lambda t: WATTS + 10 * (t - start_s)))
    seconds = found["duration"]
    assert steady["energy"]["it_j"] == pytest.approx(WATTS * seconds, rel=1e-3)
    assert steady["energy"]["uncertainty_j"] < 0.1 * steady["energy"]["it_j"]
    assert rising["energy"]["uncertainty_j"] > 0.9 * 1.5 * 10 * seconds  # 1.5 s of a rise by 10 W a second
    assert any("known to 1.5 s only" in warning for warning in rising["warnings"])


def test_energy_that_hangs_on_the_second_is_refused(imported, changed, log):
    start_s = 1795264367.0
    power = log(start_s - 10, start_s + 10, lambda t: 9 * WATTS if start_s + 0.5 < t < start_s + 1.5 else WATTS)
    result = changed(DETAILED, start_times=elsewhere(told(DETAILED)))
    (row,) = imported(result, "--replay", power)
    assert (row["energy"]["it_j"], row["energy"]["call_j"], row["energy"]["reasons"]) == (None, None, ["window_misplaced"])
    assert row["rounds"][0]["it_j"] is None
    (exact,) = imported(result, "--replay", power, "--end", "2026-11-21T12:32:48.787Z")
    assert exact["energy"]["valid"]
    assert exact["service"]["duration_s"] == pytest.approx(told(DETAILED)["duration"])


def test_start_times_of_this_machine_tell_exactly_when_it_ran(imported, changed):
    found = told(DETAILED)
    ran_s = time.perf_counter() - 30.0
    first_s = min(found["start_times"])
    starts = [start_s - first_s + ran_s for start_s in found["start_times"]]
    end_s = time.time() - 30.0 + found["duration"]
    date = time.strftime("%Y%m%d-%H%M%S", time.gmtime(end_s + 0.2))
    (row,) = imported(changed(DETAILED, start_times=starts, date=date))
    assert row["extra"]["imported"]["misplaced_s"] == 0
    assert row["extra"]["imported"]["end_unix_s"] == pytest.approx(end_s, abs=0.05)


# --- what can't be used -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "members", "complaint"),
    [
        (AIPERF, {"start_time": "yesterday"}, "$.start_time is not a time"),
        (AIPERF, {"end_time": "2026-11-21T12:14:02"}, "$.end_time is not after start_time"),
        (AIPERF, {"request_count": {"avg": -1}}, "$.request_count.avg is -1, expected 0 to"),
        (AIPERF, {"request_count": {"avg": 11.5}}, "$.request_count.avg is 11.5, expected a whole number"),
        (AIPERF, {"request_count": 11}, "$.request_count is integer, expected object"),
        (AIPERF, {"time_to_first_token": told(AIPERF)["time_to_first_token"] | {"unit": "fortnights"}}, "no unit of time that is known"),
        (AIPERF, {"start_time": ..., "benchmark_duration": ...}, "how long it took isn't known"),
        (DETAILED, {"date": "today"}, "$.date is not a time such as"),
        (DETAILED, {"duration": 0}, "$.duration is 0"),
        (DETAILED, {"ttfts": [0.1]}, "$.itls has 14 entries where ttfts has 1"),
        (DETAILED, {"ttfts": ["x"] * 14}, "$.ttfts[0] is string, expected number"),
        (DETAILED, {"itls": [1.0] * 14}, "$.itls[0] is number, expected array"),
        (DETAILED, {"completed": 3}, "$.errors leaves 12 requests where completed is 3"),
        (DETAILED, {"total_output_tokens": 143}, "$.output_lens adds up to 144 where total_output_tokens says something else"),
        (DETAILED, {"total_output_tokens": ...}, "this benchmark generated nothing"),
        (DETAILED, {"request_goodput": 1e6}, "good requests out of 14"),
        (DETAILED, {"total_output_tokens": True}, "$.total_output_tokens is boolean, expected number"),
        (GUIDELLM, {"benchmarks": [{"start_time": 2e9}]}, "$.benchmarks[0].end_time is missing"),
        (GUIDELLM, {"benchmarks": [{"start_time": 2e9, "end_time": 1e9}]}, "$.benchmarks[0].end_time is not after start_time"),
        (GUIDELLM, {"benchmarks": ["x"]}, "$.benchmarks[0] is string, expected object"),
        (GUIDELLM, {"benchmarks": []}, "holds no benchmark"),
    ],
)
def test_a_result_that_its_tool_would_not_write(refused, changed, path, members, complaint):
    line = refused(changed(path, **members))
    assert line.startswith("tpf import: ")
    assert complaint in line


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "holds no benchmark"),
        ("[]", "holds array, expected object"),
        ("{}", "is no result that is known"),
        ('{"date": NaN}', "NaN is not JSON"),
        ('{"a": 1e999}', "out of range"),
        ('{"a": ' + "[" * 100_000, "nested too deeply"),
        ("3", "holds integer, expected object"),
        ('{"a": 1, "a": 2}', "stands twice in one object"),
        ('{"benchmarks": [{"stats": {}}]}', "is no result that is known"),
        ('{"date": ', "not JSON"),
    ],
)
def test_what_is_no_result_at_all(refused, tmp_path, text, complaint):
    path = tmp_path / "x.json"
    path.write_text(text)
    line = refused(path)
    assert line.startswith(f"tpf import: {path}: ")
    assert complaint in line


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([AIPERF, AIPERF], "is named twice"),
        ([AIPERF.parent / "missing.json"], "No such file"),
        ([AIPERF, GUIDELLM, "--start", "2026-01-01"], "--start and --end are those of one benchmark, and there are 2"),
        ([AIPERF, "--start", "noon"], "--start 'noon' is not a time such as"),
        ([AIPERF, "--start", "2026-01-02", "--end", "2026-01-01"], "--end is not after --start"),
        ([AIPERF, "--replay", "/missing.csv"], "can't be read"),
        ([AIPERF, "--prometheus", "ftp://x"], "--prometheus: "),
        ([AIPERF, "--pue", "0.5"], "0.5"),
        ([AIPERF, "--facility", "/missing.toml"], "/missing.toml"),
        ([AIPERF, "--replay-offset", "nan"], "--replay-offset must be a number"),
    ],
)
def test_options_that_can_not_be_used(refused, arguments, complaint):
    assert complaint in refused(*arguments)


def test_a_report_that_can_not_be_written(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    assert main(["import", str(AIPERF), "-o", str(tmp_path / "file" / "report.json")]) == 2
    assert "is not a folder" in capsys.readouterr().err


def _places(value: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a document where something may be exchanged; of long arrays the first."""
    inner = value.items() if isinstance(value, dict) else list(enumerate(value))[:2] if isinstance(value, list) else ()
    return [*([way] if way else []), *(place for name, each in inner for place in _places(each, (*way, name)))]


DOCUMENTS = [told(path) for path in (AIPERF, DETAILED, GUIDELLM, SAMPLED)]
PLACES = [(number, place) for number, document in enumerate(DOCUMENTS) for place in _places(document)]
ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=5), st.just([]), st.just({}), st.just([None])
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(place=st.sampled_from(PLACES), value=ANYTHING)
def test_whatever_stands_in_a_result_gives_a_valid_report_or_one_line(tmp_path, capsys, place, value):
    number, way = place
    document = copy.deepcopy(DOCUMENTS[number])
    holder = document
    for step in way[:-1]:
        holder = holder[step]
    holder[way[-1]] = value
    path, out = tmp_path / "mutant.json", tmp_path / "out.json"
    path.write_text(json.dumps(document))
    code = main(["import", str(path), "-o", str(out)])
    assert code in (0, 2)
    assert capsys.readouterr().err.count("\n") == (code == 2)
    if code == 0:
        assert validate(read_report(out)) == []
