"""What is asked of every masked field, and what would answer otherwise.

values       are they uniform?                  a mask that is missing, short, or not uniform
across       differences of one value between two views: uniform?    a mask that serves twice
neighbours   differences of two values in one view: uniform?         one mask for many values
range        does a statistical mask hold every value inside?        too little slack (a small sigma)
order        is a value independent of the one before it?            a weak generator
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from twinveil.views.chances import (
    FALSE_ALARMS,
    binomial_tail,
    bounded,
    cell_distance,
    chi_square,
    occurrences,
    serial_correlation,
    uniform_distance,
)
from twinveil.views.fields import Field, Floats, Levels, Values

RANGE = "range, of the mask"

SIGMA = 40
"""Slack that every statistical mask must have, in bits."""

NEIGHBOURS = 1 << 20
"""Neighbours that are compared in one field; more would only take time."""

ROUNDING = 2.0**-44
"""More than float64 adds to a value's place in its range: what lies on the edge is no value outside."""

FEWEST = 8
"""Values below which the distance says nothing; chi-square and correlation have a limit of their own."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One test: p is the probability of such a sample if the cloud learns nothing."""

    cloud: str
    field: str
    test: str
    values: int
    p: float


def examine(cloud: str, field: Field) -> Iterator[Finding]:
    """Every test of one field that its sample allows."""
    across = _differences(field, 0)
    neighbours = _differences(field, 1)
    for name, (fractions, levels) in {
        "values": (field.fractions, field.levels),
        "across": across,
        "neighbours": neighbours,
    }.items():
        counts = occurrences(levels, field.count)
        sample = levels if fractions is None else fractions
        if sample.size >= FEWEST:
            p = cell_distance(counts) if fractions is None else uniform_distance(np.clip(fractions, 0.0, 1.0))
            yield Finding(cloud, field.name, f"{name}, Kolmogorov-Smirnov", sample.size, p)
        chance = chi_square(counts)
        if chance is not None:
            yield Finding(cloud, field.name, f"{name}, chi-square of low bits", levels.size, chance)
    row = _row(field)
    chance = serial_correlation(np.clip(row, 0.0, 1.0))
    if chance is not None:
        yield Finding(cloud, field.name, "order, serial correlation", row.size, chance)
    if field.statistical and field.fractions is not None:
        outside = (field.fractions < -ROUNDING) | (field.fractions > 1 + ROUNDING)
        # A view has any value outside with probability 2^-sigma: that is what sigma means.
        p = bounded(binomial_tail(int(outside.any(axis=1).sum()), len(outside), 2.0**-SIGMA))
        yield Finding(cloud, field.name, RANGE, field.fractions.size, p)


def lone(tests: int) -> int:
    """Up to so many views of a kind, one of them with a value outside its mask's range is an alarm among so
    many tests; of more views it takes two."""
    return int(FALSE_ALARMS / tests * 2**SIGMA)


def _row(field: Field) -> Floats:
    """Values as places in their range, NEIGHBOURS of them at most."""
    columns = max(2, NEIGHBOURS // len(field.levels))
    if field.fractions is not None:
        return field.fractions[:, :columns]
    return field.levels[:, :columns] / field.count


def _differences(field: Field, axis: int) -> tuple[Floats | None, Levels]:
    """Of pairs that do not overlap, so that differences are independent: views (0, 1), (2, 3), and so on.

    The ends of a range meet, and places in it differ by a distance: what a mask that serves twice leaves is
    a little more or less than nothing, and both are near 0.
    """
    levels = _pairs(field.levels, axis) & np.uint8(field.count - 1)
    if field.fractions is None:
        return None, levels
    around = _pairs(field.fractions, axis) % 1.0
    return 2 * np.minimum(around, 1 - around), levels


def _pairs(values: Values, axis: int) -> Values:
    even = values.shape[axis] // 2 * 2
    if axis == 0:
        return values[1:even:2] - values[0:even:2]
    return values[:, 1:even:2] - values[:, 0:even:2]
