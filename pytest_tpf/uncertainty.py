"""How far a value may be off, and the 95 % interval that follows: the GUM's arithmetic for independent influences. Pure.

A component is known by its variance and its fourth cumulant, both of which add. The fourth tells how much flatter than a normal the sum is:
two ends of a window, each off by anything within a range, never lie as far out as a normal of the same variance would.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from pytest_tpf.record import record

COVERAGE_95 = 1.959963984540054
"""Half-width of a normal 95 % interval in standard deviations."""


@record
class Spread:
    """The distribution of an error around zero, by its ``variance`` and ``fourth`` cumulant (unit squared, unit to the fourth)."""

    variance: float = 0.0
    fourth: float = 0.0

    @property
    def standard(self) -> float:
        """The standard uncertainty."""
        return math.sqrt(self.variance)

    @property
    def coverage_factor(self) -> float:
        """What to multiply ``standard`` with for 95 %: 1.65 for a uniform distribution, 1.96 for a normal one.

        Source: the kurtosis method (UKAS M3003, edition 5, 2022, annex on non-normal distributions; R. Willink, Metrologia 42, 2005).
        """
        square = self.variance**2
        if square <= 0:
            return COVERAGE_95
        excess = min(max(self.fourth / square, -1.2), 0.0)
        return 0.1085 * excess**3 + 0.1 * excess + COVERAGE_95

    @property
    def expanded(self) -> float:
        """Half-width of the 95 % interval."""
        return self.coverage_factor * self.standard

    def scaled(self, factor: float) -> Spread:
        """The distribution of ``factor`` times the error."""
        return Spread(variance=self.variance * factor**2, fourth=self.fourth * factor**4)


NONE = Spread()


def normal(standard: float) -> Spread:
    """A normal distribution."""
    return Spread(variance=standard**2)


def uniform(half_width: float) -> Spread:
    """Anything within ``half_width`` to either side is as likely (JCGM 100:2008, 4.3.7)."""
    return Spread(variance=half_width**2 / 3, fourth=-2 * half_width**4 / 15)


def triangular(half_width: float) -> Spread:
    """At most ``half_width`` off, and less likely the farther (JCGM 100:2008, 4.3.9)."""
    return Spread(variance=half_width**2 / 6, fourth=-(half_width**4) / 60)


def u_shaped(half_width: float) -> Spread:
    """At most ``half_width`` off, and likelier the farther: what something in step with the window is off by (arcsine; JCGM 101, 6.4.6)."""
    return Spread(variance=half_width**2 / 2, fourth=-3 * half_width**4 / 8)


def total(spreads: Iterable[Spread]) -> Spread:
    """The distribution of the sum of independent errors."""
    parts = list(spreads)
    return Spread(variance=math.fsum(part.variance for part in parts), fourth=math.fsum(part.fourth for part in parts))
