"""A counter that is read as it goes: when it showed a value for the first time. Pure.

RAPL's registers are written about once a millisecond, other counters less often than they are read. A reading is then older than its
instant, and the energy of a window moves by as much at either end: what is certain is only that the value came after the last read of the
one before.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from pytest_tpf.measure.trace import Edge

_ASLEEP = 5  # times its usual spacing: a counter that stands still for longer isn't late, it counts nothing


def first_seen(edges: Sequence[Edge], age_s: float) -> tuple[Edge, ...]:
    """``edges`` (one a reading) without those that repeat a value, each with the bracket in which its value may have come.

    While the counter counts nothing for long, its readings stay: they are no gap.

    ``age_s``: how old a reading may be where each one brings a new value (s), as the source of the counter documents.
    """
    pairs = list(itertools.pairwise(edges))
    changed = [edge.t for before, edge in pairs if edge.joules != before.joules]
    repeats = len(changed) < len(pairs)
    asleep_s = _ASLEEP * _median([b - a for a, b in itertools.pairwise(changed)])
    kept, since = list(edges[:1]), edges[0].t if edges else 0.0
    for before, edge in pairs:
        if edge.joules != before.joules:
            kept.append(Edge(t_lo=before.t_lo if repeats else edge.t_lo - age_s, t_hi=edge.t_hi, joules=edge.joules))
            since = edge.t
        elif edge.t - since > asleep_s:
            kept.append(edge)
    return tuple(kept)


def _median(values: Sequence[float]) -> float:
    return sorted(values)[len(values) // 2] if values else 0.0
