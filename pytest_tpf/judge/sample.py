"""One run of one test, as later runs are compared with it; and what keeps two of them from being compared. Pure."""

from __future__ import annotations

from pytest_tpf.judge.workload import comparable_workload
from pytest_tpf.records import Accuracy, Boundary, Round, TestRecord, Trust, Workload, record

REFERENCE_OUTCOMES = ("passed", "xpassed", "xfailed")
"""Only tests with one of these may be compared with: one that failed may have failed because it got worse."""


@record
class Sample:
    """What of a run matters to a comparison.

    ``domains``: which parts of the machine were metered. ``uncertainty``: half of the 95 % interval of the energy, relative; None where
    unknown. ``reasons``: why the energy is unknown.
    """

    key: str
    nodeid: str
    fingerprint: str
    workload: Workload
    rounds: tuple[Round, ...]
    accuracy: Accuracy
    boundary: Boundary
    trust: Trust | None
    domains: tuple[str, ...]
    uncertainty: float | None
    reasons: tuple[str, ...] = ()
    commit: str | None = None
    recorded_at: str | None = None
    note: str | None = None


def sample_of(test: TestRecord, key: str, fingerprint: str, commit: str | None = None, recorded_at: str | None = None) -> Sample:
    """What of ``test`` matters to a comparison."""
    energy = test.energy
    known = energy.it_j and energy.uncertainty_j is not None
    return Sample(
        key=key,
        nodeid=test.nodeid,
        fingerprint=fingerprint,
        workload=test.workload,
        rounds=test.rounds,
        accuracy=test.mandated.accuracy,
        boundary=test.mandated.joules_per_token.boundary,
        trust=energy.trust,
        domains=tuple(sorted(name for name, joules in energy.domains.items() if joules is not None)),
        uncertainty=energy.uncertainty_j / energy.it_j if known and energy.it_j and energy.uncertainty_j is not None else None,
        reasons=energy.reasons,
        commit=commit,
        recorded_at=recorded_at,
    )


def differences(new: Sample, old: Sample) -> list[str]:
    """What keeps any figure of the two from being compared, one line each: other hardware, another model, other work."""
    hardware = [f"hardware is {new.fingerprint}, was {old.fingerprint}"] if new.fingerprint != old.fingerprint else []
    return hardware + comparable_workload(old.workload, new.workload)


def energy_differences(new: Sample, old: Sample) -> list[str]:
    """What keeps the energies of the two from being compared: an estimate against a measurement, or other parts of the machine metered."""
    if not new.domains or not old.domains:
        return []  # unknown, which is said elsewhere
    found = [f"energy is {new.trust}, was {old.trust}"] if new.trust != old.trust else []
    if new.domains != old.domains:
        found.append(f"metered are {', '.join(new.domains)}, were {', '.join(old.domains)}")
    return found
