"""The bilinear maps of linear layers on additive shares modulo 2^bits, bits at most 31.

x = x1 + x2 mod 2^bits, x1 uniform: either share alone says nothing (perfectly).
"""

from __future__ import annotations

import numpy as np

from twinveil.network.plan import Conv, Dense, Linear
from twinveil.ring import Words, modulo


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
