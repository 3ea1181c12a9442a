"""Tests of a server through the openai client: whose energy it is, by where the server runs."""

from __future__ import annotations

import os

import pytest

from tests.served.orphans import orphan
from tests.served.tiny_server import TOKENS

pytest.importorskip("openai")

ASK = """
    import openai

    @pytest.fixture
    def client(base_url):
        with openai.OpenAI(base_url=base_url, api_key="none", max_retries=0) as client:
            yield client

    @pytest.mark.tpf(max_joules_per_token=1000, max_output_tokens=8, max_e2e_s=60)
    def test_it(client):
        reply = client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "count"}])
        assert reply.choices[0].message.content == "one two"
"""

FROM_A_FIXTURE = """
    import subprocess, sys, time

    @pytest.fixture
    def base_url(tmp_path):
        place = tmp_path / "port"
        with subprocess.Popen([sys.executable, "-m", "tests.served.tiny_server", str(place)]) as server:
            while not place.exists():
                assert server.poll() is None
                time.sleep(0.02)
            yield f"http://127.0.0.1:{place.read_text().split()[0]}/v1"
            server.terminate()
"""

AT = """
    @pytest.fixture
    def base_url():
        return "{url}"
"""


def verdicts(test):
    return {budget["metric"]: budget["verdict"] for budget in test["budgets"]}


def test_a_server_of_a_fixture_is_metered(suite):
    suite.run(FROM_A_FIXTURE + ASK, "--tpf-meter=estimate").assert_outcomes(passed=1)
    test = suite.test()
    assert (test["workload"]["output_tokens"], test["workload"]["token_source"]) == (TOKENS, "usage")
    assert test["energy"]["it_j"] > 0
    assert set(verdicts(test).values()) == {"pass"}
    assert not any("127.0.0.1" in warning for warning in test["warnings"])


def test_a_server_that_was_started_elsewhere_is_metered_where_it_is_named(suite, tmp_path):
    with orphan(tmp_path) as theirs:
        asking = AT.format(url=f"{theirs.endpoint}/v1") + ASK
        result = suite.run(asking, "--tpf-meter=estimate")
        unnamed = suite.test()
        suite.run(asking, "--tpf-meter=estimate", f"--tpf-watch={theirs.pid}").assert_outcomes(passed=1)
        named = suite.test()
    result.assert_outcomes(passed=1)
    assert (unnamed["energy"]["it_j"], unnamed["energy"]["reasons"]) == (None, ["server_not_metered"])
    assert any(f"--tpf-watch {theirs.pid}" in warning for warning in unnamed["warnings"])
    assert verdicts(unnamed) == {"joules_per_token": "not_measured", "output_tokens_per_request": "pass", "e2e_p95_s": "pass"}
    assert named["energy"]["it_j"] > 0
    assert set(verdicts(named).values()) == {"pass"}


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """An address of another machine (RFC 5737), in whose name a proxy answers."""
    with orphan(tmp_path) as proxy:
        for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("HTTP_PROXY", proxy.endpoint)
        yield "http://192.0.2.1:8000"


def test_a_remote_server_leaves_tokens_and_times(suite, elsewhere):
    result = suite.run(AT.format(url=f"{elsewhere}/v1") + ASK, "--tpf-meter=estimate")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*energy unknown: server_not_metered (1 test)*", f"*{elsewhere} is on another machine*"])
    test = suite.test()
    assert (test["energy"]["it_j"], test["workload"]["output_tokens"]) == (None, TOKENS)


def test_who_asks_for_joules_is_told_that_there_are_none(suite, elsewhere):
    result = suite.run(AT.format(url=f"{elsewhere}/v1") + ASK, "--tpf-meter=estimate", "--tpf-gate=strict")
    result.assert_outcomes(failed=1)
    assert "max_joules_per_token=1000 was not measured at boundary it: energy is unknown: server_not_metered" in result.stdout.str()
