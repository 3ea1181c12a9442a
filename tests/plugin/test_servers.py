"""Tests of a server through the openai client: whose energy it is, by where the server runs."""

from __future__ import annotations

import os

import pytest

from pytest_tpf.meters.estimate import IDLE_SHARE
from tests.served.orphans import orphan
from tests.served.tiny_server import SPIN_S, TOKENS

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


TDP_W = 100.0


def has_the_servers_work(test):
    """What the server's CPU time takes above idle power, at least; the client only waits meanwhile."""
    above_idle_j = test["energy"]["it_j"] - IDLE_SHARE * TDP_W * test["service"]["busy_s"]
    return above_idle_j > 0.8 * (1 - IDLE_SHARE) * TDP_W * SPIN_S / os.cpu_count()


def verdicts(test):
    return {budget["metric"]: budget["verdict"] for budget in test["budgets"]}


def test_a_server_of_a_fixture_is_metered(suite):
    suite.run(FROM_A_FIXTURE + ASK, "--tpf-meter=estimate", f"--tpf-cpu-tdp={TDP_W}").assert_outcomes(passed=1)
    test = suite.test()
    assert (test["workload"]["output_tokens"], test["workload"]["token_source"]) == (TOKENS, "usage")
    assert has_the_servers_work(test)
    assert set(verdicts(test).values()) == {"pass"}
    assert not any("127.0.0.1" in warning for warning in test["warnings"])


def test_a_server_that_was_started_elsewhere_is_metered_where_it_is_named(suite, tmp_path):
    with orphan(tmp_path) as theirs:
        asking = AT.format(url=f"{theirs.endpoint}/v1") + ASK
        result = suite.run(asking, "--tpf-meter=estimate")
        unnamed = suite.test()
        suite.run(asking, "--tpf-meter=estimate", f"--tpf-cpu-tdp={TDP_W}", f"--tpf-watch={theirs.pid}").assert_outcomes(passed=1)
        named = suite.test()
    result.assert_outcomes(passed=1)
    assert (unnamed["energy"]["it_j"], unnamed["energy"]["reasons"]) == (None, ["server_not_metered"])
    assert any(f"--tpf-watch {theirs.pid}" in warning for warning in unnamed["warnings"])
    assert verdicts(unnamed) == {"joules_per_token": "not_measured", "output_tokens_per_request": "pass", "e2e_p95_s": "pass"}
    assert has_the_servers_work(named)
    assert set(verdicts(named).values()) == {"pass"}


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """An address of another machine (RFC 5737), in whose name a proxy answers."""
    with orphan(tmp_path) as proxy:
        for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
            monkeypatch.delenv(name)
        monkeypatch.setenv("HTTP_PROXY", proxy.endpoint)
        yield "http://192.0.2.1:8000"


def test_a_remote_server_leaves_tokens_and_times_and_who_asks_for_joules_is_told(suite, elsewhere):
    result = suite.run(AT.format(url=f"{elsewhere}/v1") + ASK, "--tpf-meter=estimate", "--tpf-gate=strict")
    result.assert_outcomes(failed=1)  # the test, and no gate
    assert "max_joules_per_token=1000 was not measured at boundary it: energy is unknown: server_not_metered" in result.stdout.str()
    result.stdout.fnmatch_lines(["*energy unknown: server_not_metered (1 test)*", f"*{elsewhere} is on another machine*"])
    test = suite.test()
    assert (test["energy"]["it_j"], test["workload"]["output_tokens"]) == (None, TOKENS)
    assert verdicts(test) == {"joules_per_token": "not_measured", "output_tokens_per_request": "pass", "e2e_p95_s": "pass"}
