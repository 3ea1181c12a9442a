"""The meter ``ray`` where there is no cluster, or no ray; with a cluster: tests/fleet."""

import importlib.util

import pytest

MEASURED = """
def test_it(tpf):
    tpf.count(output_tokens=1)
"""


@pytest.mark.parametrize("environment", [None, ""])
def test_no_cluster_is_named(suite, monkeypatch, environment):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if environment is not None:
        monkeypatch.setenv("RAY_ADDRESS", environment)
    result = suite.run(MEASURED, "--tpf-meter", "ray")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*--tpf-meter ray: no cluster is named: add --tpf-ray ADDRESS, or set RAY_ADDRESS*"])


def test_what_is_missing_is_named_and_the_test_runs(suite, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    result = suite.run(MEASURED, "--tpf-meter", "ray")
    result.assert_outcomes(passed=1)
    is_there = importlib.util.find_spec("ray") is not None
    expected = "nobody answers at 127.0.0.1:9" if is_there else "there is no module ray: pip install *"
    result.stdout.fnmatch_lines([f"*ray: {expected}*"])
    assert suite.test()["energy"]["it_j"] is None
    assert suite.test()["energy"]["reasons"] == ["no_meter"]
