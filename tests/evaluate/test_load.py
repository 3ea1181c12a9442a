"""Loads in a record: rates, the client's lateness and what it costs, goodput over everything that was sent."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_tpf.engines.protocol import Request
from pytest_tpf.evaluate import evaluate
from pytest_tpf.evaluate.load import peak_concurrency
from pytest_tpf.load.seen import LoadRun, Sent, linked
from pytest_tpf.markers import Marker
from pytest_tpf.observation import Counts, MeasuredRound, Quality
from pytest_tpf.records import TestRecord
from tests.evaluate.runs import IDENTITY, WATTS, context, generation, observation
from tests.evaluate.test_evaluate import is_valid

HTTP = "http://127.0.0.1:8000"


def sent(intended_s, sent_s=None, end_s=None, **more) -> Sent:
    """Sent in time, and a second long, unless said otherwise."""
    sent_s = intended_s if sent_s is None else sent_s
    times = {"intended_s": intended_s, "due_s": intended_s, "sent_s": sent_s, "end_s": sent_s + 1 if end_s is None else end_s}
    return Sent(**(times | more))


def run(*requests, beats=(), **more) -> LoadRun:
    return LoadRun(**({"mode": "closed", "concurrency": 2, "rate": None, "arrival": None, "seed": None} | more), sent=requests, beats=beats)


OPEN = {"mode": "open", "concurrency": None, "rate": 4.0, "arrival": "constant"}


def served(intended_s, start_s=None, end_s=None, tokens=8, complete=True, prompts=4, **more):
    """What is observed of a reply: the first token a quarter of the way."""
    start_s = intended_s if start_s is None else start_s
    made = generation(start_s, start_s + 1 if end_s is None else end_s, (tokens,), prompts, endpoint=HTTP, **more)
    seen = dataclasses.replace(made.requests[0], intended_s=intended_s, complete=complete)
    return dataclasses.replace(made, requests=(seen,))


def failed(intended_s, end_s):
    """A call that raised."""
    seen = Request(start_s=intended_s, end_s=end_s, prompt_tokens=None, output_tokens=0, complete=False, intended_s=intended_s)
    return dataclasses.replace(served(intended_s, end_s=end_s), requests=(seen,))


def one_load(load, *generations, start_s=0.0, end_s=10.0, declared=()) -> MeasuredRound:
    load, made = linked(load, generations, declared)
    return MeasuredRound(start_s=start_s, end_s=end_s, calls=1, generations=made, declared=declared, load=load)


def record(*rounds, marker=Marker(), quality=None) -> TestRecord:  # noqa: B008
    found = evaluate(observation(*rounds, quality=quality), IDENTITY, marker, context(), {})
    assert is_valid(found)
    return found


def limits(**given) -> Marker:
    return Marker(limits=given)


# --- how it was sent --------------------------------------------------------------------------------------------------


def test_offered_and_achieved_rates():
    load = run(sent(0.0), sent(0.25), sent(0.5), sent(1.0), **OPEN)
    found = record(one_load(load)).service.load
    assert found.offered_requests_per_second == pytest.approx(3 / 1.0)  # as drawn: three gaps in a second
    assert found.achieved_requests_per_second == pytest.approx(4 / 2.0)
    assert (found.mode, found.requests, found.failed, found.concurrency, found.arrival) == ("open", 4, 0, None, "constant")


def test_one_request_is_offered_at_the_rate_that_was_asked_for():
    assert record(one_load(run(sent(1.0), **OPEN))).service.load.offered_requests_per_second == 4.0


def test_rounds_add_up_and_what_lies_between_them_does_not_count():
    first, second = run(sent(0.0), sent(0.0, end_s=2.0)), run(sent(5.0), sent(5.0, end_s=7.0))
    found = record(one_load(first, end_s=3.0), one_load(second, start_s=5.0, end_s=8.0)).service.load
    assert (found.requests, found.peak_concurrency) == (4, 2)
    assert found.achieved_requests_per_second == pytest.approx(4 / 4.0)


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 9)), min_size=1, max_size=12))
def test_the_peak_is_the_most_that_were_under_way_at_once(spans):
    load = run(*(sent(float(start), end_s=float(start + length)) for start, length in spans))
    assert peak_concurrency(load) == max(sum(start <= at < start + length for start, length in spans) for at, _ in spans)


# --- the client's lateness --------------------------------------------------------------------------------------------


def test_a_client_in_time_leaves_every_figure():
    load = run(*(sent(0.1 * i, sent_s=0.1 * i + 0.001, end_s=0.1 * i + 1) for i in range(8)), beats=((0.0, 0.001), (0.9, 0.902)))
    found = record(one_load(load, *(served(0.1 * i, end_s=0.1 * i + 1) for i in range(8))))
    assert not found.service.load.is_late
    assert found.service.load.lateness_s.max == pytest.approx(0.002)
    assert found.service.e2e_s.p50 == pytest.approx(1.0)
    assert found.service.ttft_s.p50 == pytest.approx(0.25)
    assert found.rounds[0].ttft_s == pytest.approx(0.25)
    assert "client_late" not in found.conditions.flags


LATE_TO_SEND = run(sent(0.0, sent_s=0.2, end_s=1.2), sent(1.0))
LATE_TO_READ = run(sent(0.0), sent(1.0), beats=((0.20, 0.205), (0.22, 0.45), (1.0, 1.001)))
"""The first token, at 0.25 s, came while the beat of 0.22 s was overdue: it may have been there since."""


@pytest.mark.parametrize(("load", "late_s"), [(LATE_TO_SEND, 0.2), (LATE_TO_READ, 0.23)])
def test_a_late_client_leaves_energy_and_tokens_and_no_times(load, late_s):
    seen = [served(0.0, start_s=load.sent[0].sent_s), served(1.0)]
    marker = limits(max_ttft_s=0.1, max_e2e_s=0.1, max_tpot_s=1e-6, min_tokens_per_second=1e6, max_joules=1e6)
    found = record(one_load(load, *seen), marker=marker)
    assert found.service.load.is_late
    assert found.service.load.lateness_s.max == pytest.approx(late_s)
    times = found.service
    assert (times.ttft_s, times.tpot_s, times.inter_chunk_s, times.e2e_s, times.goodput) == (None,) * 5
    assert (found.rounds[0].ttft_s, found.rounds[0].tpot_s, found.rounds[0].e2e_s) == (None,) * 3
    assert found.mandated.latency.e2e_p95_s is None
    assert found.energy.it_j == pytest.approx(10 * WATTS)
    assert (found.workload.output_tokens, found.workload.accepted_tokens) == (16, None)
    verdicts = {budget.metric: (budget.verdict, budget.reason) for budget in found.budgets}
    assert verdicts.pop("joules") == ("pass", None)
    assert {verdict for verdict, _ in verdicts.values()} == {"not_measured"}
    assert all(reason.startswith("client_late: ") for _, reason in verdicts.values())
    assert found.conditions.flags[0] == "client_late"
    assert any("with 50% of its requests" in warning for warning in found.warnings)


@pytest.mark.parametrize(("beat_s", "is_late"), [(0.24, True), (0.99, False)])
def test_what_is_read_late_is_held_against_the_time_that_it_ends(beat_s, is_late):
    """50 ms are a fifth of the time to first token, and a twentieth of the whole."""
    load = run(sent(0.0), sent(2.0), beats=((beat_s, beat_s + 0.05), (1.5, 1.5)))
    found = record(one_load(load, served(0.0), served(2.0))).service.load
    assert found.lateness_s.max == pytest.approx(0.05)
    assert found.is_late is is_late


def test_a_rate_that_was_reached_is_reached_with_a_late_client_too():
    found = record(one_load(LATE_TO_SEND, served(0.0), served(1.0)), marker=limits(min_tokens_per_second=1.0))
    assert found.budgets[0].verdict == "pass"
    assert found.service.tokens_per_second == pytest.approx(1.6)


def test_without_limits_on_times_a_late_client_costs_no_accepted_token():
    assert record(one_load(LATE_TO_SEND, served(0.0, start_s=0.2), served(1.0))).workload.accepted_tokens == 16


@pytest.mark.parametrize(("spoilt", "is_late"), [(0, False), (2, False), (3, True)])
def test_one_in_twenty_may_be_spoilt(spoilt, is_late):
    load = run(*(sent(float(i), sent_s=i + (0.11 if i < spoilt else 0.09), end_s=i + 1.0) for i in range(40)))
    assert record(one_load(load, end_s=50.0)).service.load.is_late == is_late


def test_waiting_for_a_turn_is_the_requests_and_not_the_clients_lateness():
    load = run(sent(0.0), sent(0.1, sent_s=1.0, due_s=1.0), **(OPEN | {"concurrency": 1}))
    found = record(one_load(load, served(0.0), served(0.1, start_s=1.0))).service
    assert found.load.lateness_s.max == 0.0
    assert found.e2e_s.max == pytest.approx(1.9)  # from when it was to be sent
    assert found.ttft_s.max == pytest.approx(1.15)


def test_work_of_the_client_before_it_calls_the_server_is_lateness():
    load = run(sent(0.0, end_s=2.0))
    assert record(one_load(load, served(0.0, start_s=1.0))).service.load.lateness_s.max == pytest.approx(1.0)


def test_an_engine_in_this_process_is_not_read():
    load = run(sent(0.0), sent(1.0), beats=((0.2, 0.9),))
    here = [dataclasses.replace(served(at_s), endpoint=None) for at_s in (0.0, 1.0)]
    assert not record(one_load(load, *here)).service.load.is_late


# --- which tokens are whose -------------------------------------------------------------------------------------------


def test_later_calls_of_a_request_count_from_their_own_start():
    load = run(sent(0.0, end_s=5.0))
    found = record(one_load(load, served(0.0), served(0.0, start_s=3.0, end_s=4.0))).service
    assert found.e2e_s.max == pytest.approx(1.0)
    assert found.ttft_s.max == pytest.approx(0.25)
    assert (found.goodput.good, found.goodput.attempted) == (1, 1)


def test_where_no_engine_is_observed_the_loads_own_times_hold():
    load = run(sent(0.0, end_s=0.5), sent(0.0, end_s=2.0), sent(0.5, end_s=0.6, failed=True))
    counts = tuple(Counts(output_tokens=10, requests=1, intended_s=at_s) for at_s in (0.0,))
    found = record(one_load(load, declared=counts), marker=limits(max_e2e_s=1.0))
    assert (found.service.e2e_s.count, found.service.e2e_s.max) == (2, 2.0)
    assert found.rounds[0].e2e_s == pytest.approx(1.25)
    assert (found.service.goodput.good, found.service.goodput.attempted) == (1, 3)


def test_declared_tokens_are_those_of_the_request_that_declared_them():
    load = run(sent(0.0, end_s=0.5), sent(0.1, end_s=2.0))
    counts = (Counts(output_tokens=10, intended_s=0.0), Counts(output_tokens=7, intended_s=0.1))
    assert record(one_load(load, declared=counts), marker=limits(max_e2e_s=1.0)).workload.accepted_tokens == 10
    elsewhere = (*counts, Counts(output_tokens=1))
    found = record(one_load(load, declared=elsewhere), marker=limits(max_e2e_s=1.0))
    assert (found.workload.output_tokens, found.workload.accepted_tokens) == (18, None)  # nobody knows whose the last one is


# --- goodput ----------------------------------------------------------------------------------------------------------


def test_goodput_counts_everything_that_was_sent():
    requests = [
        sent(0.0),  # good
        sent(0.1),  # good, with a wrong answer
        sent(0.2, end_s=3.2),  # too late
        sent(0.3),  # cut off
        sent(0.4, end_s=0.5, failed=True),  # refused
        sent(0.5, end_s=0.6, failed=True),  # failed before it called the server
        sent(0.6),  # the reply was whole, and the test's own function didn't like it
    ]
    requests[6] = dataclasses.replace(requests[6], failed=True)
    seen = [served(0.0), served(0.1), served(0.2, end_s=3.2), served(0.3, complete=False), failed(0.4, 0.5), served(0.6)]
    quality = Quality(value=6 / 7, metric="exact_match", samples=7, accepted=(True, False, True, True, True, True, True))
    found = record(one_load(run(*requests), *seen), marker=limits(max_e2e_s=2.0), quality=quality)
    assert (found.service.goodput.good, found.service.goodput.attempted) == (1, 7)
    assert found.service.goodput.requests_per_second == pytest.approx(1 / 10)
    assert found.workload.accepted_tokens == 8
    assert (found.service.load.requests, found.service.load.failed) == (7, 3)
    assert (found.workload.requests, found.workload.incomplete_requests) == (6, 2)
    assert found.workload.output_tokens == 5 * 8
    assert found.workload.prompt_tokens is None  # what became of the refused prompt isn't known
    assert found.service.e2e_s.count == 4  # neither the cut one nor the refused one has an end
    assert any(warning.startswith("4 of 7 requests failed or stopped early") for warning in found.warnings)


def test_quality_goes_by_the_order_of_the_list_not_by_who_was_first():
    load = run(sent(0.3), sent(0.1), sent(0.2))
    seen = [served(0.1, tokens=2), served(0.2, tokens=3), served(0.3, tokens=1)]
    quality = Quality(value=1 / 3, metric="exact_match", samples=3, accepted=(True, False, False))
    assert record(one_load(load, *seen), quality=quality).workload.accepted_tokens == 1


def test_a_list_of_another_length_tells_nothing():
    quality = Quality(value=1.0, metric="exact_match", samples=2, accepted=(True, True))
    found = record(one_load(run(sent(0.0)), served(0.0)), quality=quality)
    assert (found.service.goodput, found.workload.accepted_tokens) == (None, None)


def test_a_limit_on_a_time_that_was_not_seen_leaves_goodput_unknown():
    found = record(one_load(run(sent(0.0)), declared=(Counts(output_tokens=3, intended_s=0.0),)), marker=limits(max_ttft_s=1.0))
    assert found.service.goodput is None
    assert found.budgets[0].verdict == "not_measured"
    both = run(sent(0.0), sent(0.1, failed=True))
    counts = tuple(Counts(output_tokens=3, intended_s=at_s) for at_s in (0.0, 0.1))
    assert record(one_load(both, declared=counts), marker=limits(max_e2e_s=2.0)).service.goodput.good == 1


def test_one_token_has_no_further_token_to_wait_for():
    found = record(one_load(run(sent(0.0)), served(0.0, tokens=1)), marker=limits(max_tpot_s=0.001))
    assert found.service.goodput.good == 1


def test_a_run_that_broke_off_keeps_what_was_sent():
    unended = dataclasses.replace(run(sent(0.0)).sent[0], intended_s=0.5, end_s=None)
    found = record(one_load(run(sent(0.0), unended), served(0.0)))
    assert (found.service.goodput.good, found.service.goodput.attempted) == (1, 2)
    assert found.service.load.achieved_requests_per_second == pytest.approx(1.0)


# --- failed requests in the rest of the chain -------------------------------------------------------------------------


def test_a_failed_request_leaves_the_cost_of_the_others_known():
    config = {"model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 4}
    config |= {"intermediate_size": 128, "vocab_size": 100, "hidden_act": "silu"}
    good = dataclasses.replace(served(0.0), config=config)
    alone = record(one_load(run(sent(0.0)), good))
    assert alone.production.flops_per_token is not None
    bad = dataclasses.replace(failed(1.5, 1.6), config=config)
    both = record(one_load(run(sent(0.0), sent(1.5, end_s=1.6, failed=True)), good, bad))
    assert both.production.flops_per_token == pytest.approx(alone.production.flops_per_token)


def test_a_failed_request_is_no_shorter_answer():
    def one(start_s, is_bad):
        load = run(sent(start_s), sent(start_s + 2, failed=is_bad, end_s=start_s + 3))
        second = failed(start_s + 2, start_s + 3) if is_bad else served(start_s + 2, prompts=None)
        return one_load(load, served(start_s, prompts=None), second, start_s=start_s, end_s=start_s + 5)

    seen = dataclasses.replace(observation(one(0.0, False), one(10.0, True), one(20.0, False)), same_work=True)
    found = evaluate(seen, IDENTITY, Marker(), context(), {})
    assert "length_changed" not in found.conditions.flags
    assert (found.workload.requests, found.workload.incomplete_requests, found.workload.output_tokens_min) == (6, 1, 0)


def test_the_schema_knows_that_a_late_client_leaves_times_unknown():
    late = record(one_load(LATE_TO_SEND, served(0.0, start_s=0.2), served(1.0)))
    in_time = record(one_load(run(sent(0.0)), served(0.0)))
    assert not is_valid(dataclasses.replace(late, service=dataclasses.replace(in_time.service, load=late.service.load)))
