"""Step times: the arithmetic of events, and requests from steps."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_tpf.engines._clock import host_times_s
from pytest_tpf.engines._requests import requests_of

gaps_s = st.lists(st.floats(1e-5, 10.0), min_size=1, max_size=20)


@given(anchor_s=st.floats(0, 1e6), gaps=gaps_s)
def test_events_before_the_anchor_keep_their_distances(anchor_s, gaps):
    before_s = [sum(gaps[i:]) for i in range(len(gaps))]
    times = host_times_s(anchor_s, [1000 * s for s in before_s])
    assert times == sorted(times)
    assert all(anchor_s - t == pytest.approx(s, rel=1e-6, abs=1e-9 + anchor_s * 1e-15) for t, s in zip(times, before_s, strict=True))


steps = st.lists(st.tuples(st.floats(0.001, 1.0), st.integers(1, 4)), min_size=1, max_size=12)


@given(steps=steps, data=st.data(), per_request=st.integers(1, 3), prompts=st.integers(1, 3))
def test_a_request_ends_at_the_step_that_made_its_last_token(steps, data, per_request, prompts):
    times = [sum(gap for gap, _ in steps[: i + 1]) for i in range(len(steps))]
    totals = [sum(new for _, new in steps[: i + 1]) for i in range(len(steps))]
    tokens = st.lists(st.integers(0, totals[-1]), min_size=per_request * prompts, max_size=per_request * prompts)
    rows = data.draw(tokens)
    requests = requests_of(
        start_s=0.0,
        end_s=times[-1] + 1,
        step_times_s=times,
        step_tokens=totals,
        row_tokens=rows,
        prompt_tokens=list(range(prompts)),
        rows_per_request=per_request,
        complete=True,
    )
    assert sum(r.output_tokens for r in requests) == sum(rows)
    assert [r.prompt_tokens for r in requests] == list(range(prompts))
    for index, request in enumerate(requests):
        longest = max(rows[index * per_request : (index + 1) * per_request])
        if longest == 0:
            assert (request.first_token_s, request.chunk_times_s, request.end_s) == (None, (), times[-1] + 1)
        else:
            needed = next(i for i, total in enumerate(totals) if total >= longest)
            assert request.end_s == times[needed]
            assert request.chunk_times_s == tuple(times[: needed + 1])
            assert request.first_token_s == times[0]


def test_without_step_times_a_request_lasts_as_long_as_the_call():
    (request,) = requests_of(
        start_s=1.0, end_s=3.0, step_times_s=(), step_tokens=(), row_tokens=[4], prompt_tokens=None, rows_per_request=1, complete=True
    )
    assert (request.output_tokens, request.end_s, request.first_token_s, request.prompt_tokens) == (4, 3.0, None, None)
