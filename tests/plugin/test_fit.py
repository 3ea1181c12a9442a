"""``tpf.fit``: on a board that spends exactly the joules it is told to, and where there is no fit to be had."""

from __future__ import annotations

import pytest

from tests.plugin.gated import variables
from tests.plugin.powered import CONFTEST
from tests.standin import StandinUnavailable

SHORT = ("--tpf-target-ci", "0.5")  # rounds of a single call


@pytest.fixture
def powered(suite, monkeypatch, tmp_path):
    """The suite on a board that a ``Powered`` model drives."""
    try:
        environment = variables(tmp_path)
    except StandinUnavailable as why:
        pytest.skip(str(why))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    suite.pytester.makeconftest(CONFTEST)
    return suite


def test_the_true_joules_of_a_prompt_token_and_of_an_output_token(powered):
    powered.run(
        """
        @pytest.mark.tpf(rounds=2, boundary="device")
        def test_it(tpf, model):
            asked = []

            def fn(prompt, output):
                asked.append((prompt, output))
                seen = prompt + 2  # the template's own tokens
                model.generate(joules=4 + 0.01 * seen + 0.5 * (output - 1), tokens=output, prompt_tokens=seen)

            fit = tpf.fit(fn, prompts=[600, 100], outputs=[40, 2, 10])
            assert tpf.result.fit.joules_per_output_token == pytest.approx(fit.joules_per_output_token, rel=0.01)
            assert fit.joules_per_output_token == pytest.approx(0.5, rel=0.03)
            grid = [(p, o) for p in (100, 600) for o in (2, 10, 40)]
            assert asked == [*grid, *grid, *reversed(grid)]  # warm-up, there, and back
        """,
        *SHORT,
    ).assert_outcomes(passed=1)
    test = powered.test()
    fit = test["fit"]
    assert (fit["boundary"], fit["reason"]) == ("device", None)
    assert fit["joules_per_output_token"] == pytest.approx(0.5, rel=0.03)
    assert fit["joules_per_prompt_token"] == pytest.approx(0.01, rel=0.1)
    assert [each["prompt_tokens"] for each in fit["prompts"]] == [102.0, 602.0]
    assert [each["joules"] for each in fit["prompts"]] == pytest.approx([5.02, 10.02], rel=0.05)
    low, high = fit["joules_per_output_token_ci95"]
    assert low < 0.5 < high
    assert fit["r2"] > 0.99
    assert [point["requests"] for point in fit["points"]] == [2] * 6
    assert (test["workload"]["rounds"], test["workload"]["warmup_rounds"]) == (12, 6)
    assert test["conditions"]["flags"] == []  # rounds of different work are not held against each other


def test_a_drift_does_not_look_like_a_slope_and_rounds_end_where_beta_is_known(powered):
    powered.run(
        """
        @pytest.mark.tpf(rounds=2, warmup=0)
        def test_drift(tpf, model):
            def fn(prompt, output):
                return model.generate(joules=5 + 0.5 * output + 2.0 * model.calls, tokens=output, prompt_tokens=prompt)

            fit = tpf.fit(fn, prompts=[10, 20], outputs=[2, 12])
            assert fit.joules_per_output_token == pytest.approx(0.5, rel=0.05)  # one way only, the drift would add 0.2
            assert fit.joules_per_prompt_token == pytest.approx(0.0, abs=0.03)  # and 0.4 here

        @pytest.mark.tpf(max_time_s=60, target_ci=0.9)
        def test_content(tpf, model):
            tpf.fit(lambda p, o: model.generate(tokens=o, joules=5 + o, prompt_tokens=p), prompts=[8], outputs=[2, 8])
        """,
        *SHORT,
    ).assert_outcomes(passed=2)
    assert powered.tests()["test_content"]["workload"]["rounds"] == 2 * 4  # at least three visits, and there and back


def test_a_short_call_is_repeated_as_often_as_its_own_point_needs(suite):
    suite.run("""
        @pytest.mark.tpf(rounds=1)
        def test_it(tpf, model):
            tpf.fit(lambda p, o: model.generate(tokens=o, seconds=0.004 * o), prompts=[3], outputs=[1, 50])
    """).assert_outcomes(passed=1)
    test = suite.test()
    short, long = (point["requests"] for point in test["fit"]["points"])
    assert short > 5 > long
    assert test["workload"]["calls_per_round"] == short


