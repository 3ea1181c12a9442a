"""From a recording to the report's ``energy``, ``power`` and per-round joules. Pure."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from pytest_tpf.engines.protocol import Generation
from pytest_tpf.evaluate.context import Context
from pytest_tpf.evaluate.load import is_client_late
from pytest_tpf.evaluate.requests import requests_of, tally, tpot_s, ttft_s, whole_times_s
from pytest_tpf.judge.statistics import expanded_uncertainty, mean, ratio_uncertainty
from pytest_tpf.measure.energy import WORTHWHILE
from pytest_tpf.measure.trace import Span
from pytest_tpf.measure.window import ACCELERATOR_PREFIXES, WindowEnergy, displaced_spread, window_energy
from pytest_tpf.observation import MeasuredRound, Observation, busy_spans, counted_spans, length_s
from pytest_tpf.records import Boundary, Energy, Facility, Round, record
from pytest_tpf.uncertainty import COVERAGE_95, NONE, Spread, total

BARE = 0.1
"""Half of the 95 % interval, relative, up to which an energy may stand without one."""


@record
class Phases:
    """Prefill and decode energy (J), or why they can't be told apart."""

    prefill_j: float | None = None
    decode_j: float | None = None
    reason: str | None = None


@record
class Measured:
    """The energies of one observation: the counted window, its rounds, and J/token's interval at the IT boundary.

    ``half_width_j``: half of the comparative 95 % interval of the counted energy (J), spread over rounds included. ``windows`` are those
    of the rounds.
    """

    counted: WindowEnergy
    device: WindowEnergy
    call: WindowEnergy
    rounds: tuple[Round, ...]
    windows: tuple[WindowEnergy, ...]
    half_width_j: float
    device_half_width_j: float
    phases: Phases


NOTHING = WindowEnergy(domains={}, trust=None, method=None)


def measure_energy(observation: Observation, context: Context) -> Measured:
    """Every energy of the observation; unknown ones are None."""
    windows = [_energy(context, _round_spans(observation, r)) for r in observation.rounds]
    has_times = not is_client_late(observation)
    counted = _energy(context, counted_spans(observation))
    return Measured(
        counted=counted,
        device=counted.within(ACCELERATOR_PREFIXES),
        call=_energy(context, [observation.call]),
        rounds=tuple(_round(r, w, has_times) for r, w in zip(observation.rounds, windows, strict=True)),
        windows=tuple(windows),
        half_width_j=_half_width_j(observation.rounds, [w.joules for w in windows], _spread(observation, context, counted)),
        device_half_width_j=_half_width_j(
            observation.rounds,
            [w.device_j for w in windows],
            _spread(observation, context, counted.within(ACCELERATOR_PREFIXES), ACCELERATOR_PREFIXES),
        ),
        phases=_phases(observation, context),
    )


def _energy(context: Context, spans: Sequence[Span]) -> WindowEnergy:
    if context.recording is None or not spans:
        return NOTHING
    return window_energy(context.recording, spans, context.contended)


def _round_spans(observation: Observation, one: MeasuredRound) -> Sequence[Span]:
    if observation.drawn:
        return [(one.start_s, one.end_s)]
    return busy_spans([one]) or [(one.start_s, one.end_s)]


def _round(one: MeasuredRound, energy: WindowEnergy, has_times: bool) -> Round:
    counts, requests = tally([one]), requests_of([one]) if has_times else []
    return Round(
        duration_s=one.end_s - one.start_s,
        output_tokens=counts.output_tokens,
        prompt_tokens=counts.prompt_tokens,
        requests=counts.requests,
        it_j=energy.joules,
        device_j=energy.device_j,
        ttft_s=mean([t for t in map(ttft_s, requests) if t is not None]),
        tpot_s=mean([t for t in map(tpot_s, requests) if t is not None]),
        e2e_s=mean(whole_times_s(one) if has_times else []),
    )


def _spread(observation: Observation, context: Context, counted: WindowEnergy, prefixes: tuple[str, ...] = ("",)) -> Spread:
    """How far the counted energy may be off: by reading the meters, and by not knowing exactly when it was."""
    if context.recording is None or not context.misplaced_s:
        return counted.spread
    return total([counted.spread, displaced_spread(context.recording, counted_spans(observation), context.misplaced_s, prefixes) or NONE])


def _half_width_j(rounds: Sequence[MeasuredRound], joules: Sequence[float | None], meters: Spread) -> float:
    """Half of the 95 % interval of the counted energy, as J/token's interval times the tokens."""
    tokens = [float(tally([one]).output_tokens) for one in rounds]
    known = [(e, t) for e, t in zip(joules, tokens, strict=True) if e is not None]
    spread = ratio_uncertainty([e for e, _ in known], [t for _, t in known])
    type_a_j = None if spread is None else spread * sum(tokens)
    return expanded_uncertainty(type_a_j, len(known), meters)


