"""For the tests of native arithmetic: every level, extreme moduli and numbers, and Python's own answers."""

from __future__ import annotations

import math
import os
import random
from collections.abc import Sequence

import pytest
from gmpy2 import mpz

from twinveil.crypto.native.arithmetic import Arithmetic, Rows
from twinveil.crypto.native.level import GMPY2, NATIVE, VARIABLE, arithmetic, available

LEVELS = (*NATIVE, GMPY2)
BITS = (64, 256, 1024, 1100, 1536, 2048, 3072, 3496, 4096)
"""Lengths of n: 3496 are the longest that 28-bit limbs hold."""


def at_level(n: int, level: str, threads: int = 1) -> Arithmetic:
    """That level's arithmetic; a level that this machine lacks is named as not run."""
    if level != GMPY2 and level not in available():
        if os.environ.get(VARIABLE) == "required" and not available():
            pytest.fail("the native extension is required and not there")
        pytest.skip(f"this processor has no {level}")
    return arithmetic(mpz(n), level, threads)


def moduli(bits: int) -> list[int]:
    """Odd numbers of that length: full limbs, hardly any, and random ones."""
    rng = random.Random(bits)
    return [(1 << bits) - 1, (1 << (bits - 1)) + 1, rng.getrandbits(bits) | 1 | 1 << (bits - 1)]


def extremes(n: int) -> list[int]:
    """Numbers below n^2 with all, no, or few bits set, at the borders of halves and limbs."""
    squared, bits = n * n, n.bit_length()
    rng = random.Random(n)
    patterns = [
        (1 << bits) - 1,
        1 << bits,
        (1 << (2 * bits - 2)) - 1,
        1 << 52,
        (1 << 52) - 1,
        1 << 28,
        (1 << 27) - 1,
    ]
    return [
        *(0, 1, 2, n - 1, n, n + 1, squared - 1, squared - n, squared - n - 1, squared // 2),
        *(each % squared for each in patterns),
        *(rng.randrange(squared) for _ in range(6)),
    ]


def units(n: int, numbers: Sequence[int]) -> list[int]:
    """Those that are coprime to n."""
    return [number for number in numbers if math.gcd(number, n) == 1]


def to_rows(on: Arithmetic, numbers: Sequence[int]) -> Rows:
    return on.load(b"".join([int(number).to_bytes(on.size, "big") for number in numbers]))


def to_numbers(on: Arithmetic, rows: Rows) -> list[int]:
    data = on.store(rows)
    return [int.from_bytes(data[at : at + on.size], "big") for at in range(0, len(data), on.size)]


def plain_bytes(on: Arithmetic, plaintexts: Sequence[int]) -> bytes:
    return b"".join([int(m).to_bytes(on.half_size, "big") for m in plaintexts])
