"""Adoption by one line: a marker on an existing test, nothing else changed."""

from __future__ import annotations

import pytest


def test_tokens_requests_and_times_are_counted(suite):
    suite.run("""
        @pytest.mark.tpf
        def test_it(model):
            model.generate(tokens=8)
            model.generate(tokens=4)
    """).assert_outcomes(passed=1)
    test = suite.test()
    assert test["outcome"] == "passed"
    workload = test["workload"]
    assert (workload["engine"], workload["output_tokens"], workload["prompt_tokens"], workload["requests"]) == ("toy", 12, 6, 2)
    assert (workload["rounds"], workload["token_source"]) == (1, "engine")
    assert test["service"]["ttft_s"]["count"] == 2
    assert test["service"]["ttft_s"]["p50"] == pytest.approx(0.01, rel=0.5)
    assert test["service"]["tpot_s"]["max"] >= test["service"]["tpot_s"]["min"] > 0


def test_only_generating_counts_and_the_call_stands_beside(suite):
    suite.run("""
        import time

        @pytest.mark.tpf
        def test_it(model):
            time.sleep(0.3)
            model.generate(seconds=0.2)
            time.sleep(0.3)
    """).assert_outcomes(passed=1)
    test = suite.test()
    assert test["service"]["duration_s"] == pytest.approx(0.2, abs=0.08)
    assert test["energy"]["call_j"] > test["energy"]["it_j"] > 0
    utilization = test["mandated"]["utilization_adjusted_tokens_per_second"]
    assert utilization["utilization_source"] == "measured"
    assert 0.1 < utilization["utilization"] < 0.5
    assert utilization["value"] == pytest.approx(utilization["busy_tokens_per_second"] * utilization["utilization"])


def test_prefill_and_decode_make_up_the_whole(suite):
    suite.run("""
        @pytest.mark.tpf
        def test_it(model): model.generate(seconds=0.5)
    """)
    energy = suite.test()["energy"]
    assert energy["prefill_j"] + energy["decode_j"] == pytest.approx(energy["it_j"], rel=1e-6)
    assert energy["prefill_j"] < energy["decode_j"]


def test_rounds_repeat_the_body_and_warm_up_is_dropped(suite):
    result = suite.run("""
        calls = []

        @pytest.mark.tpf(rounds=3, warmup=2)
        def test_it(model):
            calls.append(1)
            model.generate(tokens=5)

        def test_count(): assert len(calls) == 5
    """)
    result.assert_outcomes(passed=2)
    test = suite.test()
    assert (test["workload"]["rounds"], test["workload"]["warmup_rounds"], test["workload"]["output_tokens"]) == (3, 2, 15)
    assert [one["output_tokens"] for one in test["rounds"]] == [5, 5, 5]
    assert sum(one["it_j"] for one in test["rounds"]) == pytest.approx(test["energy"]["it_j"], rel=1e-6)


def test_a_test_that_makes_no_token_is_told_so(suite):
    result = suite.run("""
        @pytest.mark.tpf
        def test_it(): pass
    """)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["tpf: no output tokens were counted: *"])
    assert "Traceback" not in result.stdout.str()


def test_a_failing_body_keeps_its_own_failure_and_its_energy(suite):
    result = suite.run("""
        @pytest.mark.tpf(max_joules=1e-9)
        def test_it(model):
            model.generate()
            assert 1 == 2
    """)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E*assert 1 == 2"])
    test = suite.test()
    assert test["outcome"] == "failed"
    assert test["energy"]["it_j"] > 0
    assert test["budgets"][0]["verdict"] == "fail"


def test_a_skipped_test_is_no_row(suite):
    suite.run("""
        @pytest.mark.tpf
        def test_it(): pytest.skip("not here")

        @pytest.mark.tpf
        def test_other(model): model.generate()
    """).assert_outcomes(passed=1, skipped=1)
    assert list(suite.tests()) == ["test_other"]


def test_unittest_methods_are_measured(suite):
    suite.run("""
        import unittest
        from tests.plugin.toy import Toy

        class TestIt(unittest.TestCase):
            @pytest.mark.tpf(max_joules=1e-9)
            def test_it(self): Toy().generate()
    """).assert_outcomes(failed=1)
    assert suite.test()["workload"]["output_tokens"] == 8


def test_generating_from_a_thread_is_seen(suite):
    suite.run("""
        import threading

        @pytest.mark.tpf
        def test_it(model):
            threads = [threading.Thread(target=model.generate) for _ in range(3)]
            [t.start() for t in threads]
            [t.join() for t in threads]
    """).assert_outcomes(passed=1)
    test = suite.test()
    assert test["workload"]["output_tokens"] == 24
    assert test["energy"]["prefill_j"] is None  # three at once: there is no single first token to split at


def test_a_rerun_starts_anew(suite):
    """As rerun plugins do it: the same item goes through the protocol again."""
    conftest = suite.path / "conftest.py"
    conftest.write_text(
        conftest.read_text()
        + "\nfrom _pytest.runner import runtestprotocol\n"
        + "\ndef pytest_runtest_protocol(item, nextitem):\n"
        + "    for attempt in (1, 2):\n"
        + "        for report in runtestprotocol(item, nextitem=nextitem, log=False):\n"
        + "            if attempt == 1: report.outcome = 'rerun'\n"
        + "            item.ihook.pytest_runtest_logreport(report=report)\n"
        + "    return True\n"
    )
    suite.run("""
        attempts = []

        @pytest.mark.tpf
        def test_it(model):
            attempts.append(1)
            if len(attempts) == 1:
                model.generate(tokens=8)
            else:
                pytest.skip("not again")
    """)
    (only,) = suite.report()["tests"]
    assert only["workload"]["output_tokens"] == 8
