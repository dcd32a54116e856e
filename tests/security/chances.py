"""How unlikely data are if they are uniform: standard scores; beyond LIMIT chance explains nothing (2e-9)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from math import sqrt

LIMIT = 6.0


def uniformity(values: Sequence[Hashable], kinds: int) -> float:
    """Chi-square of `values` over `kinds` equally likely kinds, as a standard score (Wilson and Hilferty)."""
    expected = len(values) / kinds
    counts = Counter(values)
    if len(counts) > kinds:
        raise ValueError(f"{len(counts)} kinds where {kinds} are possible")
    square = sum((count - expected) ** 2 for count in counts.values()) / expected
    square += (kinds - len(counts)) * expected
    return score(square, kinds - 1)


def independence(left: Sequence[int], right: Sequence[int], kinds: int) -> float:
    """Chi-square of pairs over kinds x kinds cells, equally likely if both are uniform and independent."""
    return uniformity(list(zip(left, right, strict=True)), kinds * kinds)


def score(square: float, freedom: int) -> float:
    third = 2 / (9 * freedom)
    return float(((square / freedom) ** (1 / 3) - (1 - third)) / sqrt(third))


def spread(values: Sequence[int], below: int) -> float:
    """Kolmogorov and Smirnov: sqrt(n) * the largest distance from uniform on [0, below)."""
    count = len(values)
    scale = 1 << 53
    sorted_values = sorted((value * scale // below) / scale for value in values)
    largest = max(
        max((place + 1) / count - value, value - place / count) for place, value in enumerate(sorted_values)
    )
    return largest * sqrt(count)


SPREAD_LIMIT = 3.3
"""2 exp(-2 * 3.3^2) = 7e-10"""
