"""How a load was sent, and whether the client kept up with it. Pure.

The rule: a request was spoilt where the client was late by more than a tenth of its time to first token (of its whole time, where no first
token was seen), and a client that spoilt more than one request in twenty was late: then the 95th percentile is the client's.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterator, Sequence

from pytest_tpf.judge.statistics import distribution
from pytest_tpf.load.heartbeat import Beat
from pytest_tpf.load.seen import LoadRun, Sent
from pytest_tpf.observation import Observation
from pytest_tpf.records import Load

LATE = 0.10
"""Share of a request's time to first token by which the client may be late with it."""

SPOILT = 0.05
"""Share of requests with which the client may be later than that."""


def describe_load(observation: Observation) -> Load | None:
    """How the rounds' requests were sent; None where the test sent them itself."""
    runs = [one.load for one in observation.rounds if one.load is not None]
    if not runs:
        return None
    sent = [each for run in runs for each in run.sent]
    first = runs[0]
    return Load(
        mode=first.mode,
        requests=len(sent),
        failed=sum(each.failed for each in sent),
        concurrency=first.concurrency,
        peak_concurrency=max(map(_peak, runs)),
        arrival=first.arrival,
        seed=first.seed,
        offered_requests_per_second=_offered(first),
        achieved_requests_per_second=_achieved(runs),
        lateness_s=distribution([late_s for late_s, _ in _lateness(runs)]),
        is_late=spoilt_share(observation) > SPOILT,
    )


def is_client_late(observation: Observation) -> bool:
    """Whether the times say how slow the client was, not the server."""
    return spoilt_share(observation) > SPOILT


def spoilt_share(observation: Observation) -> float:
    """Share of the requests with a time that the client was too late with (0..1)."""
    runs = [one.load for one in observation.rounds if one.load is not None]
    spoilt = [late_s > LATE * time_s for late_s, time_s in _lateness(runs) if time_s is not None]
    return sum(spoilt) / len(spoilt) if spoilt else 0.0


def _lateness(runs: Sequence[LoadRun]) -> Iterator[tuple[float, float | None]]:
    """For each request: by how much the client was late with it (s), and the time that this would spoil (s; None: it has none)."""
    for run in runs:
        dues_s = [due_s for due_s, _ in run.beats]
        for sent in run.sent:
            began_s = min((request.start_s for request in sent.requests), default=sent.sent_s)
            late_s = max(0.0, began_s - sent.due_s)
            firsts_s = [request.first_token_s for request in sent.requests[:1] if request.first_token_s is not None]
            ends_s = [request.end_s for request in sent.requests] or ([sent.end_s] if sent.end_s is not None else [])
            if sent.is_read:
                late_s = max(late_s, *(_behind_s(run.beats, dues_s, at_s) for at_s in (*firsts_s, *ends_s)), 0.0)
            has_time = bool(ends_s) and not sent.failed
            yield late_s, (firsts_s[0] if firsts_s else max(ends_s)) - sent.intended_s if has_time else None


def _behind_s(beats: Sequence[Beat], dues_s: Sequence[float], at_s: float) -> float:
    """How late what was read at ``at_s`` may have been read: as late as the last beat that was due by then came (s)."""
    place = bisect.bisect_right(dues_s, at_s) - 1
    return beats[place][1] - beats[place][0] if place >= 0 else 0.0


def _peak(run: LoadRun) -> int:
    """The most requests under way at a time; one that ends when another is sent makes room for it."""
    changes = [(each.sent_s, 1) for each in run.sent] + [(each.end_s, -1) for each in run.sent if each.end_s is not None]
    return max(itertools.accumulate(change for _, change in sorted(changes)), default=0)


def _offered(run: LoadRun) -> float | None:
    """The schedule's rate as it was drawn (requests/s); that asked for, where one request makes none."""
    if run.mode == "closed":
        return None
    lasts_s = max((each.intended_s for each in run.sent), default=0.0) - min((each.intended_s for each in run.sent), default=0.0)
    return (len(run.sent) - 1) / lasts_s if lasts_s > 0 else run.rate


def _achieved(runs: Sequence[LoadRun]) -> float | None:
    """Requests that ended, over the time from the first one sent to the last one ended (requests/s)."""
    ends_s = [[each.end_s for each in run.sent if each.end_s is not None] for run in runs]
    lasts_s = sum(max(ends) - min(each.sent_s for each in run.sent) for run, ends in zip(runs, ends_s, strict=True) if ends)
    return sum(map(len, ends_s)) / lasts_s if lasts_s > 0 else None


def why_late(observation: Observation) -> str:
    """What was seen of a late client, for people."""
    runs = [one.load for one in observation.rounds if one.load is not None]
    worst_s = max((late_s for late_s, _ in _lateness(runs)), default=0.0)
    return (
        f"the client was late by more than {LATE:.0%} of the time to first token (or of the whole request) with "
        f"{spoilt_share(observation):.0%} of its requests, at worst by {worst_s:.2g} s: the times are its own and not the server's"
    )


__all__ = ["LATE", "SPOILT", "Sent", "describe_load", "is_client_late", "spoilt_share", "why_late"]
