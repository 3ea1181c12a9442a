"""Tests that were compared with earlier runs: each way it can end, and any that a valid report may hold."""

from __future__ import annotations

import dataclasses
from typing import Any

from hypothesis import strategies as st

from pytest_tpf.records import Change, Reference, Regression, TestRecord
from tests.report.factory import estimated_test, measured_test

MAIN = Reference(source="history", ref="main", runs=1, rounds=10, commit="0123abc4567890", recorded_at="2026-01-01T08:00:00Z")
WORSE: dict[str, Any] = {
    "metric": "joules_per_token",
    "threshold": 0.05,
    "kind": "relative",
    "reference": 0.412,
    "actual": 0.463,
    "change": 0.124,
    "ci95": (0.101, 0.148),
    "verdict": "fail",
    "p": 1e-9,
    "p_adjusted": 1e-7,
    "rounds": 10,
    "reference_rounds": 10,
    "detectable": 0.07,
}
SLOWER = {"metric": "ttft_s", "reference": 0.1, "actual": 0.2, "change": 1.0, "ci95": (0.9, 1.1)}
FEW = {"verdict": "inconclusive", "reason": "too few rounds (n=3, need 5)", "detectable": 0.23}
BETTER = {"verdict": "pass", "improved": True, "change": -0.2, "ci95": (-0.25, -0.15), "actual": 0.33}
SAME = {"verdict": "pass", "change": 0.001, "ci95": (-0.01, 0.012), "actual": 0.4124}
UNKNOWN = {
    "verdict": "not_measured",
    "reason": "unknown now: counter_reset",
    "change": None,
    "ci95": None,
    "reference": None,
    "actual": None,
}


def change(**changes: Any) -> Change:
    return Change(**WORSE | changes)


def compared(name: str, *changes: dict[str, Any], verdict: Any = None, test: TestRecord | None = None, **more: Any) -> TestRecord:
    """The test of that name in ``tests/test_a.py``, its figures as these differ from ``WORSE``."""
    found = tuple(change(**each) for each in changes)
    regression = Regression(**{"reference": MAIN, "changes": found, "verdict": verdict or found[0].verdict, **more})
    return dataclasses.replace(test or measured_test(), nodeid=f"tests/test_a.py::{name}", regression=regression)


def one_of_each() -> list[TestRecord]:
    return [
        compared("test_same", SAME),
        compared("test_better", BETTER),
        compared("test_few", FEW),
        compared("test_worse", {}, SLOWER, remeasured_rounds=5),
        compared("test_other", verdict="inconclusive", reason="not compared: hardware is b, was a"),
        compared("test_unknown", UNKNOWN),
        measured_test(nodeid="tests/test_a.py::test_new", regression=None),
    ]


NASTY = (
    "t.py::t[`|</code></td></table></details></pre><script>alert(1)</script><img src=https://evil.example/x.png onerror=alert(1)>"
    "![x](https://evil.example/x.png) [l](https://evil.example) <https://evil.example> www.evil.example a@evil.example"
    " @someone #1 \\` `` ``` $x$ :smile: &lt; &#64;x \r\n\n# heading\n- [ ] item\n\x1b[31m\x07\u202e\u2028<!-- ]]> ::error file=x::y %0A]"
)
NASTY_TEXTS = st.one_of(st.just(NASTY), st.text(min_size=1, max_size=300), st.just("\u0301" * 3000), st.just("x" * 8000))
_NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
_SHARES = st.floats(0.0, 1.0)
_INTERVALS = st.none() | st.tuples(_NUMBERS, _NUMBERS).map(lambda pair: (min(pair), max(pair)))
_METRICS = st.sampled_from(["joules_per_token", "tokens_per_second", "ttft_s", "quality"]) | st.text(min_size=1, max_size=256)


@st.composite
def any_change(draw: st.DrawFn) -> Change:
    """Whatever the schema allows."""
    verdict = draw(st.sampled_from(["pass", "fail", "inconclusive", "not_measured"]))
    return Change(
        metric=draw(_METRICS),
        threshold=draw(st.none() | _NUMBERS.map(abs)),
        kind=draw(st.sampled_from(["relative", "absolute"])),
        reference=draw(st.none() | _NUMBERS),
        actual=draw(st.none() | _NUMBERS),
        change=draw(_NUMBERS) if verdict in ("pass", "fail") else draw(st.none() | _NUMBERS),
        ci95=draw(_INTERVALS),
        verdict=verdict,
        improved=draw(st.booleans()),
        detectable=draw(st.none() | _NUMBERS.map(abs)),
        p=draw(st.none() | _SHARES),
        p_adjusted=draw(st.none() | _SHARES),
        rounds=draw(st.integers(0, 2**63 - 1)),
        reference_rounds=draw(st.integers(0, 2**63 - 1)),
        reason=draw(NASTY_TEXTS) if verdict in ("inconclusive", "not_measured") else draw(st.none() | NASTY_TEXTS),
    )


@st.composite
def any_compared(draw: st.DrawFn) -> TestRecord:
    """A test whose comparison is whatever the schema allows."""
    changes = draw(st.lists(any_change(), max_size=3))
    reference = Reference(
        source=draw(st.sampled_from(["baseline", "history", "report"])),
        ref=draw(NASTY_TEXTS)[:4096],
        runs=draw(st.integers(0, 9)),
        rounds=draw(st.integers(0, 99)),
        commit=draw(st.none() | st.text(min_size=1, max_size=64)),
        recorded_at=draw(st.none() | st.text(min_size=1, max_size=32)),
        note=draw(st.none() | NASTY_TEXTS),
    )
    regression = Regression(
        reference=draw(st.none() | st.just(reference)),
        changes=tuple(changes),
        verdict=draw(st.sampled_from(["pass", "fail", "inconclusive", "not_measured"])),
        remeasured_rounds=draw(st.integers(0, 9)),
        reason=draw(NASTY_TEXTS) if not changes else draw(st.none() | NASTY_TEXTS),
        remarks=tuple(draw(st.lists(NASTY_TEXTS, max_size=2))),
    )
    test = draw(st.sampled_from([measured_test(), estimated_test()]))
    return dataclasses.replace(
        test,
        nodeid=draw(NASTY_TEXTS),
        outcome=draw(st.sampled_from(["passed", "failed", "xfailed", "error"])),
        regression=draw(st.none() | st.just(regression)),
        warnings=(draw(NASTY_TEXTS),),
        attempt=draw(st.integers(1, 3)),
    )
