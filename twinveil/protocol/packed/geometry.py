"""A linear layer as windows over its input: which value meets which weight, and where padding is."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt

from twinveil.network.plan import Conv, Linear, Plan, Shape
from twinveil.ring import Words, modulo

Index = npt.NDArray[np.int32]
"""Of values in a flat array, counted from 1; 0 is nothing: padding, an empty slot, one that nobody reads."""


def placed(values: Words, index: Index, ring: int) -> Words:
    """values[index - 1] modulo 2^ring, and 0 where the index is 0."""
    return modulo(np.concatenate([np.zeros(1, np.uint64), values.reshape(-1)]), ring)[index]


@dataclass(frozen=True, slots=True)
class Geometry:
    """A convolution (out x taps) * (taps x positions); a dense layer reads channels of one position."""

    inputs: Shape
    outputs: Shape
    kernel: tuple[int, int]
    stride: int
    padding: int

    @classmethod
    def of(cls, plan: Plan, node: Linear) -> Geometry:
        inputs, outputs = plan.shapes[node.source], plan.shapes[node.name]
        if isinstance(node, Conv):
            return cls(inputs, outputs, node.kernel, node.stride, node.padding)
        return cls((prod(inputs), 1, 1), outputs, (1, 1), 1, 0)

    @property
    def taps(self) -> int:
        return self.inputs[0] * prod(self.kernel)

    @property
    def channels(self) -> int:
        """Of the output."""
        return self.outputs[0]

    @property
    def positions(self) -> int:
        return self.outputs[1] * self.outputs[2]

    def windows(self, rows: int = 1, columns: int = 1) -> Index:
        """What tiles of rows x columns output positions read: (channels, span, span, tiles, tiles).

        Padding is 0, and so is what tiles read that reach over the last position.
        """
        channels, height, width = self.inputs
        spans, steps, counts = self._tiles(rows, columns)
        sides = [(count - 1) * step + span for count, step, span in zip(counts, steps, spans, strict=True)]
        pad = self.padding
        padded = np.zeros(
            (channels, max(sides[0], height + 2 * pad), max(sides[1], width + 2 * pad)), np.int32
        )
        flat = np.arange(1, prod(self.inputs) + 1, dtype=np.int32)
        padded[:, pad : pad + height, pad : pad + width] = flat.reshape(self.inputs)
        view = np.lib.stride_tricks.sliding_window_view(padded, spans, axis=(1, 2))
        view = view[:, :: steps[0], :: steps[1]][:, : counts[0], : counts[1]]
        return view.transpose(0, 3, 4, 1, 2)

    @property
    def columns(self) -> Index:
        """What every tap of every output position reads: (taps, positions), taps in the weights' order."""
        return self.windows().reshape(self.taps, self.positions)

    def reads(self, rows: int, columns: int) -> tuple[int, int]:
        """Of how many rows and columns of the span some tile of that size reads no padding only."""
        spans, steps, counts = self._tiles(rows, columns)
        row, column = (
            sum(
                any(0 <= at + tile * step - self.padding < side for tile in range(count))
                for at in range(span)
            )
            for side, span, step, count in zip(self.inputs[1:], spans, steps, counts, strict=True)
        )
        return row, column

    def _tiles(self, rows: int, columns: int) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
        """Of tiles of that size: the span that one reads, the step to the next, and how many there are."""
        stride, kernel = self.stride, self.kernel
        spans = ((rows - 1) * stride + kernel[0], (columns - 1) * stride + kernel[1])
        counts = (-(-self.outputs[1] // rows), -(-self.outputs[2] // columns))
        return spans, (rows * stride, columns * stride), counts
