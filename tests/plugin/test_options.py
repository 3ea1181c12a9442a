"""Each option on the command line and in the ini file; the command line wins."""

from __future__ import annotations

import pytest

ONE = """
    @pytest.mark.tpf
    def test_it(model): model.generate()
"""


def ini(suite, text):
    (suite.path / "pytest.ini").write_text(f"[pytest]\nasyncio_default_fixture_loop_scope = function\n{text}\n")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--tpf-rounds", "0"), "--tpf-rounds: '0' is not usable: expected a whole number of at least 1"),
        (("--tpf-rounds", "many"), "--tpf-rounds: 'many' is not usable"),
        (("--tpf-target-ci", "2"), "expected a number above 0 up to 1"),
        (("--tpf-pue", "0.9"), "--tpf-pue: '0.9' is not usable: expected a number from 1"),
        (("--tpf-max-time", "nan"), "--tpf-max-time: 'nan' is not usable"),
        (("--tpf-facility", "no/such.toml"), "no/such.toml: No such file or directory"),
        (("--tpf-meter", "nvlm"), "did you mean 'nvml'"),
        (("--tpf-watch", "vllm"), "--tpf-watch: 'vllm' is not usable: expected process numbers, with commas between them"),
        (("--tpf-watch", "2147483646"), "--tpf-watch: '2147483646' is not usable: there is no process 2147483646"),
    ],
)
def test_a_wrong_option_is_one_line(suite, options, said):
    result = suite.run(ONE, *options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert said in result.stderr.str()
    assert "Traceback" not in result.stderr.str()


def test_a_wrong_ini_value_names_its_key(suite):
    ini(suite, "tpf_rounds = few")
    result = suite.run(ONE)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "tpf_rounds (ini): 'few' is not usable" in result.stderr.str()


def test_the_command_line_wins_over_the_ini_file(suite):
    ini(suite, "tpf_rounds = 4\ntpf_warmup = 3")
    suite.run("def test_it(tpf, model): tpf(model.generate)", "--tpf-rounds", "3")
    assert (suite.test()["workload"]["rounds"], suite.test()["workload"]["warmup_rounds"]) == (3, 3)


def test_rows_bounds_the_table(suite):
    many = """
        import pytest

        @pytest.mark.tpf
        @pytest.mark.parametrize("number", range(4))
        def test_it(model, number): model.generate()
    """
    suite.run(many, "--tpf-rows=2").stdout.fnmatch_lines(["... and 2 more tests; --tpf-rows=0 *shows all of them"])
    assert len(suite.report()["tests"]) == 4


def test_off_calls_straight_through(suite):
    result = suite.run(
        """
        calls = []

        @pytest.mark.tpf(max_joules=1e-12)
        def test_marker(model): model.generate()

        def test_fixture(tpf):
            assert tpf(lambda: calls.append(1) or 5) == 5
            assert calls == [1]
            with tpf.measure() as window: window.count(output_tokens=1)
            tpf.quality(0.1)
            tpf.extra["a"] = 1

        def test_result(tpf):
            tpf(lambda: None)
            assert tpf.result.joules_per_token < 0
    """,
        "--tpf-off",
    )
    result.assert_outcomes(passed=2, skipped=1)
    assert "energy-to-token" not in result.stdout.str()
    assert not (suite.path / "report.json").exists()


def test_off_in_the_ini_file(suite):
    ini(suite, "tpf = off")
    result = suite.run("""
        @pytest.mark.tpf(max_joules=1e-12)
        def test_it(model): model.generate()
    """)
    result.assert_outcomes(passed=1)
    assert "tpf:" not in result.stdout.str()


def test_all_measures_unmarked_tests_that_generate(suite):
    suite.run(
        """
        def test_generates(model): model.generate()
        def test_does_not(): pass
    """,
        "--tpf-all",
    ).assert_outcomes(passed=2)
    assert list(suite.tests()) == ["test_generates"]


def test_require_measured_stops_a_run_that_can_only_estimate(suite):
    result = suite.run(ONE, "--tpf-require", "measured", "--tpf-meter", "estimate")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "--tpf-require measured: energy can only be estimated here" in result.stderr.str()


def test_the_tdp_scales_the_estimate(suite):
    suite.write("""
        @pytest.mark.tpf
        def test_it(model): model.generate(seconds=0.3)
    """)
    watts = []
    for tdp in ("10", "100"):
        suite.run(None, "--tpf-cpu-tdp", tdp)
        watts.append(suite.test()["power"]["mean_w"])
    assert 3 < watts[1] / watts[0] < 30  # ten, if the two runs get the same share of the processor


def test_a_facility_profile_is_read_and_reported(suite):
    (suite.path / "site.toml").write_text(
        'pue = 1.25\npue_kind = "annual"\ncarbon_intensity_g_per_kwh = 400\nelectricity_price_per_kwh = 0.2\ncurrency = "EUR"\n'
    )
    suite.run(ONE, "--tpf-facility", "site.toml").assert_outcomes(passed=1)
    report, test = suite.report(), suite.test()
    assert report["facility"]["pue"] == {"value": 1.25, "source": "declared", "kind": "annual", "category": "unknown"}
    kwh = test["energy"]["facility_j"] / 3.6e6
    assert test["derived"]["carbon_g"] == pytest.approx(400 * kwh)
    assert test["derived"]["cost"] == pytest.approx(0.2 * kwh)
    assert test["derived"]["water_l"] is None


def test_a_wrong_facility_profile_names_file_and_key(suite):
    (suite.path / "site.toml").write_text("pue_value = 1.2\n")
    result = suite.run(ONE, "--tpf-facility", "site.toml")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "site.toml" in result.stderr.str()
    assert "pue_value" in result.stderr.str()


def test_junit_properties_only_when_asked(suite):
    suite.run(ONE, "--junit-xml", "plain.xml")
    suite.run(None, "--junit-xml", "rich.xml", "--tpf-junit-properties")
    assert "joules_per_token" not in (suite.path / "plain.xml").read_text()
    assert 'name="tpf_joules_per_token"' in (suite.path / "rich.xml").read_text()


def test_columns_sort_and_groups_shape_the_table(suite):
    result = suite.run(
        """
        @pytest.mark.tpf(group="slow")
        def test_b(model): model.generate(seconds=0.2)

        @pytest.mark.tpf(group="fast")
        def test_a(model): model.generate()
    """,
        "--tpf-columns",
        "name,tokens_per_second",
        "--tpf-group-by",
        "group",
    )
    text = result.stdout.str()
    assert "fast" in text
    assert "slow" in text
    assert "binding" not in text.partition("energy-to-token")[2].partition("boundary:")[0]


def test_an_unknown_column_is_said_before_the_tests_run(suite):
    result = suite.run(ONE, "--tpf-columns", "name,jouls_per_token")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "jouls_per_token" in result.stderr.str()
    assert "passed" not in result.stdout.str()
