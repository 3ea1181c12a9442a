"""One test against its earlier runs, and all tests of a run together. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

from pytest_tpf.judge.contrast import UNKNOWN_NOISE, RunNoise
from pytest_tpf.judge.regression import FAMILY_ERROR, compare
from pytest_tpf.judge.sample import Sample, differences
from pytest_tpf.judge.thresholds import METRICS, Threshold
from pytest_tpf.judge.together import adjusted, unexplained, weakened
from pytest_tpf.records import Change, Reference, Regression, Verdict, record

TOLD = ("joules_per_token", "tokens_per_second", "ttft_s", "quality")
"""Figures whose change is told even where no threshold is set for them."""

NOTABLE = 1.2
"""A scatter of this many times the expected is worth a word."""

_WORST_FIRST: tuple[Verdict, ...] = ("fail", "not_measured", "inconclusive", "pass")


@record
class Terms:
    """How tests are compared. ``family``: how many figures the run judges; ``noises``: what runs scatter on this machine, by metric;
    ``across``: compare what differs in hardware, model or work all the same."""

    thresholds: tuple[Threshold, ...]
    family: int = 1
    noises: Mapping[str, RunNoise] = dataclasses.field(default_factory=dict)
    across: bool = False


def compare_test(new: Sample, earlier: Sequence[Sample], terms: Terms, reference: Reference, remeasured: int = 0) -> Regression:
    """``new`` against ``earlier`` (at least one, newest first): those that did the same work on like hardware; the others are said."""
    unlike = [differences(new, old) for old in earlier]
    comparable = [old for old, found in zip(earlier, unlike, strict=True) if terms.across or not found]
    if not comparable:
        return not_compared(f"not compared: {'; '.join(unlike[0])}", reference)
    remarks = tuple(unlike[0]) if terms.across else ()
    if left_out := len(earlier) - len(comparable):
        remarks = (f"{left_out} earlier runs are left out: {'; '.join(next(filter(None, unlike)))}",)
    changes = tuple(_changes(new, comparable, terms, remeasured))
    if terms.thresholds and all(change.threshold is None for change in changes):
        return not_compared(f"not compared: neither run has {' or '.join(each.metric for each in terms.thresholds)}", reference)
    return Regression(
        reference=dataclasses.replace(reference, runs=len(comparable), rounds=sum(len(old.rounds) for old in comparable)),
        changes=changes,
        verdict=_worst(changes),
        remeasured_rounds=remeasured,
        remarks=remarks,
    )


def not_compared(reason: str, reference: Reference | None = None) -> Regression:
    """What is said of a test that has nothing to be compared with."""
    return Regression(reference=reference, changes=(), verdict="inconclusive", reason=reason)


def _changes(new: Sample, old: Sequence[Sample], terms: Terms, remeasured: int) -> Iterator[Change]:
    asked = {each.metric: each for each in terms.thresholds if not _is_nobodys(each.metric, (new, *old))}
    for metric in dict.fromkeys((*asked, *TOLD)):
        noise = terms.noises.get(metric, UNKNOWN_NOISE)
        change = compare(new, old, asked.get(metric), metric, remeasured=remeasured, family=terms.family, noise=noise)
        if metric in asked or change.change is not None:
            yield change


def _is_nobodys(metric: str, samples: Sequence[Sample]) -> bool:
    """Whether none of them has this figure by its nature: no test need give a quality, nor show its first token. An energy is for all."""
    what = METRICS[metric]
    if what.amounts is None:
        return all(sample.accuracy.value is None for sample in samples)
    return not what.is_energy and all(None in what.amounts(each) for sample in samples for each in sample.rounds)


def _worst(changes: Sequence[Change]) -> Verdict:
    found = {change.verdict for change in changes if change.threshold is not None}
    return next((verdict for verdict in _WORST_FIRST if verdict in found), "pass")


def settle(regressions: Sequence[Regression | None]) -> list[Regression | None]:
    """The verdicts of all tests of a run together: the more figures are judged, the more of them look worse by chance.

    Where the figures of the run scatter more than their intervals say, each is the less certain (``together.unexplained``).
    """
    changes = [change for each in regressions if each for change in each.changes if change.p is not None]
    scatter = {metric: unexplained(each for each in changes if each.metric == metric) for metric in {each.metric for each in changes}}
    chances = adjusted([weakened(change, scatter[change.metric]) for change in changes])
    verdicts = iter(
        [_corrected(change, *each) for change, *each in zip(changes, chances, (scatter[c.metric] for c in changes), strict=True)]
    )
    return [each and _settled(each, verdicts) for each in regressions]


def _settled(regression: Regression, settled: Iterator[Change]) -> Regression:
    changes = tuple(change if change.p is None else next(settled) for change in regression.changes)
    return dataclasses.replace(regression, changes=changes, verdict=regression.verdict if regression.reason else _worst(changes))


def _corrected(change: Change, chance: float, scatter: float) -> Change:
    change = dataclasses.replace(change, p_adjusted=max(chance, change.p or 0.0))
    if change.verdict != "fail" or chance <= FAMILY_ERROR:
        return change
    spread = f"; the tests of this run scatter {scatter:.1f} times as much as their rounds explain" if scatter > NOTABLE else ""
    reason = (
        f"worse beyond the threshold on its own, but among all figures of the run it is so by chance with probability {chance:.2g}{spread}"
    )
    return dataclasses.replace(change, verdict="inconclusive", reason=reason)
