"""The attack: training the repair network, repairing pictures, and how much better than the mean it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from owner.masks.recogniser import FACES, OnEpoch
from owner.masks.repair_network import RepairNetwork
from owner.training.augmentation import distort
from owner.training.descent import descend
from owner.training.psnr import psnr
from twinveil.errors import BadInput
from twinveil.pictures.files import Picture
from twinveil.pictures.masks import Mask

_HIDDEN_WEIGHT = 6.0
"""The loss counts what was hidden six times as much as what was there, as in the paper."""


@dataclass(frozen=True, slots=True)
class RepairSettings:
    """width: channels; recurrences: how often the one module of reasoning is run."""

    width: int = 16
    recurrences: int = 4
    epochs: int = 80
    batch: int = 16
    learning_rate: float = 3e-3

    def __post_init__(self) -> None:
        if not 2 <= self.width <= 256:
            raise BadInput(f"the repair network's width must be 2 to 256 channels, not {self.width}")
        if not 1 <= self.recurrences <= 32:
            raise BadInput(f"recurrences must be 1 to 32, not {self.recurrences}")
        if not 1 <= self.epochs <= 10_000:
            raise BadInput(f"repair epochs must be 1 to 10000, not {self.epochs}")


def train_repair(
    pictures: Picture,
    settings: RepairSettings,
    seed: int,
    masks: Tensor,
    report: OnEpoch = lambda done, epochs, loss: None,
) -> RepairNetwork:
    """A repair network for pictures uint8 (n, channels, h, w) under masks, 0/1 floats (count, 1, h, w).

    Every picture of every epoch is distorted and covered anew. The seed decides the weights; one thread.
    """
    source = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = RepairNetwork(pictures.shape[1], settings.width, settings.recurrences)
    size = min(settings.batch, len(pictures))
    count = len(pictures) // size
    optimizer = torch.optim.Adam(network.parameters(), lr=settings.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.learning_rate, total_steps=settings.epochs * count, pct_start=0.15
    )
    pixels = torch.from_numpy(pictures)
    for epoch in range(settings.epochs):
        losses = 0.0
        for places in torch.randperm(len(pixels), generator=source)[: count * size].reshape(count, size):
            whole = distort(pixels[places].float(), FACES, source)
            visible = masks[torch.randint(len(masks), (size,), generator=source)]
            loss = repair_loss(network(whole * visible, visible), whole, visible)
            losses += descend(optimizer, loss, longest=1.0)
            schedule.step()
        report(epoch + 1, settings.epochs, losses / count)
    return network.eval()


def repair_loss(made: Tensor, whole: Tensor, visible: Tensor) -> Tensor:
    """Mean distance of pixels, squared where it is small; hidden places count more."""
    weight = 1 + (_HIDDEN_WEIGHT - 1) * (1 - visible)
    return (functional.smooth_l1_loss(made, whole, reduction="none", beta=8.0) * weight).mean() / 128


@torch.no_grad()
def repair(network: RepairNetwork, covered: Picture, mask: Mask, batch: int = 120) -> Picture:
    """Covered pictures uint8 (n, channels, h, w) with their hidden part filled; what was visible stays."""
    visible = torch.from_numpy(mask.visible).float().reshape(1, 1, *mask.size)
    made = []
    for start in range(0, len(covered), batch):
        pixels = torch.from_numpy(covered[start : start + batch]).float()
        found = network(pixels, visible.expand(len(pixels), -1, -1, -1)).round().clamp(0, 255)
        made.append((pixels * visible + found * (1 - visible)).numpy().astype(np.uint8))
    return np.concatenate(made)


def fill_with_mean(covered: Picture, mask: Mask) -> Picture:
    """The simplest repair: each picture's hidden part becomes the mean of its visible pixels, by channel."""
    means = covered.sum(axis=(2, 3), dtype=np.float64) / max(1, np.count_nonzero(mask.visible))
    filling = np.rint(means).astype(np.uint8)[:, :, np.newaxis, np.newaxis]
    return np.where(mask.visible, covered, filling)


def pooled_psnr(made: Picture, whole: Picture) -> float:
    """Peak signal-to-noise ratio in dB over all pixels of all pictures."""
    left, right = (torch.from_numpy(each[np.newaxis] / 255.0) for each in (made, whole))
    return psnr(left, right).item()
