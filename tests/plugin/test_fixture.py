"""The fixture: called like pytest-benchmark's, or drawing windows by hand."""

from __future__ import annotations

import pytest


def test_the_last_value_comes_back_and_rounds_are_made(suite):
    suite.run("""
        @pytest.mark.tpf(max_time_s=1)
        def test_it(tpf, model):
            assert tpf(model.generate, tokens=6, seconds=0.06) == [0, 1, 2, 3, 4, 5]
    """).assert_outcomes(passed=1)
    workload = suite.test()["workload"]
    assert workload["rounds"] >= 3
    assert workload["warmup_rounds"] == 1
    assert workload["output_tokens"] == 6 * workload["requests"] == 6 * workload["rounds"] * workload["calls_per_round"]


def test_exactly_the_rounds_asked_for(suite):
    suite.run("""
        @pytest.mark.tpf(rounds=4, warmup=0)
        def test_it(tpf, model): tpf(model.generate, seconds=0.3)
    """)
    workload = suite.test()["workload"]
    assert (workload["rounds"], workload["warmup_rounds"]) == (4, 0)


def test_a_short_call_is_repeated_within_its_round(suite):
    suite.run("""
        @pytest.mark.tpf(rounds=3)
        def test_it(tpf, model): tpf(model.generate, tokens=2, seconds=0.002)
    """)
    test = suite.test()
    assert test["workload"]["calls_per_round"] > 5
    assert all(one["duration_s"] > 0.03 for one in test["rounds"])
    assert test["workload"]["output_tokens"] == 2 * 3 * test["workload"]["calls_per_round"]


def test_options_say_how_much_where_the_marker_does_not(suite):
    suite.run(
        """
        @pytest.mark.tpf
        def test_it(tpf, model): tpf(model.generate)

        @pytest.mark.tpf(rounds=3)
        def test_own(tpf, model): tpf(model.generate)
    """,
        "--tpf-rounds",
        "5",
        "--tpf-warmup",
        "2",
    )
    tests = suite.tests()
    assert (tests["test_it"]["workload"]["rounds"], tests["test_it"]["workload"]["warmup_rounds"]) == (5, 2)
    assert tests["test_own"]["workload"]["rounds"] == 3


def test_a_window_counts_what_it_is_told(suite):
    suite.run("""
        def test_it(tpf):
            for _ in range(3):
                with tpf.measure("answer") as window:
                    sum(range(2_000_000))
                    window.count(output_tokens=7, prompt_tokens=2, requests=1)
            assert tpf.result.workload.output_tokens == 21
            assert 0 < tpf.result.joules_per_token < 10
            assert tpf.result.tokens_per_second > 0
    """).assert_outcomes(passed=1)
    test = suite.test()
    assert (test["workload"]["rounds"], test["workload"]["requests"], test["workload"]["prompt_tokens"]) == (3, 3, 6)
    assert (test["workload"]["engine"], test["workload"]["token_source"]) == (None, "declared")
    assert test["service"]["busy_s"] is None
    assert test["service"]["e2e_s"]["count"] == 3
    assert test["extra"]["windows"] == ["answer"] * 3


def test_counting_inside_fn(suite):
    suite.run("""
        @pytest.mark.tpf(rounds=3)
        def test_it(tpf):
            def fn():
                sum(range(3_000_000))
                tpf.count(output_tokens=4)
                return "done"
            assert tpf(fn) == "done"
    """).assert_outcomes(passed=1)
    test = suite.test()
    assert test["workload"]["output_tokens"] == 4 * 3 * test["workload"]["calls_per_round"]
    assert test["workload"]["prompt_tokens"] is None


def test_quality_per_request_makes_accepted_tokens(suite):
    suite.run("""
        @pytest.mark.tpf(rounds=3, min_quality=0.5)
        def test_it(tpf, model):
            def answer():
                return [model.generate(tokens=4), model.generate(tokens=8)]
            tpf(answer)
            tpf.quality([True, False], metric="exact_match")
            tpf.extra["note"] = "half"
    """).assert_outcomes(passed=1)
    test = suite.test()
    calls = 3 * test["workload"]["calls_per_round"]
    assert test["workload"]["accepted_tokens"] == 4 * calls
    assert test["derived"]["joules_per_accepted_token"] == pytest.approx(3 * test["mandated"]["joules_per_token"]["value"])
    assert test["mandated"]["accuracy"] == {"value": 0.5, "metric": "exact_match", "target": 0.5, "samples": 2}
    assert test["service"]["goodput"]["good"] == calls
    assert test["extra"]["note"] == "half"


