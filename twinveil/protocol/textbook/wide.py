"""Integers wider than a machine word, as arrays of bits or bytes: import masks and whole plaintexts."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from gmpy2 import mpz

from twinveil.garbling.bits import integers_to_bits

Bits = npt.NDArray[np.bool_]


def random_bits(bits: int, count: int, top: int = 0) -> Bits:
    """(bits + top, count): uniform integers below 2^bits, with `top` zero bits above."""
    stored = -(-bits * count // 8)
    flat = np.unpackbits(np.frombuffer(os.urandom(stored), np.uint8))[: bits * count]
    return np.concatenate([flat.reshape(bits, count), np.zeros((top, count), np.uint8)]).astype(bool)


def low_bits(values: Sequence[mpz], bits: int) -> Bits:
    """(bits, len(values)): the low bits of non-negative integers."""
    mask = (mpz(1) << bits) - 1
    return integers_to_bits([int(value & mask) for value in values], bits)
