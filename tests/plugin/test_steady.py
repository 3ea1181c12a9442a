"""Rounds that still change are warm-up; where the user fixed their number they are told instead."""

from __future__ import annotations

from pytest_tpf.records import Conditions

SLOW_START = """
    @pytest.mark.tpf({marker})
    def test_it(tpf, model):
        calls = []
        def fn():
            calls.append(1)
            return model.generate(tokens=10, seconds=0.4 if len(calls) <= {slow} else 0.1)
        tpf(fn)
"""


def test_slow_rounds_after_the_declared_warm_up_are_dropped_and_told(suite):
    suite.run(SLOW_START.format(marker="warmup=1, max_time_s=4, target_ci=0.002", slow=2)).assert_outcomes(passed=1)
    test = suite.test()
    dropped, workload = test["conditions"]["dropped_rounds"], test["workload"]
    assert dropped >= 1
    assert workload["warmup_rounds"] >= 1 + dropped
    assert workload["rounds"] == len(test["rounds"]) >= 3
    assert all(one["duration_s"] < 0.35 * workload["calls_per_round"] for one in test["rounds"])
    assert any("still changed and were taken as warm-up" in warning for warning in test["warnings"])


def test_a_fixed_number_of_rounds_is_kept_and_the_slow_start_told(suite):
    suite.run(SLOW_START.format(marker="warmup=1, rounds=6", slow=2)).assert_outcomes(passed=1)
    test = suite.test()
    assert (test["workload"]["rounds"], test["conditions"]["dropped_rounds"]) == (6, 0)
    assert "warming_up" in test["conditions"]["flags"]
    assert test["rounds"][0]["duration_s"] > 0.35
    assert any("the first rounds differ from the rest: " in warning for warning in test["warnings"])


def test_without_a_warm_up_the_start_is_wanted_and_nothing_is_dropped(suite):
    suite.run(SLOW_START.format(marker="warmup=0, max_time_s=2", slow=1)).assert_outcomes(passed=1)
    test = suite.test()
    assert (test["workload"]["warmup_rounds"], test["conditions"]["dropped_rounds"]) == (0, 0)
    assert test["rounds"][0]["duration_s"] > 0.35


def test_a_length_that_changes_is_told(suite):
    suite.run("""
        @pytest.mark.tpf(rounds=3)
        def test_it(tpf, model):
            calls = []
            def fn():
                calls.append(1)
                return model.generate(tokens=10 if len(calls) < 4 else 6, seconds=0.3)
            tpf(fn)
    """).assert_outcomes(passed=1)
    test = suite.test()
    assert "length_changed" in test["conditions"]["flags"]
    assert (test["workload"]["output_tokens_min"], test["workload"]["output_tokens_max"]) == (6, 10)


def test_windows_of_different_work_are_not_held_against_each_other(suite):
    suite.run("""
        def test_it(tpf, model):
            for seconds in (0.1, 0.2, 0.4, 0.8):
                with tpf.measure():
                    model.generate(tokens=int(100 * seconds ** 2) + 1, seconds=seconds)
    """).assert_outcomes(passed=1)
    conditions = suite.test()["conditions"]
    assert conditions["flags"] == list(Conditions().flags)
    assert conditions["duration_drift"] is None


def test_a_marker_alone_with_rounds_is_judged_too(suite):
    suite.run("""
        calls = []

        @pytest.mark.tpf(rounds=5)
        def test_it(model):
            calls.append(1)
            model.generate(tokens=10, seconds=0.9 if len(calls) == 1 else 0.2)
    """).assert_outcomes(passed=1)
    conditions = suite.test()["conditions"]
    assert "warming_up" in conditions["flags"]
    assert conditions["duration_drift"] < 0
