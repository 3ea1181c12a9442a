"""Whole suites whose energy comes from a Prometheus server, real or lying."""

from __future__ import annotations

import pytest

from tests.meters.prom_server import POWER_W, Liar, served

MEASURED = """
import time

@pytest.mark.tpf
def test_it(tpf):
    with tpf.measure() as window:
        time.sleep(2.0)
        window.count(output_tokens=10)
"""


def test_a_marked_test_has_the_known_energy_within_its_interval(prometheus_server, suite):
    result = suite.run(MEASURED, "--tpf-meter", "prometheus", "--tpf-prometheus", prometheus_server.url, "--tpf-require", "measured")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(
        ["tpf: gpu:0 measured by prometheus_counter", "tpf: prometheus: http://127.0.0.1:*: news every 0.2 s; its clock*"]
    )
    test, report = suite.test(), suite.report()
    energy, true_j = test["energy"], POWER_W * test["service"]["duration_s"]
    assert (energy["valid"], energy["trust"], energy["method"]) == (True, "measured", "prometheus_counter")
    assert abs(energy["it_j"] - true_j) <= energy["uncertainty_j"] < 0.5 * true_j
    (meter,) = report["meters"]
    assert (meter["id"], meter["device"], meter["update_period_s"]) == ("prometheus:gpu:0", "GPU-one", pytest.approx(0.2, abs=0.05))
    assert report["environment"]["accelerators"][0]["name"] == "Tested X1"


def test_a_server_is_attached_where_it_is_named(prometheus_server, suite):
    (suite.path / "pytest.ini").write_text(
        f"[pytest]\nasyncio_default_fixture_loop_scope = function\ntpf_prometheus = {prometheus_server.url}\n"
    )
    suite.run(MEASURED.replace("2.0", "0.5"), "--tpf-meter", "estimate").assert_outcomes(passed=1)
    assert set(suite.test()["energy"]["domains"]) == {"cpu:0", "gpu:0"}


def test_a_server_that_goes_away_costs_the_energy_and_not_the_test(suite, tmp_path):
    liar = Liar(({"gpu": "0"}, lambda t: POWER_W * t))
    with served(liar) as url:
        channel = '[[channel]]\ndomain = "gpu:0"\nquery = "energy"\nunit = "J"\n'
        (tmp_path / "p.toml").write_text(f'url = "{url.replace("//", "//watcher:hunter2@")}"\ntimeout_s = 0.5\n{channel}')
        liar.answer = lambda query: (503, {}, b"hunter2 is away") if (suite.path / "gone").exists() else None
        result = suite.run(
            """
            import pathlib, time

            @pytest.mark.tpf
            def test_it(tpf):
                with tpf.measure() as window:
                    pathlib.Path("gone").write_text("")
                    time.sleep(0.5)
                    window.count(output_tokens=10)
            """,
            *("--tpf-meter=prometheus", f"--tpf-prometheus={tmp_path / 'p.toml'}"),
        )
    result.assert_outcomes(passed=1)
    test = suite.test()
    assert test["energy"]["it_j"] is None
    assert "source_failed" in test["energy"]["reasons"]
    assert "hunter2" not in (suite.path / "report.json").read_text() + result.stdout.str()


def test_a_server_that_is_not_there_leaves_tests_without_energy(suite):
    result = suite.run(MEASURED.replace("2.0", "0.1"), "--tpf-meter", "prometheus", "--tpf-prometheus", "http://127.0.0.1:9")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["tpf: prometheus: http://127.0.0.1:9 can't be reached: Connection refused*"])
    assert suite.test()["energy"]["reasons"] == ["no_meter"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--tpf-prometheus", "http://"), "*--tpf-prometheus: the URL must begin with http:// or https:// and name a host"),
        (("--tpf-prometheus", "nowhere.toml"), "*--tpf-prometheus: nowhere.toml: No such file*"),
        (("--tpf-meter", "prometheus"), "*--tpf-meter prometheus: no server is named: add --tpf-prometheus URL*"),
    ],
)
def test_a_mistake_is_a_usage_error(suite, options, said):
    result = suite.run(MEASURED, *options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([said])
