"""A figure over several trainings: its values, their mean, and where the mean lies with 95 % confidence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

# fmt: off
_T95 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
    2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)
# fmt: on
"""Student's t, two-sided 95 %, for 1 to 30 degrees of freedom."""

MAX_RUNS = len(_T95) + 1


@dataclass(frozen=True, slots=True)
class Figure:
    """runs: one value a training. low, high: the 95 % interval of their mean; None for a single run."""

    runs: tuple[float, ...]
    mean: float
    low: float | None
    high: float | None

    def over(self, divisor: int) -> Figure:
        low, high = (None if end is None else end / divisor for end in (self.low, self.high))
        return Figure(tuple(value / divisor for value in self.runs), self.mean / divisor, low, high)


def figure(values: Sequence[float]) -> Figure:
    """Of 1 to 31 values. The interval speaks of the seeds of training, not of the choice of pictures."""
    count = len(values)
    mean = math.fsum(values) / count
    if count == 1:
        return Figure(tuple(values), mean, None, None)
    deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1))
    half = _T95[count - 2] * deviation / math.sqrt(count)
    return Figure(tuple(values), mean, mean - half, mean + half)
