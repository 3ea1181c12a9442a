"""Budgets fail the test where it would raise, so everything pytest does with a failure works."""

from __future__ import annotations

import pytest

SUITE = """
    import unittest
    from tests.plugin.toy import Toy

    @pytest.mark.tpf(max_joules_per_token=1e-9)
    def test_over(model): model.generate()

    @pytest.mark.tpf(max_joules_per_token=1000)
    def test_under(model): model.generate()

    @pytest.mark.xfail
    @pytest.mark.tpf(max_joules_per_token=1e-9)
    def test_xfail(model): model.generate()

    @pytest.mark.xfail(strict=True)
    @pytest.mark.tpf(max_joules_per_token=1e-9)
    def test_xfail_strict(model): model.generate()

    @pytest.mark.asyncio
    @pytest.mark.tpf(max_joules_per_token=1e-9)
    async def test_async(model): model.generate()

    class TestUnit(unittest.TestCase):
        @pytest.mark.tpf(max_joules_per_token=1e-9)
        def test_unit(self): Toy().generate()
"""


@pytest.mark.parametrize("options", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_outcomes_junit_and_report_agree(suite, options):
    result = suite.run(SUITE, "--junit-xml", "junit.xml", *options, subprocess=bool(options))
    result.assert_outcomes(passed=1, failed=3, xfailed=2)
    assert 'failures="3"' in (suite.path / "junit.xml").read_text()
    tests = suite.tests()
    assert len(tests) == 6
    assert {name: test["outcome"] for name, test in tests.items()} == {
        "test_over": "failed",
        "test_under": "passed",
        "test_xfail": "xfailed",
        "test_xfail_strict": "xfailed",
        "test_async": "failed",
        "TestUnit::test_unit": "failed",
    }
    assert suite.report()["summary"]["failed_budgets"] == 5


def test_the_message_says_limit_figure_interval_and_boundary(suite):
    result = suite.run("""
        @pytest.mark.tpf(max_joules_per_token=1e-9)
        def test_it(model): model.generate()
    """)
    result.stdout.fnmatch_lines(
        [
            "tpf: joules_per_token * J/token (estimated) > 1e-09: * times over max_joules_per_token=1e-09 at boundary it, 95 %*",
            "     cpu:0 * J over 8 output tokens, 1 requests, 1 rounds; not metered: dram:0",
            "     binding constraint: *",
        ]
    )
    assert "Traceback" not in result.stdout.str()


@pytest.mark.parametrize(
    ("limit", "metric", "verdict"),
    [
        ("max_joules=1000", "joules", "pass"),
        ("max_joules=1e-9", "joules", "fail"),
        ("max_joules_per_request=1e-9", "joules_per_request", "fail"),
        ("max_joules_per_accepted_token=1e-9", "joules_per_accepted_token", "fail"),
        ("max_output_tokens=8", "output_tokens_per_request", "pass"),
        ("max_output_tokens=7", "output_tokens_per_request", "fail"),
        ("max_prompt_tokens=2", "prompt_tokens_per_request", "fail"),
        ("min_tokens_per_second=1e9", "tokens_per_second", "fail"),
        ("max_ttft_s=1e-6", "ttft_p95_s", "fail"),
        ("max_tpot_s=10", "tpot_p95_s", "pass"),
        ("max_e2e_s=0.001", "e2e_p95_s", "fail"),
        ("max_power_w=1e-6", "power_w", "fail"),
        ("max_facility_power_w=1e6", "facility_power_w", "pass"),
        ("binding='undetermined'", "binding", "pass"),
    ],
)
def test_every_budget_is_judged(suite, limit, metric, verdict):
    result = suite.run(
        f"""
        @pytest.mark.tpf({limit})
        def test_it(model): model.generate()
    """,
        "--tpf-pue",
        "1.1",
    )
    result.assert_outcomes(**{"passed" if verdict == "pass" else "failed": 1})
    (budget,) = suite.test()["budgets"]
    assert (budget["metric"], budget["verdict"]) == (metric, verdict)


def test_quality_is_a_budget_too(suite):
    result = suite.run("""
        @pytest.mark.tpf(min_quality=0.9, rounds=1)
        def test_it(tpf, model):
            tpf(model.generate)
            tpf.quality([True, True, False])
    """)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["tpf: quality 0.6667 < 0.9: 25.9% under min_quality=0.9"])


@pytest.mark.parametrize(("gate", "outcome"), [("warn", "passed"), ("strict", "failed")])
def test_what_could_not_be_measured_is_red_only_where_the_gate_is_strict(suite, gate, outcome):
    result = suite.run(
        """
        @pytest.mark.tpf(max_joules_per_token=1, boundary="facility")
        def test_it(model): model.generate()
    """,
        "--tpf-gate",
        gate,
    )
    assert outcome in result.parseoutcomes()
    (budget,) = suite.test()["budgets"]
    assert (budget["verdict"], budget["actual"]) == ("not_measured", None)
    assert "PUE is undeclared" in budget["reason"]
    if gate == "strict":
        result.stdout.fnmatch_lines(["tpf: max_joules_per_token=1 was not measured at boundary facility: PUE is undeclared*"])


def test_strict_is_the_default_in_ci(suite, monkeypatch):
    monkeypatch.setenv("CI", "true")
    suite.write("""
        @pytest.mark.tpf(max_joules_per_token=1, boundary="facility")
        def test_it(model): model.generate()
    """)
    suite.pytester.runpytest_inprocess("-p", "no:cacheprovider").assert_outcomes(failed=1)


def test_facility_energy_is_it_times_pue_once(suite):
    suite.run(
        """
        @pytest.mark.tpf(max_joules_per_token=1000, boundary="facility")
        def test_it(model): model.generate(seconds=0.2)
    """,
        "--tpf-pue",
        "1.5",
    ).assert_outcomes(passed=1)
    test = suite.test()
    assert test["energy"]["facility_j"] == pytest.approx(1.5 * test["energy"]["it_j"])
    assert test["mandated"]["joules_per_token"]["value"] == pytest.approx(1.5 * test["energy"]["it_j"] / 8)
    power = test["mandated"]["pue_adjusted_power_w"]
    assert power["value"] == pytest.approx(1.5 * power["it_power_w"])


def test_x_stops_after_a_broken_budget(suite):
    result = suite.run(
        """
        @pytest.mark.tpf(max_joules=1e-9)
        def test_one(model): model.generate()

        def test_two(): pass
    """,
        "-x",
    )
    result.assert_outcomes(failed=1)
    assert list(suite.tests()) == ["test_one"]
