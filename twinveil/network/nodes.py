"""The layers that a plan is made of. Tensors are (channels, height, width)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

Shape = tuple[int, int, int]

IMAGE = "image"
"""Name of the plan's input tensor."""


@dataclass(frozen=True, slots=True)
class Conv:
    """SCVL: accumulators of a convolution. Weights (out, in, kh, kw), signed, `weight_bits` each."""

    kind: ClassVar[str] = "conv"
    name: str
    source: str
    out_channels: int
    kernel: tuple[int, int]
    stride: int
    padding: int
    weight_bits: int
    accumulator_bits: int


@dataclass(frozen=True, slots=True)
class Relu:
    """SACT and requantisation: min(max(v, 0) >> shift, 2^bits - 1)."""

    kind: ClassVar[str] = "relu"
    name: str
    source: str
    shift: int
    bits: int


@dataclass(frozen=True, slots=True)
class MaxPool:
    """SMAP: maximum over size x size windows; padding is left out of the window."""

    kind: ClassVar[str] = "maxpool"
    name: str
    source: str
    size: int
    stride: int
    padding: int


@dataclass(frozen=True, slots=True)
class Concat:
    """Channels of several activations, one after the other."""

    kind: ClassVar[str] = "concat"
    name: str
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Dense:
    """SCT: the class vector. Weights (out, channels * height * width), channel-major flattening."""

    kind: ClassVar[str] = "dense"
    name: str
    source: str
    out_features: int
    weight_bits: int
    accumulator_bits: int


Linear = Conv | Dense
Node = Conv | Relu | MaxPool | Concat | Dense


def output_shape(node: Node, shapes: Mapping[str, Shape]) -> Shape:
    """Shape of the tensor that `node` makes from tensors of `shapes`, by name."""
    match node:
        case Conv():
            _, height, width = shapes[node.source]
            return (
                node.out_channels,
                _steps(height, node.kernel[0], node.stride, node.padding),
                _steps(width, node.kernel[1], node.stride, node.padding),
            )
        case MaxPool():
            channels, height, width = shapes[node.source]
            return (
                channels,
                _steps(height, node.size, node.stride, node.padding),
                _steps(width, node.size, node.stride, node.padding),
            )
        case Concat():
            first = shapes[node.sources[0]]
            return (sum(shapes[source][0] for source in node.sources), first[1], first[2])
        case Relu():
            return shapes[node.source]
        case Dense():
            return (node.out_features, 1, 1)


def _steps(side: int, kernel: int, stride: int, padding: int) -> int:
    return (side + 2 * padding - kernel) // stride + 1
