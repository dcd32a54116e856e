"""The networks of the first safety factor in torch, layer by layer as published, and the recogniser.

SIDE is 32: three strides of two from 4, two from 8. Padding "same" is k // 2 on every side.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from twinveil.sealing.network import LEAK_BITS, LEAK_NUMERATOR

SIDE = 32
PIXELS = SIDE * SIDE
FACE_SIDE = 48
FEATURES = 128
LEAK = LEAK_NUMERATOR / (1 << LEAK_BITS)
_SEED_CHANNELS = 32
"""Channels of the first reshape, which the publication leaves open."""


class Variational(nn.Module):
    """q(z|x) by transposed convolutions, p(x|z) by convolutions; x binary (n, 1, 32, 32), z shaped alike.

    The last published layer, one filter and linear, stands twice: for the mean and the log-variance of q.
    """

    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.Flatten(),
            nn.Linear(PIXELS, _SEED_CHANNELS * 4 * 4),
            nn.ReLU(),
            nn.Unflatten(1, (_SEED_CHANNELS, 4, 4)),
            _deconv(_SEED_CHANNELS, 64, 3, 2),
            nn.ReLU(),
            _deconv(64, 32, 3, 2),
            nn.ReLU(),
            _deconv(32, 16, 3, 2),
            nn.ReLU(),
        )
        self.mean = nn.Sequential(_deconv(16, 1, 3, 1))
        self.log_variance = nn.Sequential(_deconv(16, 1, 3, 1))
        self.decoder = nn.Sequential(
            nn.Conv2d(1, 16, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, 2, 1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(64 * 4 * 4, PIXELS),
        )

    def forward(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Logits of p(x|z), the sample z, and q's mean and log-variance."""
        features = self.trunk(x)
        mean = self.mean(features)
        log_variance = self.log_variance(features).clamp(-8, 8)
        z = mean + torch.exp(log_variance / 2) * noise
        return self.decoder(z), z, mean, log_variance


class Generator(nn.Module):
    """Noisy picture in -1 .. 1 -> derived picture in -1 .. 1, both (n, 1, 32, 32)."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(PIXELS, _SEED_CHANNELS * 8 * 8),
            nn.ReLU(),
            nn.BatchNorm1d(_SEED_CHANNELS * 8 * 8),
            nn.LeakyReLU(LEAK),
            nn.Unflatten(1, (_SEED_CHANNELS, 8, 8)),
            _deconv(_SEED_CHANNELS, 128, 5, 1, bias=False),
            nn.ReLU(),
            _deconv(128, 64, 5, 2, bias=False),
            nn.ReLU(),
            _deconv(64, 1, 5, 2, bias=False),
            nn.Tanh(),
        )

    def forward(self, picture: Tensor) -> Tensor:
        derived: Tensor = self.layers(picture)
        return derived


class Discriminator(nn.Module):
    """One logit a picture: positive for real, negative for derived ones."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 64, 5, 2, 2),
            nn.LeakyReLU(LEAK),
            nn.Dropout(0.3),
            nn.Conv2d(64, 128, 5, 2, 2),
            nn.LeakyReLU(LEAK),
            nn.Flatten(),
            nn.Linear(128 * 8 * 8, 1),
        )

    def forward(self, picture: Tensor) -> Tensor:
        logits: Tensor = self.layers(picture)
        return logits[:, 0]


class Recogniser(nn.Module):
    """Features (n, 128) of normalised faces (n, 1, 48, 48)."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 24, 5, 2, 2, bias=False),
            nn.BatchNorm2d(24),
            nn.ReLU(),
            nn.Conv2d(24, 48, 3, 2, 1, bias=False),
            nn.BatchNorm2d(48),
            nn.ReLU(),
            nn.Conv2d(48, 96, 3, 2, 1, bias=False),
            nn.BatchNorm2d(96),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(96 * 6 * 6, FEATURES),
        )

    def forward(self, face: Tensor) -> Tensor:
        features: Tensor = self.layers(face)
        return features


def _deconv(inputs: int, outputs: int, kernel: int, stride: int, bias: bool = True) -> nn.ConvTranspose2d:
    """(n, inputs, h, w) -> (n, outputs, stride h, stride w)."""
    return nn.ConvTranspose2d(inputs, outputs, kernel, stride, kernel // 2, stride - 1, bias=bias)
