"""Every marker mistake is a usage error at collection that names the test and the nearest valid keyword."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("max_joule_per_token=1", "unknown keyword 'max_joule_per_token' (did you mean 'max_joules_per_token'?)"),
        ("max_joules='1 J'", "max_joules needs a number above 0, not '1 J'"),
        ("max_joules=-1", "max_joules needs a number above 0, not -1"),
        ("0.5", "takes keywords only"),
        ("boundary='rack'", "boundary needs one of device, it, facility, not 'rack'"),
        ("binding='bandwidth'", "(did you mean 'memory_bandwidth'?)"),
        ("rounds=3, target_ci=0.1", "keep one of them"),
        ("max_regression=0.03", 'max_regression needs a text such as "joules_per_token:5%,'),
        ("max_regression='joules_per_tokn:3%'", "unknown metric 'joules_per_tokn' (did you mean 'joules_per_token'?)"),
        ("max_regression='ttft_s'", "max_regression is not usable: 'ttft_s' has no change"),
        ("max_regression='ttft_s:3%,ttft_s:4%'", "max_regression is not usable: ttft_s is named twice"),
        ("labels={'id': 3}", "labels needs a dict of texts"),
    ],
)
def test_a_mistake_stops_the_run_before_any_test(suite, arguments, said):
    result = suite.run(f"""
        @pytest.mark.tpf({arguments})
        def test_wrong(model): model.generate()

        def test_fine(): pass
    """)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    message = result.stderr.str()
    assert "test_it.py::test_wrong: @pytest.mark.tpf" in message
    assert said in message
    assert "Traceback" not in message + result.stdout.str()
    assert "passed" not in result.stdout.str()


def test_all_mistakes_of_all_tests_come_in_one_message(suite):
    result = suite.run("""
        @pytest.mark.tpf(max_joules=0)
        def test_one(): pass

        @pytest.mark.tpf(min_qualty=1)
        def test_two(): pass
    """)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["*::test_one: @pytest.mark.tpf max_joules needs*", "*::test_two: @pytest.mark.tpf unknown keyword 'min_qualty'*"]
    )


def test_the_nearest_level_wins_keyword_by_keyword(suite):
    result = suite.run("""
        pytestmark = pytest.mark.tpf(boundary="device", max_joules=1000, group="module")

        @pytest.mark.tpf(group="function")
        def test_it(model): model.generate()
    """)
    result.assert_outcomes(passed=1)
    test = suite.test()
    assert test["group"] == "function"
    assert test["mandated"]["joules_per_token"]["boundary"] == "device"
    assert [budget["metric"] for budget in test["budgets"]] == ["joules"]


TWINS = """
    @pytest.mark.tpf(labels={"id": "adder"})
    def test_a(model): model.generate()

    @pytest.mark.tpf(labels={"id": "adder"})
    def test_b(model): model.generate()
"""
IS_A_TWIN = "test_it.py::test_b: @pytest.mark.tpf labels={'id': ...} 'adder' is that of test_it.py::test_a already"


def test_two_tests_of_one_id_are_a_mistake(suite):
    result = suite.run(TWINS)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert result.stderr.str().strip() == f"ERROR: {IS_A_TWIN}"


def test_under_xdist_the_mistaken_test_fails_by_itself(suite):
    wrong = """
    @pytest.mark.tpf(max_joule=1)
    def test_wrong(model): model.generate()
"""
    result = suite.run(TWINS + wrong, "-n", "1", subprocess=True)
    result.assert_outcomes(passed=1, errors=2)
    result.stdout.fnmatch_lines(["*@pytest.mark.tpf unknown keyword 'max_joule' (did you mean 'max_joules'?)"])
    assert IS_A_TWIN in result.stdout.str()
    assert "INTERNALERROR" not in result.stdout.str()
