"""What only the whole run knows: a gate may not go green while measuring nothing. Pure."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

from pytest_tpf.records import TestRecord, record

if TYPE_CHECKING:
    from pytest_tpf.scope import Scope
    from pytest_tpf.settings import Settings


# Tokens, times and quality of somebody's server were measured all the same, and budgets of joules are red or not by themselves.
_NOT_METERED = "server_not_metered"


def gate_problems(records: Sequence[TestRecord], expected: int, settings: Settings) -> list[str]:
    """One line for each thing that is wrong with the run as a whole.

    ``expected``: how many tests that ask to be measured were to run.
    """
    problems = []
    measured = [record for record in records if record.energy.it_j is not None]
    if (records or expected) and not measured:
        reasons = sorted({reason for record in records for reason in record.energy.reasons}) or ["no measured test ran to its end"]
        if reasons != [_NOT_METERED] or settings.require == "measured":
            problems.append(f"nothing was measured: {', '.join(reasons)}; see `tpf meters`")
    if settings.require == "measured":
        problems += _estimated(measured)
    return problems


def lost_problems(records: Sequence[TestRecord], crashed: Sequence[str], expected: Collection[str]) -> list[str]:
    """One line for each test of which no record came because the process that ran it died.

    ``crashed``: tests that were running when their worker died. ``expected``: those that were to be measured; empty where no worker lived
    to tell.
    """
    finished = {test.nodeid for test in records if test.outcome != "rerun"}
    lost = [nodeid for nodeid in dict.fromkeys(crashed) if nodeid not in finished and (nodeid in expected or (records and not expected))]
    return [f"{nodeid} was not measured: the worker that ran it died" for nodeid in lost]


def _estimated(measured: Sequence[TestRecord]) -> list[str]:
    estimated = [record.nodeid for record in measured if record.energy.trust == "estimated"]
    if not estimated:
        return []
    more = f" and {len(estimated) - 3} more" if len(estimated) > 3 else ""
    return [f"--tpf-require measured, but the energy of {', '.join(estimated[:3])}{more} is estimated"]


# --- regressions ------------------------------------------------------------------------------------------------------

_MOST_LINES = 20


@record
class Problems:
    """What is wrong with a run as a whole, one line each. ``red`` in any case; ``doubtful``: could not be told, which ``--tpf-gate strict``
    makes red; ``advice``: what to do about either."""

    red: tuple[str, ...] = ()
    doubtful: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()

    def __add__(self, other: Problems) -> Problems:
        return Problems(red=self.red + other.red, doubtful=self.doubtful + other.doubtful, advice=self.advice + other.advice)

    def __bool__(self) -> bool:
        return bool(self.red or self.doubtful)

    def failing(self, *, strict: bool) -> tuple[str, ...]:
        """What makes the run red, with the advice; nothing where nothing does."""
        red = (*self.red, *self.doubtful) if strict else self.red
        return (*red, *self.advice) if red else ()

    def warnings(self, *, strict: bool) -> tuple[str, ...]:
        """What is said without making the run red."""
        return () if strict or not self.doubtful else (*self.doubtful, *(() if self.red else self.advice))


def regression_problems(tests: Sequence[TestRecord]) -> Problems:
    """What regressed, and what could not be told to have regressed or not."""
    from pytest_tpf.report.comparisons import Comparisons
    from pytest_tpf.report.regressions import regression_lines, severity, standing

    found = Comparisons()
    worst = sorted(found.noted(tests), key=severity)
    red = [line for test in worst if standing(test) == "regressed" for line in regression_lines(test)]
    doubtful = [line for test in worst if standing(test) == "inconclusive" for line in regression_lines(test)]
    not_compared = [f"not compared: {text}" for name, text in found.groups() if name == "not compared"]
    return Problems(red=tuple(bounded_lines(red)), doubtful=(*bounded_lines(doubtful), *not_compared))


def vanished_problems(missing: Mapping[str, str], scope: Scope, title: str) -> list[str]:
    """One line for each test that the reference ``title`` has, and that gave no figure in a run that was to have it: ``missing`` has node
    ids by keys."""
    from pytest_tpf.report.regressions import short_id

    gone = [short_id(key) for key, nodeid in missing.items() if scope.has_vanished(nodeid)]
    silent = [short_id(key) for key, nodeid in missing.items() if nodeid in scope.collected and scope.cut_short is None]
    lines = [f"{key} vanished: it is in {title}, but wasn't found" for key in gone]
    return bounded_lines(lines + [f"{key} gave no figure this time: it is in {title}, and ran or was skipped unmeasured" for key in silent])


def accept_advice(baseline: str | None) -> tuple[str, ...]:
    """The command that makes today's figures the baseline; empty where there is no baseline."""
    if not baseline:
        return ()
    file = shlex.quote(baseline)
    return (
        f'if this is meant: run again with --tpf-baseline={file} --tpf-accept "why", and commit {file}'
        f" (tests that are gone: tpf baseline {file} --drop TEST)",
    )


def bounded_lines(lines: list[str]) -> list[str]:
    """The first lines, and how many more there are."""
    more = len(lines) - _MOST_LINES
    return lines if more <= 0 else [*lines[:_MOST_LINES], f"... and {more} more; all of them are in the report"]
