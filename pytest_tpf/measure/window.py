"""Energy of a window over all metered domains, with what is known of its uncertainty. Pure."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

from pytest_tpf.measure.energy import TOO_SHORT, DomainEnergy, energy_of_spans
from pytest_tpf.measure.trace import Fault, Recording, Span
from pytest_tpf.records import Trust, record
from pytest_tpf.uncertainty import NONE, Spread, total, uniform

ACCELERATOR_PREFIXES = ("gpu:",)
PLACES = 4
"""To either side of a window that may be misplaced: where it is tried."""

_TRUST_ORDER: tuple[Trust, ...] = ("estimated", "replayed", "measured")


@record
class WindowEnergy:
    """Energy per domain over the same spans. ``joules`` sums the domains; None where any of them is invalid, or none is metered.

    Its ``spread`` takes domains as independent. Its ``gain_uncertainty_j`` (standard) takes those of one kind as off together: boards of a
    model are, to 1 % or so where their scale is off by 5 (arXiv 2312.02741).
    """

    domains: dict[str, DomainEnergy]
    trust: Trust | None
    method: str | None

    @property
    def joules(self) -> float | None:
        """The sum over all domains (J)."""
        return _total(list(self.domains.values()))

    @property
    def device_j(self) -> float | None:
        """The sum over accelerators (J)."""
        return _total([energy for name, energy in self.domains.items() if name.startswith(ACCELERATOR_PREFIXES)])

    @property
    def spread(self) -> Spread:
        """How far the sum may be off, from reading the meters: refresh, resolution, interpolation."""
        return total(energy.spread for energy in self.domains.values() if energy.spread is not None)

    @property
    def gain_uncertainty_j(self) -> float:
        """Standard uncertainty from the sensors' scales (J)."""
        by_kind: dict[str, float] = {}
        for name, energy in self.domains.items():
            kind = name.partition(":")[0]
            by_kind[kind] = by_kind.get(kind, 0.0) + (energy.gain_uncertainty_j or 0.0)
        return math.hypot(*by_kind.values())

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why domains are invalid: reason codes, each once."""
        return tuple(dict.fromkeys(code for energy in self.domains.values() if energy.joules is None for code in energy.reasons))

    @property
    def needs_s(self) -> float | None:
        """How long a window that was too short would have to be for every domain's energy to be worth something (s)."""
        return max((energy.needs_s for energy in self.domains.values() if energy.needs_s is not None), default=None)

    def within(self, prefixes: tuple[str, ...]) -> WindowEnergy:
        """The same window over fewer domains."""
        kept = {name: energy for name, energy in self.domains.items() if name.startswith(prefixes)}
        return WindowEnergy(domains=kept, trust=self.trust, method=self.method)


CONTENDED = DomainEnergy(joules=None, spread=None, gain_uncertainty_j=None, reasons=("contended",))
UNREACHED = DomainEnergy(joules=None, spread=None, gain_uncertainty_j=None, reasons=("server_not_metered",))


def window_energy(recording: Recording, spans: Sequence[Span], contended: Sequence[str] = ()) -> WindowEnergy:
    """The energy of ``spans`` in every metered domain of the recording; that of ``contended`` and of unreached domains is unknown."""
    traces = [trace for trace in recording.traces if trace.channel.energy]
    withheld = dict.fromkeys(contended, CONTENDED) | dict.fromkeys(recording.unreached, UNREACHED)
    trusts = {trace.channel.trust for trace in traces}
    return WindowEnergy(
        domains={t.channel.domain: withheld.get(t.channel.domain) or energy_of_spans(t, spans) for t in traces},
        trust=next((trust for trust in _TRUST_ORDER if trust in trusts), None),
        method="+".join(dict.fromkeys(trace.channel.method for trace in traces)) or None,
    )


def displaced_spread(recording: Recording, spans: Sequence[Span], by_s: float, prefixes: tuple[str, ...] = ("",)) -> Spread | None:
    """How far the energy of ``spans`` may be off where all of them together may lie up to ``by_s`` earlier or later than they say.

    None where it isn't known in all of these places. ``prefixes``: of the domains whose energy is meant.
    """
    if not by_s:
        return NONE
    steps = [by_s * step / PLACES for step in range(-PLACES, PLACES + 1)]
    tried = [window_energy(recording, [(start + step, end + step) for start, end in spans]).within(prefixes).joules for step in steps]
    known = [joules for joules in tried if joules is not None]
    here = tried[PLACES]
    if here is None or len(known) < len(tried):
        return None
    return uniform(max(abs(joules - here) for joules in known))


def placeable(recording: Recording, spans: Sequence[Span], misplaced_s: float) -> Recording:
    """The recording, with a fault in every trace where the energy of ``spans`` hangs too much on where within ``misplaced_s`` they were."""
    joules = window_energy(recording, spans).joules if misplaced_s else None
    if joules is None:
        return recording
    off = displaced_spread(recording, spans, misplaced_s)
    if off is not None and off.expanded <= TOO_SHORT * joules:
        return recording
    text = f"when the window was is known to {misplaced_s:g} s only, and power changed too much around it to tell its energy"
    fault = Fault(t=min(start for start, _ in spans), code="window_misplaced", text=text)
    traces = tuple(dataclasses.replace(trace, faults=(*trace.faults, fault)) for trace in recording.traces)
    return dataclasses.replace(recording, traces=traces)


def _total(energies: Sequence[DomainEnergy]) -> float | None:
    joules = [energy.joules for energy in energies]
    known = [value for value in joules if value is not None]
    return math.fsum(known) if joules and len(known) == len(joules) else None
