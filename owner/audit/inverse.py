"""The attacker's networks: opposite to the recogniser, features in, picture out.

    spatial features (c, h, w)   convolutions at h x w, then transposed convolutions up to the picture
    flat features (d,)           a dense start to a small picture, then the same

Both know one linear map from all features to all pixels, the ridge regression of the samples. A flat
attacker learns what is missing from it. A spatial one learns from the mean picture (few samples are fitted
by the linear map alone, and then teach nothing), and the map is the attack where it does better on
validation; so a layer is not found safer than a later one that is linear in it. `strong` is wider and has
residual blocks.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from twinveil.network.plan import Shape

Architecture = Literal["plain", "strong"]
ARCHITECTURES: tuple[Architecture, ...] = get_args(Architecture)

MAX_LINEAR = 1 << 23
"""Weights of a linear map from spatial features; larger ones get along without it."""


@dataclass(frozen=True, slots=True)
class _Widths:
    channels: int
    blocks: int


_WIDTHS: dict[str, _Widths] = {"plain": _Widths(16, 0), "strong": _Widths(40, 2)}


def is_spatial(features: Sequence[int]) -> bool:
    """Whether features of this shape still have places."""
    return len(features) == 3 and features[1] > 1 and features[2] > 1


def inverse_network(features: Sequence[int], picture: Shape, architecture: Architecture) -> Inverse:
    """An untrained attacker for features of a shape, (c, h, w) or (d,), and pictures (channels, h, w)."""
    widths = _WIDTHS[architecture]
    if is_spatial(features):
        return SpatialInverse((features[0], features[1], features[2]), picture, widths)
    return FlatInverse(math.prod(features), picture, widths)


class Inverse(nn.Module, ABC):
    """Pictures (n, channels, height, width), values around 0 .. 1, of standardised features.

    Before training it gives the ridge regression of the samples, or their mean picture where it has no map.
    """

    def __init__(self, picture: Shape) -> None:
        super().__init__()
        self.picture = picture
        self.mean = nn.Parameter(torch.zeros(picture))
        self.linear: nn.Linear | None = None

    def forward(self, features: Tensor) -> Tensor:
        pictures: Tensor = self.mean + self.grown(features)
        if self.linear is not None:
            pictures = pictures + self.linear(features.flatten(1)).reshape(-1, *self.picture)
        return pictures

    @abstractmethod
    def grown(self, features: Tensor) -> Tensor:
        """What the network adds to the mean picture and the linear map."""

    @torch.no_grad()
    def start_from(self, mean: Tensor, weights: Tensor | None) -> None:
        """mean: a picture; weights: of the linear map, (pixels, features), or None where nothing is known."""
        self.mean.copy_(mean)
        if self.linear is not None:
            self.linear.weight.zero_()
            if weights is not None:
                self.linear.weight.copy_(weights)

    @torch.no_grad()
    def begin(self) -> None:
        """Leave the linear start; the map itself is never trained (a step of every weight tears it apart)."""
        if self.linear is not None:
            self.linear.weight.requires_grad_(False)


class FlatInverse(Inverse):
    """A dense start for flat features."""

    def __init__(self, inputs: int, picture: Shape, widths: _Widths) -> None:
        super().__init__(picture)
        self.small = tuple(-(-side // 4) for side in picture[1:])
        self.channels = widths.channels
        start = widths.channels * self.small[0] * self.small[1]
        hidden = 64 * (1 + widths.blocks)
        self.linear = nn.Linear(inputs, math.prod(picture), bias=False)
        self.start = nn.Sequential(
            nn.Linear(inputs, hidden), nn.ReLU(), nn.Dropout(0.1), nn.Linear(hidden, start), nn.ReLU()
        )
        self.grow = _Growth(widths.channels, self.small, picture, widths)

    def grown(self, features: Tensor) -> Tensor:
        started = self.start(features.flatten(1)).reshape(-1, self.channels, *self.small)
        pictures: Tensor = self.grow(started)
        return pictures


class SpatialInverse(Inverse):
    """Transposed convolutions for features that still have places."""

    def __init__(self, features: tuple[int, int, int], picture: Shape, widths: _Widths) -> None:
        super().__init__(picture)
        self.grow = _Growth(features[0], features[1:], picture, widths)
        if math.prod(features) * math.prod(picture) <= MAX_LINEAR:
            self.linear = nn.Linear(math.prod(features), math.prod(picture), bias=False)

    def grown(self, features: Tensor) -> Tensor:
        pictures: Tensor = self.grow(features)
        return pictures

    @torch.no_grad()
    def begin(self) -> None:
        super().begin()
        if self.linear is not None:
            self.linear.weight.zero_()


class _Growth(nn.Module):
    """(n, inputs, *size) to pictures: each transposed convolution doubles the sides, the last are fitted."""

    def __init__(self, inputs: int, size: Sequence[int], picture: Shape, widths: _Widths) -> None:
        super().__init__()
        self.sides = tuple(picture[1:])
        channels = widths.channels
        layers: list[nn.Module] = [nn.Conv2d(inputs, channels, 3, padding=1), nn.ReLU()]
        layers += [_Residual(channels) for _ in range(widths.blocks)]
        while max(wanted / side for wanted, side in zip(self.sides, size, strict=True)) > 1.5:
            layers += [nn.ConvTranspose2d(channels, channels, 4, stride=2, padding=1), nn.ReLU()]
            size = [2 * side for side in size]
        self.up = nn.Sequential(*layers)
        final = nn.Conv2d(channels, picture[0], 3, padding=1, bias=False)  # the mean picture is its bias
        nn.init.zeros_(final.weight)
        self.last = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(), final)

    def forward(self, features: Tensor) -> Tensor:
        grown = self.up(features)
        if tuple(grown.shape[2:]) != self.sides:
            grown = functional.interpolate(grown, self.sides, mode="bilinear", align_corners=False)
        pictures: Tensor = self.last(grown)
        return pictures


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.second(torch.relu(self.first(x))))
