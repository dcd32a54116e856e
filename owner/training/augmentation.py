"""Small random distortions of training pictures: turned, sheared, scaled, moved, and gently warped."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True, slots=True)
class Distortions:
    """How far a picture may be bent. Lengths are shares of its side.

    degrees, shear, scale, shift: uniform in +- this. warp: standard deviation of a smooth displacement.
    """

    degrees: float = 12.0
    shear: float = 0.15
    scale: float = 0.12
    shift: float = 0.07
    warp: float = 0.025


_WARP_POINTS = 5
"""The displacement is drawn on a grid this coarse: it bends strokes and does not tear them."""


def distort(pixels: Tensor, how: Distortions, source: torch.Generator) -> Tensor:
    """Each picture of (n, channels, height, width) distorted by itself; whole numbers 0 .. 255 as floats.

    What comes in from outside repeats the border.
    """
    count = len(pixels)

    def uniform(limit: float) -> Tensor:
        return (torch.rand(count, generator=source) * 2 - 1) * limit

    angle, shear = torch.deg2rad(uniform(how.degrees)), uniform(how.shear)
    wide, high = 1 + uniform(how.scale), 1 + uniform(how.scale)
    right, down = uniform(2 * how.shift), uniform(2 * how.shift)  # grid coordinates span 2
    cosine, sine = torch.cos(angle), torch.sin(angle)
    rows = [
        torch.stack([cosine * wide, (shear - sine) * high, right], dim=1),
        torch.stack([sine * wide, cosine * high, down], dim=1),
    ]
    grid = functional.affine_grid(torch.stack(rows, dim=1), list(pixels.shape), align_corners=False)
    if how.warp:
        coarse = torch.randn(count, 2, _WARP_POINTS, _WARP_POINTS, generator=source) * (2 * how.warp)
        smooth = functional.interpolate(coarse, pixels.shape[2:], mode="bicubic", align_corners=True)
        grid = grid + smooth.permute(0, 2, 3, 1)
    moved = functional.grid_sample(pixels, grid, padding_mode="border", align_corners=False)
    return moved.round().clamp(0, 255)
