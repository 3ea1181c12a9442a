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


def test_under_xdist_the_mistaken_test_fails_by_itself(suite):
    result = suite.run(
        """
        @pytest.mark.tpf(max_joule=1)
        def test_wrong(model): model.generate()
    """,
        "-n",
        "1",
        subprocess=True,
    )
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*@pytest.mark.tpf unknown keyword 'max_joule' (did you mean 'max_joules'?)"])
    assert "INTERNALERROR" not in result.stdout.str()
