"""Features and pictures for the attacker: from a network on the fly, or from what was recorded."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from owner.audit.attack import Material
from owner.audit.features import Extractor
from owner.audit.subjects import Split, SubjectGroup
from owner.training.augmentation import Distortions, distort
from twinveil.pictures.files import Picture

DISTORTIONS = Distortions(degrees=6.0, shear=0.05, scale=0.08, shift=0.04, warp=0.01)
"""Of the attacker's sample pictures: it can have features made of as many as it likes."""

CONTRAST, BRIGHTNESS = 0.2, 20.0
"""Uniform in +- this: share of the contrast, and levels of 255."""


def scaled(pictures: Picture) -> Tensor:
    """Pictures as reconstructions are: values 0 .. 1."""
    return torch.from_numpy(pictures).float() / 255


@dataclass(frozen=True)
class LayerMaterial:
    """Features of one layer. Half of the samples are distorted in every pass, faces mirrored as well."""

    extractor: Extractor
    layer: str
    split: Split

    def material(self) -> Material:
        return Material(self._sample, self.pair(self.split.validation))

    def pair(self, group: SubjectGroup) -> tuple[Tensor, Tensor]:
        """Features and pictures (0 .. 1) of a group."""
        return self._pair(torch.from_numpy(group.pictures).float())

    def _pair(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Of whole numbers 0 .. 255: what the recogniser takes."""
        parts = [self.extractor(part, self.layer) for part in torch.split(pixels, 128)]
        return torch.cat(parts), pixels / 255

    def _sample(self, source: torch.Generator) -> tuple[Tensor, Tensor]:
        pixels = torch.from_numpy(self.split.sample.pictures).float()
        count = len(pixels)
        if self.split.by == "person":
            mirrored = torch.rand(count, generator=source) < 0.5
            pixels = torch.where(mirrored.reshape(-1, 1, 1, 1), pixels.flip(3), pixels)
        bent = distort(pixels, DISTORTIONS, source)
        gain, lift = (
            (torch.rand(count, 1, 1, 1, generator=source) * 2 - 1) * limit for limit in (CONTRAST, BRIGHTNESS)
        )
        bent = ((bent - 128) * (1 + gain) + 128 + lift).round().clamp(0, 255)
        kept = torch.rand(count, generator=source) < 0.5
        return self._pair(torch.where(kept.reshape(-1, 1, 1, 1), pixels, bent))
