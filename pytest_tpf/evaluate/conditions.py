"""Under which conditions a test was measured: what makes its figures comparable, or not. Pure.

Nothing here changes a figure. Each doubt is a code for programs and a sentence with its figures for people.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pytest_tpf.engines.protocol import Generation
from pytest_tpf.evaluate.context import Context
from pytest_tpf.evaluate.energy import Measured
from pytest_tpf.evaluate.load import Lateness, client_lateness
from pytest_tpf.evaluate.requests import requests_of, tpot_s, ttft_s
from pytest_tpf.judge.statistics import median
from pytest_tpf.judge.steady import Drift, changing_head, drift
from pytest_tpf.judge.workload import FirstTokens, cached_prefill, lengths_differ
from pytest_tpf.measure.conditions import device_states
from pytest_tpf.measure.crosscheck import agreements, aliased, sees_part_of_time
from pytest_tpf.measure.gauge import SLOWEST_REFRESH_S, refresh_s
from pytest_tpf.measure.sharing import Sharing, sharing
from pytest_tpf.measure.trace import Span
from pytest_tpf.observation import MeasuredRound, Observation, busy_spans, counted_spans, length_s
from pytest_tpf.records import Conditions, DeviceState, record

HELD_BACK = 0.01
"""Share of the window held back by heat or a power brake from which on it counts as throttled."""

WARMED_C = 5.0
"""Change of a board's temperature over the window (degrees) from which on it is told: leakage, and so power, follows temperature."""

IDLE_MOVED = 0.10
"""Relative change of idle power within the run from which on it is told."""


@record
class Flag:
    """A doubt: its code (of ``reasons.FLAGS``) and what was seen."""

    code: str
    text: str


@record
class Described:
    """``conditions`` as reported, their ``warnings``, and where the energy is only an upper bound, why (``upper_bound``)."""

    conditions: Conditions
    warnings: tuple[str, ...]
    upper_bound: str | None


def describe_conditions(observation: Observation, context: Context, measured: Measured) -> Described:
    """Everything that is known of the conditions."""
    rounds = observation.rounds if observation.same_work else ()
    joules = _per_token([each.it_j for each in measured.rounds], measured) if rounds else []
    seconds = _per_token([counted_s(observation, each) for each in rounds], measured) if rounds else []
    statuses = context.recording.statuses if context.recording is not None else ()
    devices = device_states(statuses, counted_spans(observation))
    around = context.surroundings
    after = around.after or ()
    shared = sharing(after if around.before is None else around.before, after)  # unseen before: nobody is said to have come
    drifts = (drift(joules), drift(seconds))
    late = client_lateness(observation)
    flags = [
        *_of_client(late),
        *_of_rounds(observation, measured, joules, seconds, has_times=not late.is_too_much),
        *_of_drift(drifts),
        *_of_devices(devices),
        *_of_sensors(context, [(each.start_s, each.end_s) for each in rounds]),
        *_of_surroundings(shared, context),
    ]
    dropped = observation.dropped_rounds
    remarks = [f"the first {dropped} rounds still changed and were taken as warm-up"] if dropped else []
    return Described(
        conditions=Conditions(
            flags=tuple(dict.fromkeys(flag.code for flag in flags)),
            dropped_rounds=dropped,
            joules_per_token_drift=drifts[0].change if drifts[0] else None,
            joules_per_token_drift_ci95=drifts[0].ci95 if drifts[0] else None,
            duration_drift=drifts[1].change if drifts[1] else None,
            duration_drift_ci95=drifts[1].ci95 if drifts[1] else None,
            devices=devices,
            foreign_processes=shared.foreign,
        ),
        warnings=(*remarks, *(flag.text for flag in flags), *context.surroundings.notes),
        upper_bound=f"shared_board: {'; '.join(shared.shared)}" if shared.shared else None,
    )


def counted_s(observation: Observation, one: MeasuredRound) -> float:
    """How long the counted part of a round lasted (s)."""
    return one.end_s - one.start_s if observation.drawn else length_s(busy_spans([one])) or one.end_s - one.start_s


def _per_token(amounts: Sequence[float | None], measured: Measured) -> list[float]:
    """One figure a round; none at all where any round lacks it, for a gap would look like a step."""
    pairs = list(zip(amounts, (each.output_tokens for each in measured.rounds), strict=True))
    known = [amount / tokens for amount, tokens in pairs if amount is not None and tokens]
    return known if len(known) == len(pairs) else []


# --- the client -------------------------------------------------------------------------------------------------------


def _of_client(late: Lateness) -> Iterator[Flag]:
    if late.is_too_much:
        yield Flag(code="client_late", text=late.text)


# --- the rounds among themselves --------------------------------------------------------------------------------------