def test_a_score_alone_leaves_accepted_tokens_unknown(suite):
    suite.run("""
        @pytest.mark.tpf(rounds=3)
        def test_it(tpf, model):
            tpf(model.generate)
            tpf.quality(0.75, metric="f1")
    """)
    test = suite.test()
    assert test["workload"]["accepted_tokens"] is None
    assert test["mandated"]["accuracy"]["value"] == 0.75


def test_what_was_measured_before_fn_raised_is_kept(suite):
    suite.run("""
        @pytest.mark.tpf(rounds=5)
        def test_it(tpf, model):
            calls = []
            def fn():
                calls.append(1)
                if len(calls) == 4: raise RuntimeError("out of memory")
                model.generate(seconds=0.1)
            tpf(fn)
    """).assert_outcomes(failed=1)
    test = suite.test()
    assert test["outcome"] == "failed"
    assert test["energy"]["it_j"] > 0
    assert test["workload"]["output_tokens"] > 0


@pytest.mark.parametrize(
    ("use", "said"),
    [
        ("tpf(len, 'a'); tpf(len, 'b')", "one test is one measurement"),
        ("tpf.count(output_tokens=-1)", "count(output_tokens=...) needs a whole number from 0 up, not -1"),
        ("tpf.count(output_tokens=1.5)", "not 1.5"),
        ("tpf.quality(1.2)", "needs a score from 0 to 1"),
        ("tpf.quality([])", "needs a score from 0 to 1"),
        ("tpf.quality('good')", "needs a score from 0 to 1"),
    ],
)
def test_misuse_is_one_line(suite, use, said):
    result = suite.run(f"""
        @pytest.mark.tpf(rounds=1)
        def test_it(tpf): {use}
    """)
    result.assert_outcomes(failed=1)
    assert said in result.stdout.str()
    assert "Traceback" not in result.stdout.str()


def test_async_functions_are_awaited_and_measured(suite):
    suite.run("""
        import asyncio

        @pytest.mark.tpf(rounds=3)
        @pytest.mark.asyncio
        async def test_coroutine_function(tpf):
            async def fn(n):
                await asyncio.sleep(0.06)
                tpf.count(output_tokens=n)
                return n
            assert await tpf(fn, 3) == 3

        @pytest.mark.tpf(rounds=3)
        @pytest.mark.asyncio
        async def test_function_that_gives_an_awaitable(tpf):
            async def fn():
                await asyncio.sleep(0.06)
                tpf.count(output_tokens=2)
                return "b"
            assert await tpf(lambda: fn()) == "b"

        @pytest.mark.tpf
        @pytest.mark.asyncio
        async def test_marker_alone(model):
            await asyncio.to_thread(model.generate)
    """).assert_outcomes(passed=3)
    tests = suite.tests()
    assert all(one["duration_s"] >= 0.05 for one in tests["test_coroutine_function"]["rounds"])
    for name, tokens in (("test_coroutine_function", 3), ("test_function_that_gives_an_awaitable", 2)):
        workload = tests[name]["workload"]
        assert workload["output_tokens"] == tokens * 3 * workload["calls_per_round"]
    assert tests["test_marker_alone"]["workload"]["output_tokens"] == 8


def test_a_slow_first_call_does_not_leave_rounds_too_short(suite):
    suite.run("""
        @pytest.mark.tpf(max_time_s=1)
        def test_it(tpf, model):
            calls = []
            def fn():
                calls.append(1)
                return model.generate(tokens=2, seconds=0.3 if len(calls) == 1 else 0.001)
            tpf(fn)
    """).assert_outcomes(passed=1)
    test = suite.test()
    assert test["workload"]["calls_per_round"] > 10
    assert all(one["it_j"] is not None for one in test["rounds"])
    assert test["workload"]["output_tokens"] == 2 * test["workload"]["rounds"] * test["workload"]["calls_per_round"]


def test_an_engine_brought_twice_counts_once(suite):
    (suite.path / "conftest.py").write_text(
        (suite.path / "conftest.py").read_text().replace("return [ToyEngine()]", "return [ToyEngine(), ToyEngine()]")
    )
    suite.run("""
        @pytest.mark.tpf
        def test_it(model): model.generate(tokens=8)
    """)
    assert suite.test()["workload"]["output_tokens"] == 8
