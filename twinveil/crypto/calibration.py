"""What one big-integer operation of each kind costs on this machine, for a size of key."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import gmpy2
from gmpy2 import mpz

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
from twinveil.parallel import powers


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
    p_squared, modulus = p * p, n * n
    x = gmpy2.powmod(2, n - 2, modulus)
    y = x * x % modulus
    u, v, w = x % n, y % n, x % p_squared
    return {
        MODMUL_N2: time_of(lambda: x * y % modulus, 400),
        MODMUL_N2_HALF: time_of(lambda: x * u % modulus, 400),
        SQUARE_N2: time_of(lambda: x * x % modulus, 400),
        MUL_N: time_of(lambda: u * v, 1600),
        MODMUL_N: time_of(lambda: u * v % n, 800),
        INVERSE_N: time_of(lambda: gmpy2.invert(u, n), 100),
        INVERSE_N2: time_of(lambda: gmpy2.invert(x, modulus), 60),
        POWER_N2: time_of(lambda: gmpy2.powmod(x, n - 2, modulus), 5),
        POWER_P2: time_of(lambda: powers([w], p - 1, p_squared, 1, constant_time=True), 8, rounds=5),
        MODMUL_P2: time_of(lambda: w * w % p_squared, 400),
    }
