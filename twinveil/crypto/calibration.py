"""What one big-integer operation of each kind costs on this machine, for a size of key.

At the level that this process computes with, in batches as the packed engine has them; the powers, inverses
and short products that the textbook engine takes one at a time are gmpy2's.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import gmpy2
import numpy as np
from gmpy2 import mpz

from twinveil.crypto.native.residues import Modulus
from twinveil.crypto.native.tables import (
    FixedBase,
    Tables,
    exponentiation_counts,
    multi_exponentiate,
    table_counts,
)
from twinveil.crypto.tally import (
    INVERSE_N,
    INVERSE_N2,
    MODMUL_N,
    MODMUL_N2,
    MODMUL_N2_HALF,
    MODMUL_P2,
    MUL_N,
    POWER_N2,
    POWER_P2,
    SQUARE_N2,
)

BATCH = 64
"""Numbers that are computed with at once."""
POWERS = 16
"""Secret powers likewise: they take long."""
STEPS = 16
"""Table steps of one product."""
WEIGHT_BITS = 64


def time_of(operation: Callable[[], object], repeats: int, rounds: int = 7) -> float:
    """Processor seconds of one call in this thread: the median over `rounds` of the mean over `repeats`."""
    means = []
    for _ in range(rounds):
        start = time.thread_time()
        for _ in range(repeats):
            operation()
        means.append((time.thread_time() - start) / repeats)
    return statistics.median(means)


def calibrate(key_bits: int) -> dict[str, float]:
    """Seconds of one operation of each of tally.KINDS, in a second or two.

    Any odd numbers of full size will do: these are nobody's key, and a calibration draws no randomness.
    """
    half = key_bits // 2
    p = (mpz(3) << (half - 2)) + (mpz(1) << (half // 3)) + 1
    n = p * (p + 2)
    modulus, squared = n * n, Modulus.squared(n)
    x = gmpy2.powmod(2, n - 2, modulus)
    u, v = x % n, x * x % n
    numbers = squared.residues([gmpy2.powmod(x, each, modulus) for each in range(1, BATCH + 1)])
    base = FixedBase(numbers[:1], 8 * STEPS)
    exponents = [int(u >> each) % (1 << 8 * STEPS) for each in range(BATCH)]
    secret = Modulus.squared(p)
    bases = secret.residues([number % secret.n_squared for number in numbers.to_ints()[:POWERS]])
    weights = np.arange(1, POWERS + 1, dtype=np.uint64)[np.newaxis] << np.uint64(WEIGHT_BITS - 8)
    checks = sum(exponentiation_counts(POWERS, 1, WEIGHT_BITS).values())
    secret_exponents = [int(p - 1)] * POWERS

    def each(operation: Callable[[], object], count: int, repeats: int = 4) -> float:
        return time_of(operation, repeats) / count

    return {
        MODMUL_N2: each(lambda: numbers * numbers, BATCH),
        MODMUL_N2_HALF: each(lambda: base.powers(exponents), BATCH * STEPS),
        SQUARE_N2: each(lambda: numbers.squared(8), 8 * BATCH),
        MUL_N: time_of(lambda: u * v, 1600),
        MODMUL_N: each(lambda: Tables(numbers), table_counts(BATCH)[MODMUL_N], 1),
        INVERSE_N: time_of(lambda: gmpy2.invert(u, n), 100),
        INVERSE_N2: time_of(lambda: gmpy2.invert(x, modulus), 60),
        POWER_N2: time_of(lambda: gmpy2.powmod(x, n - 2, modulus), 5),
        POWER_P2: each(lambda: bases.power(secret_exponents, half), POWERS, 1),
        MODMUL_P2: each(lambda: multi_exponentiate(bases, weights, WEIGHT_BITS), checks, 2),
    }
