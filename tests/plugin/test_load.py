"""``tpf.load`` as users call it: from threads and from an event loop, with an engine observed, a server asked, or nobody watching."""

from __future__ import annotations

import pytest

from tests.served import sse

SECONDS = 0.8
"""How long a request sleeps where its times matter: a tenth of it is more than a busy machine keeps a thread waiting."""


def test_threads_are_observed_and_rounds_repeat_the_list(suite):
    suite.run("""
        @pytest.mark.tpf(rounds=2, warmup=1)
        def test_it(tpf, model):
            sent = []
            def ask(request):
                sent.append(request)
                model.generate(tokens=1 + request, seconds=0.02)
                return f"answer {request}"
            assert tpf.load(range(6), ask, concurrency=3) == [f"answer {request}" for request in range(6)]
            assert sorted(sent) == sorted(3 * list(range(6)))
            tpf.quality([request != 5 for request in range(6)], metric="exact_match")
    """).assert_outcomes(passed=1)
    test = suite.test()
    workload, load = test["workload"], test["service"]["load"]
    assert (workload["engine"], workload["token_source"], workload["calls_per_round"]) == ("toy", "engine", 1)
    assert (workload["rounds"], workload["warmup_rounds"], workload["requests"]) == (2, 1, 12)
    assert (workload["output_tokens"], workload["accepted_tokens"], workload["prompt_tokens"]) == (2 * 21, 2 * 15, 12 * 3)
    assert (load["mode"], load["requests"], load["failed"], load["concurrency"]) == ("closed", 12, 0, 3)
    assert 1 <= load["peak_concurrency"] <= 3
    assert [load[name] for name in ("arrival", "seed", "offered_requests_per_second")] == [None, None, None]
    assert load["lateness_s"]["count"] == 12
    assert test["energy"]["it_j"] > 0


def test_goodput_is_of_all_that_was_sent(suite):
    suite.run(f"""
        import time

        @pytest.mark.tpf(max_e2e_s={2 * SECONDS}, min_quality=0.5)
        def test_it(tpf):
            def ask(request):
                time.sleep({SECONDS} * (3 if request == 2 else 1))
                if request == 5:
                    raise ConnectionError("refused")
                tpf.count(output_tokens=10, prompt_tokens=4)
                return request
            replies = tpf.load(range(8), ask, concurrency=8)
            assert isinstance(replies[5], ConnectionError)
            assert replies[:5] + replies[6:] == [0, 1, 2, 3, 4, 6, 7]
            tpf.quality([reply != 7 for reply in replies])
    """).assert_outcomes(failed=1)  # the slow one is the 95th percentile
    test = suite.test()
    service = test["service"]
    assert (service["load"]["is_late"], service["load"]["failed"], service["load"]["peak_concurrency"]) == (False, 1, 8)
    assert (service["goodput"]["good"], service["goodput"]["attempted"]) == (5, 8)
    assert service["goodput"]["requests_per_second"] == pytest.approx(5 / service["duration_s"])
    assert service["e2e_s"]["count"] == 7
    assert service["e2e_s"]["min"] >= SECONDS
    assert test["workload"]["accepted_tokens"] == 50
    assert [budget["verdict"] for budget in test["budgets"]] == ["fail", "pass"]
    assert any(warning.startswith("1 of 8 requests failed or stopped early") for warning in test["warnings"])


def test_a_client_that_blocks_its_loop_is_not_the_servers_fault(suite):
    result = suite.run("""
        import asyncio, time

        @pytest.mark.tpf(max_e2e_s=3600, max_joules=1e6)
        @pytest.mark.parametrize("how", [{"concurrency": 4}, {"rate": 100, "seed": 7}], ids=["closed", "open"])
        @pytest.mark.asyncio
        async def test_it(tpf, how):
            async def ask(request):
                await asyncio.sleep(0.02)
                time.sleep(0.2)  # the others can't read their replies meanwhile
                tpf.count(output_tokens=10)
                return -request
            assert await tpf.load(range(8), ask, **how) == [-request for request in range(8)]
    """)
    result.assert_outcomes(passed=2)
    assert "compare with care: client_late (2 tests)" in result.stdout.str()
    for test in suite.tests().values():
        service = test["service"]
        assert service["load"]["is_late"]
        assert service["load"]["lateness_s"]["max"] >= 0.1
        assert [service[name] for name in ("ttft_s", "tpot_s", "inter_chunk_s", "e2e_s", "goodput")] == [None] * 5
        assert "client_late" in test["conditions"]["flags"]
        assert test["energy"]["it_j"] > 0
        assert test["workload"]["output_tokens"] == 80
        budgets = {budget["metric"]: (budget["verdict"], budget["reason"] or "") for budget in test["budgets"]}
        assert budgets["joules"][0] == "pass"
        assert budgets["e2e_p95_s"][0] == "not_measured"
        assert budgets["e2e_p95_s"][1].startswith("client_late")
    load = suite.tests()["test_it[open]"]["service"]["load"]
    assert (load["mode"], load["arrival"], load["seed"]) == ("open", "poisson", 7)
    assert load["offered_requests_per_second"] > load["achieved_requests_per_second"]


