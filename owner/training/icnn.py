"""ICNN, the Inception-style network of the method: 11 convolutions, 4 max-pools, one dense layer.

    conv7x7/2 - pool3x3/2 - conv1x1 - conv3x3 - Inception A - Inception B - pool2x2 - flatten - dense
    Inception: {1x1}, {1x1 - 3x3}, {5x5}, {pool3x3}, side by side, channels concatenated

A ReLU follows every convolution. Batch normalisation, when there is any, exists for training only: compiling
folds it into the convolution before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from twinveil.errors import BadInput, BadPlan
from twinveil.network.plan import Shape

MIN_SIDE = 5
"""Smallest picture side that leaves something for the last pool."""


@dataclass(frozen=True, slots=True)
class Branches:
    """Channels of the four convolutions of an inception module; its pool keeps those of the input."""

    one: int
    reduce: int
    three: int
    five: int

    @property
    def made(self) -> int:
        """Channels that come out beside the pool's."""
        return self.one + self.three + self.five

    def scaled(self, factor: float) -> Branches:
        """Every number times `factor`, at least 1."""
        return Branches(*(_scaled(each, factor) for each in astuple(self)))


@dataclass(frozen=True, slots=True)
class Widths:
    """Channels of every convolution. The defaults give 953,424 products and 7,056 ReLUs on 28 x 28 x 1."""

    stem7: int = 8
    stem1: int = 8
    stem3: int = 16
    a: Branches = Branches(8, 8, 16, 8)
    b: Branches = Branches(16, 8, 16, 8)

    def scaled(self, factor: float) -> Widths:
        """Every number times `factor`, at least 1. Raises BadInput for a factor that gives no network."""
        if not 0 < factor <= 16:
            raise BadInput(f"the width must be above 0 and at most 16, not {factor}")
        stem7, stem1, stem3 = (_scaled(each, factor) for each in (self.stem7, self.stem1, self.stem3))
        return Widths(stem7, stem1, stem3, self.a.scaled(factor), self.b.scaled(factor))


def _scaled(channels: int, factor: float) -> int:
    return max(1, round(channels * factor))


TINY = Widths(stem7=2, stem1=2, stem3=3, a=Branches(2, 1, 2, 1), b=Branches(1, 2, 2, 1))
"""For tests: every layer is there, hardly any channels."""


class Unit(nn.Module):
    """Convolution, batch normalisation while training, ReLU. `padding` keeps the size at stride 1."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, batch_norm: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=not batch_norm)
        self.norm = nn.BatchNorm2d(outputs) if batch_norm else nn.Identity()
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        activations: Tensor = self.relu(self.norm(self.conv(x)))
        return activations


class Inception(nn.Module):
    """(n, inputs, h, w) -> (n, widths.made + inputs, h, w)."""

    def __init__(self, inputs: int, widths: Branches, batch_norm: bool) -> None:
        super().__init__()
        self.one = Unit(inputs, widths.one, 1, 1, batch_norm)
        self.reduce = Unit(inputs, widths.reduce, 1, 1, batch_norm)
        self.three = Unit(widths.reduce, widths.three, 3, 1, batch_norm)
        self.five = Unit(inputs, widths.five, 5, 1, batch_norm)
        self.pool = nn.MaxPool2d(3, stride=1, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.one(x), self.three(self.reduce(x)), self.five(x), self.pool(x)], dim=1)


class ICNN(nn.Module):
    """Class scores (n, classes) of pictures (n, channels, height, width) with values 0 .. 1.

    image_shape: (1 or 3 channels, height, width), sides of at least 5.
    Raises BadPlan for a shape or number of classes that it cannot be built for.
    """

    def __init__(
        self, image_shape: Shape, classes: int, widths: Widths | None = None, *, batch_norm: bool = True
    ) -> None:
        super().__init__()
        if classes < 2:
            raise BadPlan(f"a network needs at least two classes, not {classes}")
        if image_shape[0] not in (1, 3) or min(image_shape[1:]) < MIN_SIDE:
            raise BadPlan(
                f"pictures need 1 or 3 channels and sides of at least {MIN_SIDE}, not {image_shape}"
            )
        widths = widths or Widths()
        self.image_shape, self.classes = image_shape, classes
        self.stem7 = Unit(image_shape[0], widths.stem7, 7, 2, batch_norm)
        self.stem_pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.stem1 = Unit(widths.stem7, widths.stem1, 1, 1, batch_norm)
        self.stem3 = Unit(widths.stem1, widths.stem3, 3, 1, batch_norm)
        self.a = Inception(widths.stem3, widths.a, batch_norm)
        self.b = Inception(widths.a.made + widths.stem3, widths.b, batch_norm)
        self.pool = nn.MaxPool2d(2)
        self.flatten = nn.Flatten()
        channels = widths.b.made + widths.a.made + widths.stem3
        height, width = (_quarter(side) // 2 for side in image_shape[1:])
        self.dense = nn.Linear(channels * height * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem3(self.stem1(self.stem_pool(self.stem7(x))))
        scores: Tensor = self.dense(self.flatten(self.pool(self.b(self.a(x)))))
        return scores

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, npt.NDArray[np.float32]], image_shape: Shape) -> ICNN:
        """The network without batch normalisation whose state_dict `tensors` is; in evaluation mode.

        Raises BadInput if the tensors are not those of an ICNN on such pictures.
        """
        try:
            out = {name: len(tensor) for name, tensor in tensors.items() if name.endswith(".bias")}
            a, b = (
                Branches(*(out[f"{module}.{unit}.conv.bias"] for unit in ("one", "reduce", "three", "five")))
                for module in ("a", "b")
            )
            stem7, stem1, stem3 = (out[f"{unit}.conv.bias"] for unit in ("stem7", "stem1", "stem3"))
            network = cls(image_shape, out["dense.bias"], Widths(stem7, stem1, stem3, a, b), batch_norm=False)
            network.load_state_dict({name: torch.from_numpy(t.copy()) for name, t in tensors.items()})
        except (KeyError, TypeError, RuntimeError) as error:
            raise BadInput("these weights are not those of an ICNN for such pictures") from error
        return network.eval()


def _quarter(side: int) -> int:
    """Side after the two strides of the stem, each rounding up."""
    return ((side + 1) // 2 + 1) // 2