def _of_rounds(
    observation: Observation, measured: Measured, joules: Sequence[float], seconds: Sequence[float], *, has_times: bool
) -> Iterator[Flag]:
    heads = {"J/token": (changing_head(joules), joules), "seconds per token": (changing_head(seconds), seconds)}
    differing = [_head(name, length, values) for name, (length, values) in heads.items() if length]
    if differing:
        yield Flag(code="warming_up", text=f"the first rounds differ from the rest: {', '.join(differing)}; more warm-up may be needed")
    if not observation.same_work:
        return
    has_failed = any(request.complete is False for request in requests_of(observation.rounds))
    if not has_failed and (lengths := lengths_differ(measured.rounds)):
        yield Flag(
            code="length_changed",
            text=f"the same prompts gave {lengths[0]:.4g} to {lengths[1]:.4g} output tokens per request from round to round: "
            "a shorter answer is not a cheaper one",
        )
    if has_times and (cached := cached_prefill(_first_tokens(observation))):
        yield Flag(
            code="prefix_cache_suspected",
            text=f"the first token came after {cached[0]:.3g} s at first and {cached[1]:.3g} s later for the same prompts: "
            "probably a prefix cache; later rounds did less work",
        )


def _head(name: str, length: int, values: Sequence[float]) -> str:
    head, rest = values[:length], values[length:]
    change = sum(head) / len(head) / (sum(rest) / len(rest)) - 1
    return f"{name} of the first {f'{length} rounds' if length > 1 else 'round'} {change:+.1%}"


def _of_drift(drifts: Sequence[Drift | None]) -> Iterator[Flag]:
    named = zip(("J/token", "seconds per token"), drifts, strict=True)
    told = [f"{name} by {d.change:+.1%} ({d.ci95[0]:+.1%} to {d.ci95[1]:+.1%})" for name, d in named if d is not None and d.is_drifting]
    if told:
        yield Flag(code="drifting", text=f"from the first round to the last changed {' and '.join(told)}: the mean depends on when to stop")


def _first_tokens(observation: Observation) -> list[FirstTokens]:
    """First tokens by round, before them by warm-up call where a server did the work.

    An engine in this process loads and compiles with its first call, so that one tells nothing of a cache.
    """
    generations = [g for each in observation.rounds for g in each.generations]
    is_server = bool(generations) and all(g.device is None for g in generations)
    calls = [*(observation.warmup if is_server else ()), *(each.generations for each in observation.rounds)]
    return [_first_tokens_of(call) for call in calls]


def _first_tokens_of(generations: Sequence[Generation]) -> FirstTokens:
    requests = [request for g in generations for request in g.requests]
    prompts = [request.prompt_tokens for request in requests]
    known = [prompt for prompt in prompts if prompt is not None]
    ttfts = [t for t in map(ttft_s, requests) if t is not None]
    tpots = [t for t in map(tpot_s, requests) if t is not None]
    return FirstTokens(
        ttft_s=median(ttfts) if ttfts else None,
        tpot_s=median(tpots) if tpots else None,
        prompt_tokens_per_request=sum(known) / len(known) if known and len(known) == len(prompts) else None,
    )


# --- the boards and their other users ---------------------------------------------------------------------------------


def _of_devices(devices: Sequence[DeviceState]) -> Iterator[Flag]:
    for device in devices:
        held = {"heat": device.thermal_fraction, "a power brake": device.power_brake_fraction}
        causes = [f"{cause} in {share:.0%} of the window" for cause, share in held.items() if share is not None and share > HELD_BACK]
        if causes:
            yield Flag(code="throttled", text=f"{device.domain} was held back by {' and by '.join(causes)}")
        start_c, end_c = device.temperature_start_c, device.temperature_end_c
        if start_c is not None and end_c is not None and abs(end_c - start_c) > WARMED_C:
            yield Flag(
                code="temperature_drift",
                text=f"{device.domain} went from {start_c:.0f} to {end_c:.0f} degrees within the window: a warmer board draws more power",
            )


def _of_sensors(context: Context, rounds: Sequence[Span]) -> Iterator[Flag]:
    traces = context.recording.traces if context.recording is not None else ()
    for found in agreements(traces):
        if found.disagree:
            yield Flag(
                code="sensor_disagreement",
                text=f"{found.text} over the same time: one of their scales is off, or the gauge misses part of a load in step with it; "
                f"the energy is that of {found.against}",
            )
    for trace in (trace for trace in traces if trace.channel.energy):
        if sees_part_of_time(trace.channel, refresh_s(trace.powers) or SLOWEST_REFRESH_S):
            yield Flag(
                code="part_time_sensor",
                text=f"energy of {trace.channel.domain} comes from a gauge that sees part of each refresh ({trace.channel.method}): "
                "a load in step with it would be missed; many rounds, which start at random moments, would show that",
            )
        apart = aliased(trace, rounds)
        if apart is not None:
            yield Flag(
                code="aliasing_suspected",
                text=f"rounds of the same work differ by {apart:.0%} in mean power on {trace.channel.domain}, whose gauge sees "
                f"{1e3 * (trace.channel.averaging_s or 0.0):.0f} ms of each refresh: it aliases with the load, and a round may be far off",
            )


def _of_surroundings(shared: Sharing, context: Context) -> Iterator[Flag]:
    for line in shared.shared:
        yield Flag(code="shared_board", text=line)
    for line in shared.unmatched:
        yield Flag(code="processes_unmatched", text=line)
    for line in context.surroundings.unlocked:
        yield Flag(code="not_exclusive", text=line)
    idle = context.idle
    if idle.total_w and idle.earlier_w and abs(idle.total_w / idle.earlier_w - 1) > IDLE_MOVED:
        yield Flag(
            code="idle_drift",
            text=f"idle power is {idle.total_w:.4g} W and was {idle.earlier_w:.4g} W earlier in this run: net energies differ by it",
        )