ASKING = """
    openai = pytest.importorskip("openai")

    def words(reply):
        return "".join(chunk.choices[0].delta.content or "" for chunk in reply if chunk.choices)

    def ask(client, name):
        return client.chat.completions.create(model=name, messages=[{"role": "user", "content": "hi"}], stream=True)

    @pytest.fixture
    def client():
        with openai.OpenAI(base_url="URL", api_key="none", max_retries=0) as made:
            yield made
"""


def by_name(body):
    """What is asked for is the model's name: how many tokens, and what goes wrong."""
    tokens, _, trouble = body["model"].partition(" ")
    if trouble == "refused":
        return sse.error(500)
    if trouble == "cut":
        return sse.cut_off(["a"])
    answer = sse.transformers_serve([f"{tokens} "] * 3, output=int(tokens))
    return sse.Answer(events=answer.events, delay_s=0.2 if trouble == "slow" else 0.0)


@pytest.fixture
def server():
    pytest.importorskip("openai")
    with sse.scripted(script=by_name) as running:
        yield running


def test_a_server_is_asked_by_a_schedule(suite, server):
    result = suite.run(
        ASKING.replace("URL", server.url)
        + """
    @pytest.mark.tpf
    def test_some(tpf, client):
        names = ["1 slow", "2", "4 refused", "8 cut", "16", "32"]
        replies = tpf.load(names, lambda name: words(ask(client, name)), rate=50.0, arrival="constant")
        assert isinstance(replies[2], openai.InternalServerError)
        assert [reply for reply in replies if isinstance(reply, str)] == ["1 1 1 ", "2 2 2 ", "a", "16 16 16 ", "32 32 32 "]
        tpf.quality([name != "16" for name in names], metric="exact_match")

    @pytest.mark.tpf
    def test_none(tpf, client):
        tpf.load(["1 refused"] * 3, lambda name: words(ask(client, name)), concurrency=1)
    """
    )
    result.assert_outcomes(passed=1, failed=1)
    test = suite.tests()["test_some"]
    workload, load = test["workload"], test["service"]["load"]
    assert (workload["engine"], workload["requests"], workload["incomplete_requests"]) == ("openai", 6, 2)
    assert workload["accepted_tokens"] == 1 + 2 + 32  # by the list's order, though the first one ended last
    assert workload["prompt_tokens"] is None  # nobody knows what became of the refused one's
    assert (load["mode"], load["requests"], load["failed"], load["arrival"], load["seed"]) == ("open", 6, 1, "constant", None)
    assert load["offered_requests_per_second"] == pytest.approx(50.0, rel=1e-3)
    assert "InternalServerError" in result.stdout.str()  # the first word of a server that refuses every request
    test = suite.tests()["test_none"]
    assert (test["outcome"], test["service"]["load"]["requests"], test["service"]["load"]["failed"]) == ("failed", 3, 3)
    assert (test["workload"]["requests"], test["workload"]["output_tokens"]) == (3, 0)
    assert test["service"]["e2e_s"] is None


REPLIES = """
    import asyncio

    def check(replies):
        assert [reply for reply in replies if isinstance(reply, int)] == [0, 1, 3]
        assert isinstance(replies[2], KeyError)

    def test_threads(tpf):
        def ask(request):
            tpf.count(output_tokens=1)
            return {0: 0, 1: 1, 3: 3}[request]
        check(tpf.load(range(4), ask, rate=500.0, max_in_flight=2))

    @pytest.mark.asyncio
    async def test_tasks(tpf):
        async def ask(request):
            await asyncio.sleep(0)
            tpf.count(output_tokens=1)
            return {0: 0, 1: 1, 3: 3}[request]
        check(await tpf.load(range(4), ask, concurrency=2))

    def test_calls(tpf):
        def ask():
            tpf.count(output_tokens=1)
            return 1
        assert tpf.load([ask, ask], concurrency=2) == [1, 1]

    def test_both(tpf): tpf.load([print], concurrency=1, rate=1.0)

    def test_lambda(tpf):
        async def ask(): pass
        tpf.load([lambda: ask()], concurrency=1)

    def test_twice(tpf):
        tpf.load([lambda: tpf.count(output_tokens=1)], concurrency=1)
        tpf.load([lambda: 1], concurrency=1)
"""


def test_replies_come_in_order_with_exceptions_in_their_places_and_misuse_is_one_line(suite):
    result = suite.run(REPLIES)
    result.assert_outcomes(passed=3, failed=3)
    said = result.stdout.str()
    assert "tpf: load(...) needs concurrency=N (so many at a time) or rate=R (so many a second), and not both" in said
    assert "one test is one measurement" in said
    assert "request 0 gave a coroutine although it is no coroutine function" in said
    assert "Traceback" not in said


def test_with_the_plugin_off_they_are_the_same(suite):
    suite.run(REPLIES, "--tpf-off").assert_outcomes(passed=4, failed=2)  # used twice, it is no measurement that suffers