def _phases(observation: Observation, context: Context) -> Phases:
    """Prefill and decode energy, split at the first token, where one generation was under way at a time.

    They stand in the report without an interval, so each is left out where its own is wider than ``BARE``.
    """
    generations = sorted((g for r in observation.rounds for g in r.generations), key=lambda g: g.start_s)
    if not generations:
        return Phases(reason="no engine was observed")
    if _overlap(generations):
        return Phases(reason="requests overlapped, and the joules of one can't be told from another's; tpf.fit gives J per prompt token")
    firsts = [_first_token_s(g) for g in generations]
    known = [first_s for first_s in firsts if first_s is not None]
    if len(known) < len(generations):
        return Phases(reason="a generation's first token wasn't seen, or its requests didn't start together")
    prefill_j = _bare_j(_energy(context, [(g.start_s, first_s) for g, first_s in zip(generations, known, strict=True)]))
    decode_j = _bare_j(_energy(context, [(first_s, g.end_s) for g, first_s in zip(generations, known, strict=True)]))
    unknown = " and ".join(name for name, joules in (("prefill", prefill_j), ("decode", decode_j)) if joules is None)
    reason = f"{unknown}: too short for the meter (the interval would be wider than {BARE:.0%}), or it can't tell the energy"
    return Phases(prefill_j=prefill_j, decode_j=decode_j, reason=reason if unknown else None)


def _overlap(generations: Sequence[Generation]) -> bool:
    """Whether any of them, which are in order, began before another had ended."""
    ends_s = itertools.accumulate((g.end_s for g in generations), max)
    return any(later.start_s < end_s for later, end_s in zip(generations[1:], ends_s, strict=False))


def _first_token_s(generation: Generation) -> float | None:
    """When prefill ended, where that is one moment within the generation."""
    first_s = generation.first_token_s
    return first_s if first_s is not None and generation.static_batch and generation.start_s <= first_s <= generation.end_s else None


def _bare_j(energy: WindowEnergy) -> float | None:
    """The energy if it is known well enough to stand alone (J)."""
    joules = energy.joules
    return joules if joules is not None and energy.spread.expanded <= BARE * joules else None


def describe_energy(observation: Observation, context: Context, measured: Measured) -> Energy:
    """The report's ``energy``: null with reason codes where it is invalid or nothing was metered."""
    counted, it_j = measured.counted, measured.counted.joules
    idle_w, pue = context.idle.total_w, context.facility.pue.value
    known, counted_s = it_j is not None, length_s(counted_spans(observation))
    idle_j = None if idle_w is None else idle_w * counted_s
    idle_uncertainty_j = (context.idle.uncertainty_w or 0.0) * counted_s
    call_j = measured.call.joules  # may be known where the counted window is too short, or one domain of it was lost
    source = counted if known or counted.device_j is not None else measured.call if call_j is not None else NOTHING
    return Energy(
        it_j=it_j,
        call_j=call_j,
        device_j=counted.device_j,
        facility_j=it_j * pue if it_j is not None and pue is not None else None,
        net_j=it_j - idle_j if it_j is not None and idle_j is not None else None,
        domains={name: energy.joules for name, energy in counted.domains.items()},
        unmetered=context.unmetered,
        prefill_j=measured.phases.prefill_j if known else None,
        decode_j=measured.phases.decode_j if known else None,
        uncertainty_j=measured.half_width_j if known else None,
        absolute_uncertainty_j=math.hypot(measured.half_width_j, COVERAGE_95 * counted.gain_uncertainty_j) if known else None,
        idle_power_w=idle_w,
        trust=source.trust,
        method=source.method,
        valid=known,
        reasons=() if known else _why_unknown(observation, context, counted),
        idle_uncertainty_w=context.idle.uncertainty_w,
        net_uncertainty_j=math.hypot(measured.half_width_j, idle_uncertainty_j) if known and idle_j is not None else None,
        idle_share=idle_j / it_j if it_j and idle_j is not None else None,
        phases_reason=measured.phases.reason if known else "energy is unknown",
    )


def _why_unknown(observation: Observation, context: Context, counted: WindowEnergy) -> tuple[str, ...]:
    if context.recording is None:
        return ("no_meter",)
    return counted.reasons or (("no_window",) if not counted_spans(observation) else ("no_meter",))


def _why_null(what: str, energy: WindowEnergy) -> str:
    """Why an energy is null and, where it is for want of length, what length would do."""
    reasons = f"{what} is unknown: {', '.join(energy.reasons) or 'no_meter'}"
    if "window_too_short" not in energy.reasons:
        return reasons
    length = f"about {energy.needs_s:.2g} s give {WORTHWHILE:.0%}" if energy.needs_s else "measure longer"
    return f"{reasons} ({length}: rounds=N in the marker, or tpf(fn))"


def joules_at(boundary: Boundary, measured: Measured, facility: Facility) -> tuple[float | None, float, str | None]:
    """(joules, half of their 95 % interval, reason where unknown) of the counted window at ``boundary``."""
    joules, why = window_joules(boundary, measured.counted, facility)
    half_width_j = measured.device_half_width_j if boundary == "device" else measured.half_width_j
    return joules, 0.0 if joules is None else half_width_j * pue_at(boundary, facility), why


def window_joules(boundary: Boundary, window: WindowEnergy, facility: Facility) -> tuple[float | None, str | None]:
    """(joules, reason where unknown) of one window at ``boundary``."""
    if boundary == "device":
        device = window.within(ACCELERATOR_PREFIXES)
        why = None if device.joules is not None else _why_null("device energy", device) if device.domains else "no accelerator was metered"
        return device.joules, why
    if window.joules is None:
        return None, _why_null("energy", window)
    if boundary == "facility" and facility.pue.value is None:
        return None, "PUE is undeclared (--tpf-facility FILE or --tpf-pue X)"
    return window.joules * pue_at(boundary, facility), None


def pue_at(boundary: Boundary, facility: Facility) -> float:
    """What IT energy is multiplied with: the PUE at the facility boundary (where it is declared), 1 elsewhere."""
    return facility.pue.value or 1.0 if boundary == "facility" else 1.0
