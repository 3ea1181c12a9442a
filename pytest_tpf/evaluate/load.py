"""How a load was sent, and whether the client kept up with it. Pure.

The rule: a request is spoilt where the client was late to send it, or to read its first token, by more than a tenth of its time to first
token, or to read its end by more than a tenth of its whole time. A client that spoils more than one request in twenty is late: then the
95th percentile is the client's.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterator, Sequence

from pytest_tpf.judge.statistics import distribution
from pytest_tpf.load.heartbeat import Beat
from pytest_tpf.load.seen import LoadRun
from pytest_tpf.observation import Observation
from pytest_tpf.records import Load, record

LATE = 0.10
"""Share of a request's time by which the client may be late with what ends it: the first token, or all of it."""

SPOILT = 0.05
"""Share of requests with which the client may be later than that."""


@record
class Lateness:
    """By how much the client was late with each request (s), and what share of those that have a time it spoilt (0..1)."""

    seconds: tuple[float, ...]
    spoilt: float

    @property
    def is_too_much(self) -> bool:
        """Whether the times say how slow the client was, not the server."""
        return self.spoilt > SPOILT

    @property
    def text(self) -> str:
        """What was seen of a late client, for people."""
        return (
            f"the client was late by more than {LATE:.0%} of the time to first token, or of the whole request, with {self.spoilt:.0%} "
            f"of its requests, at worst by {max(self.seconds, default=0.0):.2g} s: their times are its own, and are left out"
        )


def client_lateness(observation: Observation) -> Lateness:
    """How late the client of the rounds' loads was; nobody is late where there was no load."""
    found = [pair for run in _runs(observation) for pair in _lateness(run)]
    known = [is_spoilt for _, is_spoilt in found if is_spoilt is not None]
    return Lateness(seconds=tuple(late_s for late_s, _ in found), spoilt=sum(known) / len(known) if known else 0.0)


def is_client_late(observation: Observation) -> bool:
    """Whether the times of its requests say how slow the client was, not the server."""
    return client_lateness(observation).is_too_much


def describe_load(observation: Observation) -> Load | None:
    """How the rounds' requests were sent; None where the test sent them itself."""
    runs = _runs(observation)
    if not runs:
        return None
    sent, first, late = [each for run in runs for each in run.sent], runs[0], client_lateness(observation)
    return Load(
        mode=first.mode,
        requests=len(sent),
        failed=sum(each.failed for each in sent),
        concurrency=first.concurrency,
        peak_concurrency=max(map(peak_concurrency, runs)),
        arrival=first.arrival,
        seed=first.seed,
        offered_requests_per_second=_offered(first),
        achieved_requests_per_second=_achieved(runs),
        lateness_s=distribution(late.seconds),
        is_late=late.is_too_much,
    )


def peak_concurrency(run: LoadRun) -> int:
    """The most requests under way at a time; one that ends when another is sent makes room for it."""
    changes = [(each.sent_s, 1) for each in run.sent] + [(each.end_s, -1) for each in run.sent if each.end_s is not None]
    return max(itertools.accumulate(change for _, change in sorted(changes)), default=0)


def _runs(observation: Observation) -> list[LoadRun]:
    return [one.load for one in observation.rounds if one.load is not None]


def _lateness(run: LoadRun) -> Iterator[tuple[float, bool | None]]:
    """For each request: by how much the client was late with it (s), and whether that spoilt its times (None: it has none)."""
    dues_s = [due_s for due_s, _ in run.beats]
    for sent in run.sent:
        began_s = min((request.start_s for request in sent.requests), default=sent.sent_s)
        first_s = sent.requests[0].first_token_s if sent.requests else None
        end_s = max((request.end_s for request in sent.requests), default=sent.end_s)
        to_send_s = max(0.0, began_s - sent.due_s)
        # What the client was late with, by the instant that it moved.
        instants_s = [at_s for at_s in (first_s, end_s) if at_s is not None]
        moved = [(at_s, max(to_send_s, _behind_s(run.beats, dues_s, at_s) if sent.is_read else 0.0)) for at_s in instants_s]
        is_spoilt = any(late_s > LATE * (at_s - sent.intended_s) for at_s, late_s in moved)
        yield max((late_s for _, late_s in moved), default=to_send_s), None if sent.failed or not moved else is_spoilt


def _behind_s(beats: Sequence[Beat], dues_s: Sequence[float], at_s: float) -> float:
    """How late what was read at ``at_s`` may have been read: as late as the last beat that was due by then came (s)."""
    place = bisect.bisect_right(dues_s, at_s) - 1
    return beats[place][1] - beats[place][0] if place >= 0 else 0.0


def _offered(run: LoadRun) -> float | None:
    """The schedule's rate as it was drawn (requests/s); that asked for, where one request makes none."""
    if run.mode == "closed":
        return None
    intended_s = [each.intended_s for each in run.sent]
    lasts_s = max(intended_s, default=0.0) - min(intended_s, default=0.0)
    return (len(intended_s) - 1) / lasts_s if lasts_s > 0 else run.rate


def _achieved(runs: Sequence[LoadRun]) -> float | None:
    """Requests that ended, over the time from the first one sent to the last one ended (requests/s)."""
    ends_s = [[each.end_s for each in run.sent if each.end_s is not None] for run in runs]
    lasts_s = sum(max(ends) - min(each.sent_s for each in run.sent) for run, ends in zip(runs, ends_s, strict=True) if ends)
    return sum(map(len, ends_s)) / lasts_s if lasts_s > 0 else None
