"""Loads: the schedule, what may be asked, and threads and tasks that keep to both. Counted, never timed."""

from __future__ import annotations

import asyncio
import functools
import itertools
import math
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_tpf.engines.intent import intended_s
from pytest_tpf.load.driving import straight_through
from pytest_tpf.load.heartbeat import beating
from pytest_tpf.load.plan import prepare
from pytest_tpf.load.schedule import send_times_s
from pytest_tpf.load.tasks import send_from_tasks
from pytest_tpf.load.threads import send_from_threads

SEEDS = st.integers(-(2**40), 2**40)
RATES = st.floats(0.01, 1e4)


# --- the schedule -----------------------------------------------------------------------------------------------------


@given(st.integers(1, 50), RATES, st.sampled_from(["poisson", "constant"]), SEEDS)
def test_a_schedule_is_in_order_starts_at_once_and_follows_from_its_seed(count, rate, arrival, seed):
    times_s = send_times_s(count, rate, arrival, seed)
    assert len(times_s) == count
    assert times_s[0] == 0.0
    assert times_s == sorted(times_s)
    assert times_s == send_times_s(count, rate, arrival, seed)
    assert times_s == send_times_s(count + 3, rate, arrival, seed)[:count]


@given(RATES, SEEDS)
def test_random_gaps_have_the_mean_and_the_spread_of_their_rate(rate, seed):
    times_s = send_times_s(2001, rate, "poisson", seed)
    gaps = [rate * (later - earlier) for earlier, later in itertools.pairwise(times_s)]
    assert sum(gaps) / 2000 == pytest.approx(1.0, abs=7 / math.sqrt(2000))  # seven standard deviations
    assert sum(gap > math.log(2) for gap in gaps) == pytest.approx(1000, abs=7 * math.sqrt(500))  # the median of an exponential


@given(RATES, st.integers(2, 200))
def test_constant_gaps_are_all_alike(rate, count):
    times_s = send_times_s(count, rate, "constant", 0)
    assert [rate * at_s for at_s in times_s] == pytest.approx(list(range(count)))


def test_seeds_differ():
    assert send_times_s(5, 10.0, "poisson", 1) != send_times_s(5, 10.0, "poisson", 2)


# --- what may be asked ------------------------------------------------------------------------------------------------

NOTHING_ASKED = {"concurrency": None, "rate": None, "arrival": "poisson", "seed": 0, "max_in_flight": None}


def job(requests, send=None, **asked):
    return prepare(requests, send, **(NOTHING_ASKED | asked))


async def answer(request=None):
    return request


@pytest.mark.parametrize(
    ("requests", "asked", "said"),
    [
        ([print], {}, "needs concurrency=N (so many at a time) or rate=R (so many a second), and not both"),
        ([print], {"concurrency": 1, "rate": 1.0}, "and not both"),
        ([print], {"concurrency": 0}, "concurrency=...) needs a whole number from 1 up, not 0"),
        ([print], {"concurrency": True}, "not True"),
        ([print], {"rate": 0}, "rate=...) needs a number of requests per second above 0, not 0"),
        ([print], {"rate": math.inf}, "not inf"),
        ([print], {"rate": 1, "arrival": "gamma"}, "needs one of poisson, constant, not 'gamma'"),
        ([print], {"rate": 1, "seed": 1.5}, "seed=...) needs a whole number, not 1.5"),
        ([print], {"rate": 1, "max_in_flight": 0}, "max_in_flight=...) needs a whole number from 1 up, not 0"),
        ([print], {"concurrency": 1, "max_in_flight": 2}, "max_in_flight=...) goes with rate=..."),
        ([], {"concurrency": 1}, "there are no requests"),
        ([print, "12+34="], {"concurrency": 1}, "request 1 is '12+34=', which can't be called: with send=..."),
        ([print, answer], {"concurrency": 1}, "some requests are coroutine functions and some are not"),
    ],
)
def test_a_mistake_is_one_line(requests, asked, said):
    with pytest.raises(pytest.fail.Exception) as caught:
        job(requests, **asked)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


