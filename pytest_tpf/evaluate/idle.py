"""Was the machine idle, and what did it draw? Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from pytest_tpf.evaluate.context import IdlePower
from pytest_tpf.measure.sharing import COMPUTES
from pytest_tpf.measure.trace import Recording, Span
from pytest_tpf.measure.window import ACCELERATOR_PREFIXES, window_energy
from pytest_tpf.meters.protocol import BoardProcess
from pytest_tpf.uncertainty import COVERAGE_95

BUSY_HOST = 0.10
"""Share of the host's CPU time from which on it isn't idle."""

UNSTEADY = 0.10
"""Relative difference of power between the halves of the idle window from which on a load is still fading, or one has begun."""

_UNSTEADY_TEXT = "power had not settled"


def idle_power(recording: Recording, window: Span, busy_share: float | None, processes: Iterable[BoardProcess]) -> IdlePower:
    """Idle power over ``window``; unknown where anything worked, or power was still changing.

    ``busy_share``: of the host's CPU time in the window, None where it can't be told; it matters where a processor is metered.
    """
    domains = [trace.channel.domain for trace in recording.traces if trace.channel.energy]
    if reason := _why_not(recording, window, busy_share, processes, domains):
        return IdlePower(total_w=None, reason=reason)
    start, end = window
    whole = window_energy(recording, [window])
    if whole.joules is None:
        return IdlePower(total_w=None, reason="the meters could not tell the idle window")
    total_w, apart_w = whole.joules / (end - start), _apart_w(recording, window)
    if apart_w > UNSTEADY * total_w and apart_w > 2 * whole.spread.expanded / (end - start):
        return IdlePower(total_w=None, reason=f"{_UNSTEADY_TEXT}: it moved by {apart_w:.3g} W while idle power was taken")
    # The halves are two samples of the same: half their distance is the standard uncertainty of their mean.
    uncertainty_w = math.hypot(whole.spread.expanded / (end - start), COVERAGE_95 * apart_w / 2)
    return IdlePower(total_w=total_w, uncertainty_w=uncertainty_w)


def may_settle(idle: IdlePower) -> bool:
    """Whether idle power is unknown only because power was still changing: a moment later it may be known."""
    return idle.reason is not None and idle.reason.startswith(_UNSTEADY_TEXT)


def _why_not(
    recording: Recording, window: Span, busy_share: float | None, processes: Iterable[BoardProcess], domains: Sequence[str]
) -> str | None:
    used = max((status.utilization or 0.0 for status in recording.statuses if status.t >= window[0]), default=0.0)
    if used > 0:
        return f"an accelerator was {used:.0%} busy while idle power was taken"
    computing = next((process for process in processes if (process.sm_utilization or 0.0) > COMPUTES), None)
    if computing is not None:
        return f"{computing.name or 'a process'} (pid {computing.pid}) computed on {computing.domain} while idle power was taken"
    has_host = any(not domain.startswith(ACCELERATOR_PREFIXES) for domain in domains)
    if has_host and busy_share is not None and busy_share > BUSY_HOST:
        return f"the host was {busy_share:.0%} busy while idle power was taken"
    return None


def _apart_w(recording: Recording, window: Span) -> float:
    """How far the mean powers of the window's halves lie apart (W); 0 where the meters can't tell halves."""
    start, end = window
    middle = 0.5 * (start + end)
    halves = [window_energy(recording, [half]).joules for half in ((start, middle), (middle, end))]
    known = [joules / (middle - start) for joules in halves if joules is not None]
    return abs(known[1] - known[0]) if len(known) == 2 else 0.0
