"""Small networks in integers: dense layers, convolutions and transposed convolutions of fixed-point values.

A value v stands for v / 2^FRACTION_BITS; a layer multiplies by int16 weights in int64, adds its bias, shifts
back with rounding, clips and applies its activation. No sum can leave int64: see MOST_TAPS.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from twinveil.errors import BadPlan
from twinveil.sealing.integers import Integers, clipped, look_up, rounded_shift

Activation = Literal["linear", "relu", "leaky", "tanh"]
ACTIVATIONS: tuple[Activation, ...] = ("linear", "relu", "leaky", "tanh")

LEAK_NUMERATOR, LEAK_BITS = 77, 8
"""The leaky rectifier lets 77/256 of negative values through."""
MOST_TAPS = 1 << 16
"""Products in one sum: 2^16 of 2^17 by 2^15, and a bias of 2^31, stay below 2^49."""


class Layer(Protocol):
    def apply(self, values: Integers) -> Integers: ...


@dataclass(frozen=True, slots=True, eq=False)
class Scaling:
    """What every layer with weights ends in: + bias, / 2^shift, activation."""

    bias: Integers
    shift: int
    activation: Activation

    def finish(self, sums: Integers) -> Integers:
        """sums: (channels, ...), of any number of axes."""
        bias = self.bias.reshape(-1, *(1,) * (sums.ndim - 1))
        return activate(clipped(rounded_shift(sums + bias, self.shift)), self.activation)


@dataclass(frozen=True, slots=True, eq=False)
class Dense:
    """weight (outputs, inputs); flattens what comes in."""

    weight: Integers
    scaling: Scaling

    def apply(self, values: Integers) -> Integers:
        flat = values.reshape(-1)
        if flat.size != self.weight.shape[1]:
            raise BadPlan("a dense layer's inputs do not fit its weights")
        return self.scaling.finish(self.weight @ flat)


@dataclass(frozen=True, slots=True, eq=False)
class Affine:
    """weight (features,): batch normalisation after an activation, which folds into no other layer."""

    weight: Integers
    scaling: Scaling

    def apply(self, values: Integers) -> Integers:
        if values.shape != self.weight.shape:
            raise BadPlan("an affine layer's inputs do not fit its weights")
        return self.scaling.finish(values * self.weight)


@dataclass(frozen=True, slots=True, eq=False)
class Conv:
    """weight (outputs, inputs, k, k), k odd; zero padding of k // 2 on every side."""

    weight: Integers
    scaling: Scaling
    stride: int

    def apply(self, values: Integers) -> Integers:
        outputs, inputs, size, _ = self.weight.shape
        _check_planes(values, inputs)
        edge = size // 2
        padded = np.pad(values, ((0, 0), (edge, edge), (edge, edge)))
        windows = sliding_window_view(padded, (size, size), axis=(1, 2))[:, :: self.stride, :: self.stride]
        height, width = windows.shape[1:3]
        columns = windows.transpose(1, 2, 0, 3, 4).reshape(height * width, -1)
        sums = self.weight.reshape(outputs, -1) @ columns.T
        return self.scaling.finish(sums.reshape(outputs, height, width))


@dataclass(frozen=True, slots=True, eq=False)
class Deconv:
    """weight (inputs, outputs, k, k), k odd: (c, h, w) becomes (outputs, stride h, stride w)."""

    weight: Integers
    scaling: Scaling
    stride: int

    def apply(self, values: Integers) -> Integers:
        inputs, outputs, size, _ = self.weight.shape
        _check_planes(values, inputs)
        height, width = values.shape[1:]
        stride, edge = self.stride, size // 2
        pixels = np.ascontiguousarray(values.reshape(inputs, -1).T)
        taps = np.ascontiguousarray(self.weight.reshape(inputs, -1).T) @ pixels.T
        taps = taps.reshape(outputs, size, size, height, width)
        full = np.zeros(
            (outputs, height * stride + size + stride, width * stride + size + stride), dtype=np.int64
        )
        for row in range(size):
            for column in range(size):
                full[:, row : row + height * stride : stride, column : column + width * stride : stride] += (
                    taps[:, row, column]
                )
        return self.scaling.finish(full[:, edge : edge + height * stride, edge : edge + width * stride])


@dataclass(frozen=True, slots=True)
class Reshape:
    shape: tuple[int, ...]

    def apply(self, values: Integers) -> Integers:
        try:
            return values.reshape(self.shape)
        except ValueError:
            raise BadPlan("a network's values do not fit the shape they are brought to") from None


def run(layers: Sequence[Layer], values: Integers) -> Integers:
    """One layer after the other."""
    for layer in layers:
        values = layer.apply(values)
    return values


def activate(values: Integers, activation: Activation) -> Integers:
    match activation:
        case "linear":
            return values
        case "relu":
            return np.maximum(values, 0)
        case "leaky":
            return np.where(values < 0, (values * LEAK_NUMERATOR) >> LEAK_BITS, values)
        case "tanh":
            return look_up("tanh", values)


def _check_planes(values: Integers, inputs: int) -> None:
    if values.ndim != 3 or values.shape[0] != inputs:
        raise BadPlan("a convolution's inputs do not fit its weights")