class Answering:
    async def __call__(self):
        return "called"


@pytest.mark.parametrize("call", [answer, functools.partial(functools.partial(answer), 1), Answering()])
def test_what_gives_a_coroutine_is_known_as_such(call):
    assert job([call], concurrency=1).is_async


# --- threads and tasks ------------------------------------------------------------------------------------------------


class Counter:
    """Requests that count themselves: how many are under way, at most, and which were sent, in order."""

    def __init__(self, wait=lambda: None):
        self.most = self.now = 0
        self.sent, self.intents = [], []
        self._wait, self._lock = wait, threading.Lock()

    def begin(self, request):
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
            self.sent.append(request)
            self.intents.append(intended_s())

    def end(self):
        with self._lock:
            self.now -= 1

    def send(self, request):
        self.begin(request)
        self._wait()
        self.end()
        return -request

    async def send_async(self, request):
        self.begin(request)
        await asyncio.sleep(0)
        self.end()
        return -request


def sent_by_threads(counter, requests, **asked):
    runs = []
    return send_from_threads(job(requests, counter.send, **asked), runs.append), *runs


def sent_by_tasks(counter, requests, **asked):
    runs = []
    return asyncio.run(send_from_tasks(job(requests, counter.send_async, **asked), runs.append)), *runs


BOTH = pytest.mark.parametrize("sent_by", [sent_by_threads, sent_by_tasks])
HOWS = st.one_of(
    st.fixed_dictionaries({"concurrency": st.integers(1, 6)}),
    st.fixed_dictionaries({"rate": st.just(5000.0), "seed": SEEDS, "max_in_flight": st.integers(1, 6)}),
    st.fixed_dictionaries({"rate": st.just(5000.0), "arrival": st.just("constant"), "max_in_flight": st.none()}),
)


@BOTH
@settings(max_examples=15, deadline=None)
@given(how=HOWS, count=st.integers(1, 12))
def test_every_request_is_sent_once_never_more_at_a_time_and_replies_keep_their_order(sent_by, how, count):
    counter = Counter()
    replies, run = sent_by(counter, range(count), **how)
    assert replies == [-request for request in range(count)]
    assert sorted(counter.sent) == list(range(count))
    assert counter.most <= (how.get("concurrency") or how.get("max_in_flight") or count)
    assert len({sent.intended_s for sent in run.sent}) == len(run.sent) == count
    assert {sent.intended_s for sent in run.sent} == set(counter.intents)
    assert all(sent.intended_s <= sent.due_s <= sent.sent_s <= sent.end_s and not sent.failed for sent in run.sent)
    if "rate" in how:
        assert [sent.intended_s for sent in run.sent] == sorted(sent.intended_s for sent in run.sent)


def test_so_many_are_kept_under_way():
    together = threading.Barrier(4, timeout=60)  # opens only where four are under way at once
    counter = Counter(together.wait)
    replies, run = sent_by_threads(counter, range(12), concurrency=4)
    assert replies == [-request for request in range(12)]
    assert counter.most == 4
    assert run.concurrency == 4


def test_a_schedule_does_not_wait_for_replies():
    together = threading.Barrier(10, timeout=60)
    counter = Counter(together.wait)
    sent_by_threads(counter, range(10), rate=2000.0)
    assert counter.most == 10


def test_tasks_wait_for_each_other_in_one_loop():
    async def run():
        arrived = asyncio.Event()
        waiting = []

        async def send(request):
            waiting.append(request)
            if len(waiting) == 5:
                arrived.set()
            await arrived.wait()
            return request

        return await send_from_tasks(job(range(5), send, rate=2000.0), lambda run: None)

    assert asyncio.run(run()) == list(range(5))


def failing(*wrong):
    def send(request):
        if request in wrong:
            raise ValueError(request)
        return request

    async def send_async(request):
        return send(request)

    return send, send_async


