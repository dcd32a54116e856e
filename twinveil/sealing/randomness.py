"""Random numbers from a seed, the same everywhere: SHAKE-256, and normal values as sums of uniform ones."""

from __future__ import annotations

import hashlib

import numpy as np

from twinveil.sealing.integers import FRACTION_BITS, Integers, rounded_shift

_SUMMANDS = 12
"""The sum of twelve uniform values has variance 1 (Irwin-Hall); its tails end at +-6."""


def stream(seed: bytes, purpose: str, count: int) -> bytes:
    """`count` bytes that only a seed and a purpose determine."""
    return hashlib.shake_256(b"twinveil sealing " + purpose.encode() + b"\0" + seed).digest(count)


def normals(seed: bytes, purpose: str, shape: tuple[int, ...]) -> Integers:
    """Normally distributed fixed-point values of mean 0 and variance 1."""
    count = int(np.prod(shape))
    drawn = np.frombuffer(stream(seed, purpose, 2 * _SUMMANDS * count), dtype=">u2").astype(np.int64)
    sums = 2 * drawn.reshape(count, _SUMMANDS).sum(axis=1) - _SUMMANDS * 0xFFFF
    return rounded_shift(sums, 17 - FRACTION_BITS).reshape(shape)
