"""Peak signal-to-noise ratio, for whoever measures how well a picture was given back."""

from __future__ import annotations

import torch
from torch import Tensor

MAX_PSNR = 60.0
"""Decibels that stand for "the same picture": beyond 8-bit rounding there is nothing to tell apart."""


def psnr(left: Tensor, right: Tensor) -> Tensor:
    """Of each pair of pictures (n, ...) with values 0 .. 1, in decibels, (n,); at most MAX_PSNR."""
    error = (left - right).square().flatten(1).mean(dim=1)
    return (-10 * torch.log10(error.clamp(min=10 ** (-MAX_PSNR / 10)))).clamp(max=MAX_PSNR)
