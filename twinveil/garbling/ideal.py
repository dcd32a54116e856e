"""The ideal twins: what each gadget and oblivious transfer must give, on plain integers.

Arrays are int64 of any shape and hold the integers themselves; windows run over the last two axes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from twinveil.garbling.labels import Bools, Bytes

Integers = npt.NDArray[np.int64]


def transfer(pairs: Bytes, choice_bits: Bools) -> Bytes:
    """Oblivious transfer by a trusted third: (n, 2, 16) and bool (n,) -> (n, 16)."""
    return pairs[np.arange(len(pairs)), choice_bits.astype(np.intp)]


def add(a: Integers, b: Integers, bits: int) -> Integers:
    return (a + b) % (1 << bits)


def subtract(a: Integers, b: Integers, bits: int) -> Integers:
    return (a - b) % (1 << bits)


def greater(a: Integers, b: Integers) -> Bools:
    return a > b


def mux(select: Bools, a: Integers, b: Integers) -> Integers:
    return np.where(select, a, b)


def maximum(a: Integers, b: Integers) -> Integers:
    return np.maximum(a, b)


def is_positive(v: Integers) -> Bools:
    return v > 0


def relu_requantise(v: Integers, shift: int, bits: int) -> Integers:
    return np.asarray(np.minimum(np.maximum(v, 0) >> shift, (1 << bits) - 1))


def argmax(values: Integers) -> Integers:
    """Along axis 0, ties to the lowest index."""
    return np.asarray(np.argmax(values, axis=0))


def one_hot_maximum(values: Integers) -> Bools:
    """Along axis 0, ties to the lowest index."""
    places = np.arange(len(values)).reshape(-1, *[1] * (values.ndim - 1))
    return np.asarray(places == argmax(values))


def max_windows(values: Integers, size: int, stride: int, padding: int) -> Integers:
    """(..., H, W) -> (..., OH, OW), window by window; padding is no part of one."""
    height, width = values.shape[-2:]
    rows = range(-padding, height + padding - size + 1, stride)
    columns = range(-padding, width + padding - size + 1, stride)
    out = np.zeros((*values.shape[:-2], len(rows), len(columns)), np.int64)
    for at_row, top in enumerate(rows):
        for at_column, left in enumerate(columns):
            covered = values[..., max(top, 0) : top + size, max(left, 0) : left + size]
            out[..., at_row, at_column] = covered.max(axis=(-2, -1))
    return out
