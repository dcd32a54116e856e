"""The recogniser: a small residual network with a feature vector before its classifier.

    conv3x3/2 - three residual blocks, the last two halving the side - average pool - features - dense

One network serves twice, with the same hyper-parameters and epochs: trained on whole pictures it is what
anyone has (the original recogniser), on covered ones it is ours (the masked-image recogniser).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from owner.training.augmentation import Distortions, distort
from owner.training.datasets import Labels
from owner.training.descent import descend
from twinveil.errors import BadInput
from twinveil.pictures.files import Picture

OnEpoch = Callable[[int, int, float], None]
"""(epochs done, epochs, mean loss)"""

FACES = Distortions(degrees=8, shear=0.06, scale=0.08, shift=0.05, warp=0.015)
"""Faces are bent less than handwriting."""

_CONTRAST, _BRIGHTNESS = 0.3, 40.0
"""Uniform in +- this: a network that has only seen even light fails at the smallest spot, and an original
recogniser that is worse than anyone's would make every mask look good."""

_LABEL_SMOOTHING = 0.1


@dataclass(frozen=True, slots=True)
class RecogniserSettings:
    """Shared by both recognisers. width: channels of the first stage; features are four times as many."""

    width: int = 16
    epochs: int = 100
    batch: int = 32
    learning_rate: float = 4e-3

    def __post_init__(self) -> None:
        if not 2 <= self.width <= 256:
            raise BadInput(f"the recogniser's width must be 2 to 256 channels, not {self.width}")
        if not 1 <= self.epochs <= 10_000:
            raise BadInput(f"epochs must be 1 to 10000, not {self.epochs}")


class Block(nn.Module):
    """x + conv(conv(x)), batch normalised; (n, inputs, h, w) -> (n, outputs, h / stride, w / stride)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(outputs)
        self.second = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(outputs)
        self.across: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.across = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        inner = functional.relu(self.first_norm(self.first(x)))
        return functional.relu(self.second_norm(self.second(inner)) + self.across(x))


class Recogniser(nn.Module):
    """Class scores (n, classes) of pictures (n, channels, height, width) with pixels 0 .. 255."""

    def __init__(self, channels: int, classes: int, width: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(channels, width, 3, 2, 1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.stages = nn.Sequential(
            Block(width, width, 1), Block(width, 2 * width, 2), Block(2 * width, 4 * width, 2)
        )
        self.dense = nn.Linear(4 * width, classes)

    def features(self, pixels: Tensor) -> Tensor:
        """The vector (n, 4 width) from which the classifier tells the classes."""
        x = functional.relu(self.norm(self.stem(pixels / 64 - 2)))
        return torch.flatten(functional.adaptive_avg_pool2d(self.stages(x), 1), 1)

    def forward(self, pixels: Tensor) -> Tensor:
        scores: Tensor = self.dense(self.features(pixels))
        return scores


def train_recogniser(
    pictures: Picture,
    labels: Labels,
    classes: int,
    settings: RecogniserSettings,
    seed: int,
    masks: Tensor | None = None,
    report: OnEpoch = lambda done, epochs, loss: None,
) -> Recogniser:
    """A recogniser of pictures uint8 (n, channels, h, w); the seed decides its weights.

    masks: 0/1 floats (count, 1, h, w); every picture of every epoch is covered by one of them, each as
    likely as any other. Without masks it is trained on whole pictures. Raises BadInput if training diverges.
    """
    source = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = Recogniser(pictures.shape[1], classes, settings.width)
    size = min(settings.batch, len(pictures))
    count = len(pictures) // size
    optimizer = torch.optim.AdamW(network.parameters(), lr=settings.learning_rate, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.learning_rate, total_steps=settings.epochs * count, pct_start=0.2
    )
    pixels, targets = torch.from_numpy(pictures), torch.from_numpy(labels)
    for epoch in range(settings.epochs):
        losses = 0.0
        # The last, smaller batch waits for another epoch: batch normalisation needs company.
        for places in torch.randperm(len(pixels), generator=source)[: count * size].reshape(count, size):
            shown = vary(pixels[places].float(), source)
            if masks is not None:
                shown = shown * masks[torch.randint(len(masks), (size,), generator=source)]
            loss = functional.cross_entropy(network(shown), targets[places], label_smoothing=_LABEL_SMOOTHING)
            losses += descend(optimizer, loss)
            schedule.step()
        report(epoch + 1, settings.epochs, losses / count)
    return network.eval()


def vary(pixels: Tensor, source: torch.Generator) -> Tensor:
    """Each picture distorted and lit by itself; 0 .. 255 like `pixels` (n, channels, h, w)."""

    def uniform(limit: float) -> Tensor:
        return (torch.rand(len(pixels), 1, 1, 1, generator=source) * 2 - 1) * limit

    bent = distort(pixels, FACES, source)
    return ((bent - 128) * (1 + uniform(_CONTRAST)) + 128 + uniform(_BRIGHTNESS)).clamp(0, 255)


@torch.no_grad()
def recognise(network: Recogniser, pictures: Picture, batch: int = 240) -> Labels:
    """Classes int64 (n,) of pictures uint8 (n, channels, h, w)."""
    network.eval()
    found = [
        network(torch.from_numpy(pictures[start : start + batch]).float()).argmax(dim=1).numpy()
        for start in range(0, len(pictures), batch)
    ]
    return np.concatenate([np.zeros(0, np.int64), *found])
