"""What only the whole run knows: a gate may not go green while measuring nothing. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytest_tpf.records import TestRecord

if TYPE_CHECKING:
    from pytest_tpf.settings import Settings


def gate_problems(records: Sequence[TestRecord], expected: int, settings: Settings) -> list[str]:
    """One line for each thing that is wrong with the run as a whole.

    ``expected``: measured tests that were to run in this process (0 where another process collected them).
    """
    problems = []
    measured = [record for record in records if record.energy.it_j is not None]
    if (records or expected) and not measured:
        reasons = sorted({reason for record in records for reason in record.energy.reasons}) or ["no measured test ran to its end"]
        problems.append(f"nothing was measured: {', '.join(reasons)}; see `tpf meters`")
    if settings.require == "measured":
        problems += _estimated(measured)
    return problems


def _estimated(measured: Sequence[TestRecord]) -> list[str]:
    estimated = [record.nodeid for record in measured if record.energy.trust == "estimated"]
    if not estimated:
        return []
    more = f" and {len(estimated) - 3} more" if len(estimated) > 3 else ""
    return [f"--tpf-require measured, but the energy of {', '.join(estimated[:3])}{more} is estimated"]
