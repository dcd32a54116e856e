"""How probable a sample is if a cloud learns nothing: p-values, without further libraries.

Kolmogorov and Smirnov's distance is bounded by Massart's inequality (Ann. Probab. 18, 1990), which holds for
every sample size, of integers too; chi-square by its limit, with at least EXPECTED values a cell; a serial
correlation by its normal limit; guesses by the exact binomial distribution; two properties of views by
Fisher's exact test. Of many tests together, Holm's procedure keeps the probability of any false alarm below
what is asked for, whatever depends on what.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

FALSE_ALARMS = 1e-6
"""Probability that honest clouds raise any alarm at all, over all tests of one report."""

EXPECTED = 64
PIECE = 1 << 20
LEAST = 1e-300

Counts = npt.NDArray[np.int64]


def uniform_distance(fractions: npt.NDArray[np.float64]) -> float:
    """p of values in [0, 1) if they are uniform, by their largest distance from the diagonal."""
    values, n = np.sort(fractions.reshape(-1)), fractions.size
    steps = np.arange(1, n + 1) / n
    return _massart(float(max((steps - values).max(), (values - steps).max() + 1 / n)), n)


def cell_distance(counts: Counts) -> float:
    """The same of integers, from how often each occurs."""
    n, uniform = int(counts.sum()), np.arange(1, len(counts) + 1) / len(counts)
    return _massart(float(np.abs(np.cumsum(counts) / n - uniform).max()), n)


def _massart(distance: float, values: int) -> float:
    return bounded(2 * math.exp(-min(2 * values * distance * distance, 690)))


def occurrences(levels: npt.NDArray[np.uint8], count: int) -> Counts:
    """How often each integer below `count`, a power of 2 up to 256, occurs in the low bits."""
    flat = levels.reshape(-1)
    pieces = [flat[at : at + PIECE] & np.uint8(count - 1) for at in range(0, flat.size, PIECE)]
    found: Counts = sum((np.bincount(piece, minlength=count) for piece in pieces), np.zeros(count, np.int64))
    return found


def chi_square(counts: Counts) -> float | None:
    """p of integers that occur so often, if uniform; by as many low bits as the sample allows, None if it
    allows none."""
    size, cells = int(counts.sum()), len(counts)
    while cells > 1 and size < EXPECTED * cells:
        cells //= 2
    if cells < 2:
        return None
    found, expected = counts.reshape(-1, cells).sum(axis=0), size / cells
    return bounded(chi_square_tail(float(((found - expected) ** 2).sum() / expected), cells - 1))


def serial_correlation(fractions: npt.NDArray[np.float64]) -> float | None:
    """p of neighbours along the last axis if they are independent; None where there are too few."""
    left, right = fractions[..., :-1].reshape(-1), fractions[..., 1:].reshape(-1)
    if left.size < EXPECTED:
        return None
    spread = float(left.std() * right.std())
    if spread == 0:
        return LEAST
    correlation = float(((left - left.mean()) * (right - right.mean())).mean()) / spread
    return bounded(math.erfc(abs(correlation) * math.sqrt(left.size / 2)))


def chi_square_tail(statistic: float, freedom: int) -> float:
    """P(chi-square with `freedom` degrees >= statistic): the upper incomplete gamma function."""
    a, x = freedom / 2, statistic / 2
    if x <= 0:
        return 1.0
    front = math.exp(a * math.log(x) - x - math.lgamma(a))
    if x < a + 1:  # the series of the lower function
        term = total = 1 / a
        for step in range(1, 10_000):
            term *= x / (a + step)
            total += term
            if term < total * 1e-15:
                break
        return max(0.0, 1 - front * total)
    b, d = x + 1 - a, 1 / (x + 1 - a)  # Lentz's continued fraction
    c, h = 1e300, d
    for step in range(1, 10_000):
        factor = -step * (step - a)
        b += 2
        d = 1 / (factor * d + b or 1e-300)
        c = b + factor / c or 1e-300
        h *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return front * h


def binomial_tail(successes: int, trials: int, chance: float) -> float:
    """P(at least `successes`)."""
    if successes <= 0:
        return 1.0
    if chance <= 0:
        return 0.0
    if chance >= 1:
        return 1.0
    logs = [
        math.lgamma(trials + 1)
        - math.lgamma(k + 1)
        - math.lgamma(trials - k + 1)
        + k * math.log(chance)
        + (trials - k) * math.log1p(-chance)
        for k in range(successes, trials + 1)
    ]
    return min(1.0, sum(math.exp(each) for each in logs))


def guessing(right: int, guesses: int) -> float:
    """Two-sided p of so many right guesses of a fair coin."""
    return bounded(2 * binomial_tail(max(right, guesses - right), guesses, 0.5))


def interval(right: int, guesses: int, error: float = 0.05) -> tuple[float, float]:
    """Clopper and Pearson's exact confidence interval of the accuracy."""
    low = 0.0 if right == 0 else _solve(lambda p: binomial_tail(right, guesses, p) - error / 2)
    wrong = guesses - right
    high = 1.0 if wrong == 0 else 1 - _solve(lambda p: binomial_tail(wrong, guesses, p) - error / 2)
    return low, high


def fisher(both: int, one: int, other: int, views: int) -> float | None:
    """Fisher's exact test, two-sided: p of `both` views with two properties if of all views `one` have the
    first, `other` the second, and neither has to do with the other; None where so many and so few could
    never be significant."""
    fewest, most = max(0, one + other - views), min(one, other)
    ways = [math.comb(one, k) * math.comb(views - one, other - k) for k in range(fewest, most + 1)]
    found, all_ways = ways[both - fewest], math.comb(views, other)
    if min(ways) / all_ways > FALSE_ALARMS:
        return None
    return bounded(sum(each for each in ways if each <= found) / all_ways)


def holm(chances: Sequence[float], level: float = FALSE_ALARMS) -> list[bool]:
    """Which of the hypotheses are rejected, with probability at most `level` of rejecting any true one."""
    order = sorted(range(len(chances)), key=lambda at: chances[at])
    rejected = [False] * len(chances)
    for rank, at in enumerate(order):
        if chances[at] > level / (len(chances) - rank):
            break
        rejected[at] = True
    return rejected


def _solve(rising: Callable[[float], float]) -> float:
    """The zero of a rising function on [0, 1]."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if rising(middle) < 0:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def bounded(chance: float) -> float:
    """A p that is never 0, which no sample shows, nor above 1 by rounding."""
    return min(1.0, max(LEAST, chance))
