"""What the tests of a report come to, counted as they go by."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from pytest_tpf.report.wording import line, show


class Tally:
    """Counts of valid tests (as builtins), and the summary that follows from them. ``trusts`` of those whose it_j is known, else None."""

    def __init__(self) -> None:
        self.trusts: Counter[str | None] = Counter()
        self._known_j: list[float] = []
        self._counts = {"tests": 0, "measured": 0, "failed_budgets": 0, "regressions": 0, "total_output_tokens": 0}

    def add(self, test: Mapping[str, Any]) -> None:
        """Count one more test."""
        energy = test["energy"]
        self.trusts[None if energy["it_j"] is None else energy["trust"]] += 1
        if energy["it_j"] is not None:
            self._known_j.append(energy["it_j"])
        counts = self._counts
        counts["tests"] += 1
        counts["measured"] += energy["it_j"] is not None and energy["trust"] == "measured"
        counts["failed_budgets"] += sum(budget["verdict"] == "fail" for budget in test["budgets"])
        counts["regressions"] += (test["regression"] or {}).get("verdict") == "fail"
        counts["total_output_tokens"] += test["workload"]["output_tokens"]

    def summary(self) -> dict[str, Any]:
        """The report's ``summary``, its energy correctly rounded whatever the order of the tests."""
        return {**self._counts, "total_it_j": math.fsum(self._known_j) if self._known_j else None}

    def miscounts(self, summary: Mapping[str, Any]) -> Iterator[str]:
        """Where ``summary`` says something else; the energy may be rounded in another way, but not be missing."""
        for name, count in self._counts.items():
            if summary[name] != count:
                yield line(f"$.summary.{name}", f"{show(summary[name])}, but the rows under tests give {show(count)}")
        if (summary["total_it_j"] is not None) != bool(self._known_j):
            yield "$.summary.total_it_j: must be known where the it_j of a test is, and null otherwise"
