"""Reconstructions of target pictures, measured in every way at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from owner.audit.material import scaled
from owner.audit.metrics import cosine, nearest_neighbour, ssim
from owner.audit.risk import Risk, Values, risk
from owner.audit.subjects import SubjectGroup
from owner.training.psnr import psnr

Recogniser = Callable[[Tensor], Tensor]
"""Class scores (n, classes) of pixels 0 .. 255, whole numbers."""


@dataclass(frozen=True)
class Likenesses:
    """One number a target, each (n,). recognised, neighbour: 1 where the subject's class was found again."""

    ssim: Values
    psnr: Values
    cosine: Values
    recognised: Values
    neighbour: Values

    def means(self) -> dict[str, float]:
        return {each.name: float(getattr(self, each.name).mean()) for each in fields(self)}


@dataclass(frozen=True)
class Targets:
    """What is attacked, and who says whether it was recognised."""

    group: SubjectGroup
    recogniser: Recogniser

    @property
    def pictures(self) -> Tensor:
        return scaled(self.group.pictures)

    def recognised(self) -> float:
        """Share of the originals themselves that the recogniser names rightly."""
        return float(self.measure(self.pictures).recognised.mean())

    def measure(self, made: Tensor) -> Likenesses:
        """made: (n, channels, height, width) or one picture for all, values 0 .. 1."""
        wanted, labels = self.pictures, torch.from_numpy(self.group.labels)
        made = made.expand_as(wanted)
        found = self.recogniser((made * 255).round()).argmax(dim=1)
        return Likenesses(
            *(
                np.asarray(values.double().numpy())
                for values in (
                    ssim(made, wanted),
                    psnr(made, wanted),
                    cosine(made, wanted),
                    found == labels,
                    nearest_neighbour(made, wanted, labels),
                )
            )
        )


@dataclass(frozen=True)
class Comparison:
    """An attack beside its two baselines."""

    attack: Likenesses
    mean_picture: Likenesses
    shuffled: Likenesses

    def risk(self, targets: Targets, seed: int) -> Risk:
        baselines = (self.mean_picture.ssim, self.shuffled.ssim)
        return risk(self.attack.ssim, baselines, targets.group.subjects, seed)

    def means(self) -> dict[str, dict[str, float]]:
        return {each.name: getattr(self, each.name).means() for each in fields(self)}
