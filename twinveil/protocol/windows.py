"""What a linear layer's sums read: every tap of every output position."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import numpy.typing as npt

from twinveil.network.plan import Conv, Dense, Linear

Scalar = TypeVar("Scalar", bound=np.generic)


def windows(x: npt.NDArray[Scalar], node: Linear) -> npt.NDArray[Scalar]:
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
