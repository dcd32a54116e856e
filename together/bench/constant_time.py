"""Whether the time of a secret power tells its exponent: `python -m together.bench.constant_time`, minutes.

After Reparaz, Balasch, Verbauwhede, "Dude, is my code constant time?" (DATE 2017): exponents of a fixed
class and random ones in random order, and Welch's t between their times, cropped at several percentiles.
Classes: no bit but the first, all bits. As a control, the same arithmetic leaves out multiplications for
digits that are 0, and has to be found. Exits with 1 where a level is told apart, or a control is not.
"""

from __future__ import annotations

import secrets
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from twinveil.crypto.native.arithmetic import Arithmetic, Rows
from twinveil.crypto.native.level import GMPY2, available
from twinveil.crypto.native.residues import Modulus

MODULUS_BITS, EXPONENT_BITS = 1024, 256
NUMBERS = 8
MEASUREMENTS = 6000
CROPS = (40, 60, 80, 95)
"""Percentiles: what is slower than that was interrupted."""
FOUND = 10.0
"""|t| above which times are told apart (as dudect has it); without a difference it stays below 4.5."""

Power = Callable[[Arithmetic, Rows, Sequence[int]], object]


def constant(on: Arithmetic, rows: Rows, exponents: Sequence[int]) -> object:
    return on.power([(on, rows, exponents)], EXPONENT_BITS)


def leaky(on: Arithmetic, rows: Rows, exponents: Sequence[int]) -> object:
    """Windows of 4 bits, and no multiplication where one is 0."""
    total = rows
    for shift in range(EXPONENT_BITS - 8, -1, -4):
        total = on.square(total, 4)
        if exponents[0] >> shift & 15:
            total = on.multiply(total, rows)
    return total


def draw() -> int:
    return secrets.randbits(EXPONENT_BITS - 1) | 1 << (EXPONENT_BITS - 1)


def times(
    power: Power, on: Arithmetic, rows: Rows, fixed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Nanoseconds for the fixed exponent, and for random ones."""
    seconds: tuple[list[int], list[int]] = ([], [])
    for _ in range(MEASUREMENTS):
        kind, other = secrets.randbelow(2), draw()
        exponents = [(fixed, other)[kind]] * NUMBERS
        start = time.thread_time_ns()
        power(on, rows, exponents)
        seconds[kind].append(time.thread_time_ns() - start)
    return np.array(seconds[0], np.float64), np.array(seconds[1], np.float64)


def welch(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """The largest |t| over all crops."""
    found = []
    both = np.concatenate([a, b])
    for crop in CROPS:
        limit = np.percentile(both, crop)
        x, y = a[a <= limit], b[b <= limit]
        if min(len(x), len(y)) < 30:
            return float("inf")  # one class is nearly always the slower
        found.append(abs(x.mean() - y.mean()) / np.sqrt(x.var(ddof=1) / len(x) + y.var(ddof=1) / len(y)))
    return float(max(found))


def main() -> int:
    classes = {"no bit but the first": 1 << (EXPONENT_BITS - 1), "all bits": (1 << EXPONENT_BITS) - 1}
    failed = False
    for level in (*available(), GMPY2):
        modulus = Modulus.squared((1 << MODULUS_BITS) - 105, at=level)
        rows = modulus.residues([secrets.randbelow(int(modulus.n) ** 2) for _ in range(NUMBERS)]).rows
        for kind, fixed in classes.items():
            t = welch(*times(constant, modulus.many, rows, fixed))
            control = welch(*times(leaky, modulus.many, rows, fixed))
            verdict = "told apart" if t > FOUND else "not told apart"
            failed |= t > FOUND or control <= FOUND
            print(
                f"{level:6} {kind:22} |t| {t:8.1f}, {verdict}; the leaky control: {control:.1f}", flush=True
            )
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