def test_awaited_and_many_at_once(suite):
    suite.run("""
        import asyncio

        def made(model, prompt, output):
            return model.generate(tokens=output, seconds=0.002 * output)

        @pytest.mark.tpf(rounds=1)
        @pytest.mark.asyncio
        async def test_coroutine_function(tpf, model):
            async def fn(prompt, output):
                await asyncio.gather(*[asyncio.to_thread(made, model, prompt, output) for _ in range(3)])
            fit = await tpf.fit(fn, prompts=[3], outputs=[10, 40])
            assert fit.points[0].output_tokens == 10

        @pytest.mark.tpf(rounds=1)
        @pytest.mark.asyncio
        async def test_function_that_gives_an_awaitable(tpf, model):
            fit = await tpf.fit(lambda p, o: asyncio.to_thread(made, model, p, o), prompts=[3], outputs=[10, 40])
            assert fit.points[0].output_tokens == 10
    """).assert_outcomes(passed=2)
    tests = suite.tests()
    at_once = tests["test_coroutine_function"]
    assert all(point["requests"] % 3 == 0 and point["joules"] > 0 for point in at_once["fit"]["points"])
    assert at_once["fit"]["joules_per_output_token"] is not None
    assert "requests overlapped" in at_once["energy"]["phases_reason"]
    assert tests["test_function_that_gives_an_awaitable"]["fit"]["reason"] is None


def test_without_a_fit_there_is_a_reason_and_no_traceback(suite):
    result = suite.run(
        """
        @pytest.mark.tpf(rounds=1)
        def test_no_meter(tpf, model):
            fit = tpf.fit(lambda p, o: model.generate(tokens=o), prompts=[3], outputs=[2, 8])
            assert fit.joules_per_output_token is None
            assert "no_meter" in fit.reason

        @pytest.mark.tpf(rounds=1)
        def test_counts_nothing(tpf):
            fit = tpf.fit(lambda p, o: None, prompts=[3], outputs=[2, 8])
            assert "no point of the grid has a known energy" in fit.reason
        """,
        "--tpf-meter",
        "nvml",
    )
    result.assert_outcomes(passed=1, failed=1)
    assert "no output tokens were counted" in result.stdout.str()
    assert "Traceback" not in result.stdout.str()
    assert [point["joules"] for point in suite.tests()["test_no_meter"]["fit"]["points"]] == [None, None]


def test_what_was_measured_before_fn_raised_is_kept(suite):
    suite.run("""
        import time

        @pytest.mark.tpf(rounds=2)
        def test_it(tpf):
            made = []
            def fn(prompt, output):
                made.append(output)
                if len(made) == 6: raise RuntimeError("out of memory")
                time.sleep(0.3)
                tpf.count(output_tokens=output, prompt_tokens=prompt)
            tpf.fit(fn, prompts=[3], outputs=[2, 8])
    """).assert_outcomes(failed=1)
    test = suite.test()
    assert test["workload"]["output_tokens"] == 2 + 8 + 8
    assert [point["output_tokens"] for point in test["fit"]["points"]][1] == 8


MISUSES = {
    "tpf.fit(len, prompts=[], outputs=[1])": "fit(prompts=...) needs a list of whole numbers from 1 up (tokens), not []",
    "tpf.fit(len, prompts=[1], outputs=8)": "fit(outputs=...) needs a list of whole numbers from 1 up (tokens), not 8",
    "tpf.fit(len, prompts=[0], outputs=[1])": "not [0]",
    "tpf.fit(len, prompts=[1], outputs=[1.5])": "not [1.5]",
    "tpf.fit(len, prompts='64', outputs=[1])": "not '64'",
    "tpf(int); tpf.fit(max, prompts=[1], outputs=[1])": "one test is one measurement",
    "tpf.fit(max, prompts=[1], outputs=[1]); tpf(int)": "one test is one measurement",
}


def test_misuse_is_one_line(suite):
    tests = [f"@pytest.mark.tpf(rounds=1, warmup=0)\ndef test_{n}(tpf): {use}\n" for n, use in enumerate(MISUSES)]
    result = suite.run("\n".join(tests))
    result.assert_outcomes(failed=len(MISUSES))
    said = [line for line in result.outlines if line.startswith("tpf: ") and ("fit(" in line)]
    assert len(said) == len(MISUSES)
    assert all(part in line for line, part in zip(said, MISUSES.values(), strict=True))
    assert "Traceback" not in result.stdout.str()


def test_off_calls_once_for_each_point(suite):
    suite.run(
        """
        import asyncio

        GRID = [(3, 2), (3, 8), (6, 2), (6, 8)]

        def test_it(tpf):
            made = []
            tpf.fit(lambda p, o: made.append((p, o)), prompts=[3, 6], outputs=[2, 8])
            assert made == GRID

        @pytest.mark.asyncio
        async def test_async(tpf):
            made = []
            async def fn(p, o):
                await asyncio.sleep(0)
                made.append((p, o))
            await tpf.fit(fn, prompts=[3, 6], outputs=[2, 8])
            assert made == GRID

        def test_judges(tpf):
            assert tpf.fit(lambda p, o: None, prompts=[3], outputs=[2, 8]).joules_per_output_token < 0
        """,
        "--tpf-off",
    ).assert_outcomes(passed=2, skipped=1)