def through(way, requests, send, keep=lambda run: None, **asked):
    """By threads, by tasks, or straight through."""
    plain, awaited = send
    match way:
        case "threads":
            return send_from_threads(job(requests, plain, **asked), keep)
        case "tasks":
            return asyncio.run(send_from_tasks(job(requests, awaited, **asked), keep))
        case "off":
            return straight_through(job(requests, plain, **asked))
        case _:
            return asyncio.run(straight_through(job(requests, awaited, **asked)))


WAYS = pytest.mark.parametrize("way", ["threads", "tasks", "off", "off, awaited"])


@WAYS
@pytest.mark.parametrize("how", [{"concurrency": 2}, {"rate": 5000.0}])
def test_a_request_that_raised_has_its_exception_in_its_place(way, how):
    replies = through(way, range(5), failing(1, 3), **how)
    assert [reply for reply in replies if isinstance(reply, int)] == [0, 2, 4]
    assert [replies[place].args for place in (1, 3)] == [(1,), (3,)]


@WAYS
def test_where_all_raised_the_first_is_raised(way):
    with pytest.raises(ValueError, match=r"^0$"):
        through(way, range(3), failing(0, 1, 2), concurrency=2)


@WAYS
def test_what_is_no_reply_ends_the_run(way):
    begun = []

    def send(request):
        begun.append(request)
        if request == 1:
            pytest.skip("the server is not made for this")
        return request

    async def send_async(request):
        return send(request)

    runs = []
    with pytest.raises(pytest.skip.Exception, match="not made for this"):
        through(way, range(50), (send, send_async), runs.append, concurrency=1)
    assert begun == [0, 1]
    assert all([sent.end_s is None for sent in run.sent] == [False, True] for run in runs)


@pytest.mark.parametrize("way", ["threads", "off"])
def test_a_lambda_around_a_coroutine_function_is_told(way):
    with pytest.raises(pytest.fail.Exception, match="request 0 gave a coroutine although"):
        through(way, range(3), (lambda request: answer(request), None), concurrency=1)


def test_a_request_that_cancels_itself_has_failed_and_the_others_go_on():
    async def send(request):
        if request == 1:
            asyncio.current_task().cancel()
        await asyncio.sleep(0)
        if request == 2:
            raise asyncio.CancelledError
        return request

    replies = through("tasks", range(4), (None, send), concurrency=1)
    assert [replies[0], replies[3]] == [0, 3]
    assert [str(reply) for reply in replies[1:3]] == ["the request cancelled itself"] * 2


def test_the_tests_end_is_the_loads_end():
    begun, ended = [], []

    async def send(request):
        begun.append(request)
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append(request)

    async def run():
        load = asyncio.create_task(send_from_tasks(job(range(9), send, concurrency=3), lambda run: None))
        while len(begun) < 3:
            await asyncio.sleep(0)
        load.cancel()
        with pytest.raises(asyncio.CancelledError):
            await load

    asyncio.run(run())
    assert sorted(begun) == sorted(ended) == [0, 1, 2]


# --- the heartbeat ----------------------------------------------------------------------------------------------------


def test_a_blocked_loop_misses_its_beats_and_tells_for_how_long():
    async def block():
        beats = []
        with beating(beats, asyncio.get_running_loop().call_soon_threadsafe):
            while not beats:
                await asyncio.sleep(0)
            start_s = time.perf_counter()
            time.sleep(0.2)
            end_s = time.perf_counter()
        return beats, start_s, end_s

    beats, start_s, end_s = asyncio.run(block())
    assert any(due_s < start_s + 0.1 and came_s >= end_s for due_s, came_s in beats)
    assert [due_s for due_s, _ in beats] == sorted(due_s for due_s, _ in beats)
    assert all(later > came_s for (_, came_s), (later, _) in itertools.pairwise(beats))


def test_the_heart_of_threads_beats_on_its_own():
    came, beats = threading.Event(), []
    with beating(beats):
        while len(beats) < 3:
            came.wait(0.001)
    assert all(came_s >= due_s for due_s, came_s in beats)
    assert not [thread for thread in threading.enumerate() if thread.name == "tpf-heartbeat"]
