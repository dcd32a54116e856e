"""Additive shares modulo 2^bits (bits <= 31), held in uint64 arrays, and the bilinear maps on them.

x = x1 + x2 mod 2^bits, x1 uniform: either share alone says nothing (perfectly). All arithmetic here wraps
modulo 2^64 and is reduced at the end, which is exact because 2^bits divides 2^64.
"""

from __future__ import annotations

import os

import numpy as np
import numpy.typing as npt

from twinveil.network.plan import Conv, Dense, Linear

Words = npt.NDArray[np.uint64]


def modulo(values: Words, bits: int) -> Words:
    return values & np.uint64((1 << bits) - 1)


def negate(values: Words, bits: int) -> Words:
    return modulo(np.uint64(0) - values, bits)


def signed(values: Words, bits: int) -> npt.NDArray[np.int64]:
    """The representative in [-2^(bits-1), 2^(bits-1))."""
    low = modulo(values, bits).astype(np.int64)
    return low - ((low >> (bits - 1)) << bits)


def uniform(shape: tuple[int, ...], bits: int) -> Words:
    """Fresh uniform values below 2^bits, from the operating system."""
    count = int(np.prod(shape, dtype=np.int64))
    return modulo(np.frombuffer(os.urandom(8 * count), np.uint64).reshape(shape), bits)


def windows(x: Words, node: Linear) -> Words:
    """Every tap of every output position: (channels, pictures, height, width) -> (taps, positions).

    Taps are in the order of the weights' flattening (channel, kernel row, kernel column); positions in the
    order (picture, row, column). Padding is an exact 0. A dense layer has one position a picture.
    """
    channels, pictures, height, width = x.shape
    match node:
        case Dense():
            return x.transpose(0, 2, 3, 1).reshape(channels * height * width, pictures)
        case Conv():
            pad = node.padding
            padded = np.zeros((channels, pictures, height + 2 * pad, width + 2 * pad), x.dtype)
            padded[:, :, pad : pad + height, pad : pad + width] = x
            view = np.lib.stride_tricks.sliding_window_view(padded, node.kernel, axis=(2, 3))
            view = view[:, :, :: node.stride, :: node.stride]
            taps = view.transpose(0, 4, 5, 1, 2, 3)
            return taps.reshape(channels * node.kernel[0] * node.kernel[1], -1)


def bilinear(x: Words, weights: Words, node: Linear, bits: int) -> Words:
    """SMP's bilinear map on one party's own shares: (out, positions), modulo 2^bits."""
    flat = weights.reshape(weights.shape[0], -1)
    return modulo(flat @ windows(x, node), bits)
