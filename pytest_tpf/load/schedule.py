"""When each request of a load is to be sent. Pure."""

from __future__ import annotations

import math
import random
from typing import Literal

Arrival = Literal["poisson", "constant"]
ARRIVALS = ("poisson", "constant")


def send_times_s(count: int, rate: float, arrival: Arrival, seed: int) -> list[float]:
    """When ``count`` requests are to be sent (s from the start, in order; the first at once), ``rate`` a second in the mean.

    ``constant``: gaps of 1/rate. ``poisson``: gaps are exponential with that mean, and follow from ``seed`` alone: Python promises that
    ``random()`` gives the same numbers in every version, so they are made from that.
    """
    if arrival == "constant":
        return [index / rate for index in range(count)]
    draw, times_s = random.Random(seed).random, [0.0]
    for _ in range(count - 1):
        times_s.append(times_s[-1] - math.log1p(-draw()) / rate)
    return times_s[:count]
