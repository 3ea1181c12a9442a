"""The example of a served model, run as its README says, but for its number of rounds."""

from __future__ import annotations

import json
import re

import pytest

from pytest_tpf.cli.main import main
from tests.examples.served import SERVED

TESTS = {"test_streams": 20, "test_adds": 16, "test_several_at_a_time[1]": 16, "test_several_at_a_time[8]": 16}  # and their requests


@pytest.fixture
def tests(pytester, monkeypatch, transformers_serve):
    monkeypatch.setenv("SERVED_URL", transformers_serve)
    monkeypatch.delenv("CI", raising=False)
    options = (
        "-p",
        "no:cacheprovider",
        "-p",
        "no:asyncio",
        "--tpf-report=report.json",
        "--tpf-rounds=1",
        "--tpf-warmup=0",
        "--tpf-meter=estimate",
    )
    pytester.runpytest_inprocess(str(SERVED), *options).assert_outcomes(passed=len(TESTS))
    assert main(["validate", "report.json"]) == 0
    report = json.loads((pytester.path / "report.json").read_text(encoding="utf-8"))
    return {test["nodeid"].partition("::")[2]: test for test in report["tests"]}


def test_it_measures_the_server_that_it_started(tests):
    assert {name: test["workload"]["requests"] for name, test in tests.items()} == TESTS
    for name, test in tests.items():
        work, energy, service = test["workload"], test["energy"], test["service"]
        assert (work["engine"], work["token_source"], work["incomplete_requests"]) == ("openai", "usage", 0), name
        assert (work["model"]["name"], work["model"]["dtype"]) == ("adder-1m", "bfloat16")
        assert work["output_tokens_min"] >= 2  # a digit and the end
        assert energy["it_j"] > 0
        assert (service["ttft_s"] is None) == (name == "test_adds"), "only a stream shows its first token"
        assert not any("127.0.0.1" in warning for warning in test["warnings"])
    assert {budget["verdict"] for test in tests.values() for budget in test["budgets"]} == {"pass"}
    assert all(tests[name]["mandated"]["accuracy"]["value"] >= 0.9 for name in TESTS if name != "test_streams")
    batch = tests["test_several_at_a_time[8]"]["production"]
    assert batch["bytes_per_token"] is None
    assert tests["test_adds"]["production"]["bytes_per_token"] is not None


def test_what_the_guide_shows_is_its_own():
    shown = re.findall(
        r"^```python\n(.*?)^```$", (SERVED.parents[1] / "docs/how-to/served.md").read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    files = [path.read_text(encoding="utf-8") for path in SERVED.glob("*.py")]
    assert shown
    assert [block for block in shown if not any(block in text for text in files)] == []
