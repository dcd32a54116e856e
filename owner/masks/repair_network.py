"""The repair network: recurrent feature reasoning for inpainting, sized for two cores.

    partial conv /2 - [ area: two partial convs - reasoning: conv /2, attention, conv - ] x recurrences
    - merge of what each recurrence filled - up - partial conv with the picture - pixels

After Li et al., Recurrent Feature Reasoning for Image Inpainting (CVPR 2020): the hole shrinks from its
border with every recurrence of one module; its attention keeps what earlier recurrences scored where the
features were known already (knowledge consistent attention); features are averaged over the recurrences in
which they were known. Partial convolutions (Liu et al., ECCV 2018) see known pixels only, weighed by how
many there are.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class PartialConv(nn.Module):
    """Features (n, inputs, h, w) and their known area (n, 1, h, w) of 0 and 1 -> both, after the stride."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            share = functional.avg_pool2d(known, self.kernel, self.stride, self.kernel // 2)
            there = (share > 0).to(x.dtype)
            scale = there / share.clamp(min=1e-6)
        return (self.conv(x * known) * scale + self.bias.reshape(1, -1, 1, 1)) * there, there


class ConsistentAttention(nn.Module):
    """Every place becomes a mixture of all places by likeness, in agreement with the recurrences before.

    The score of a place is the cosine of two feature vectors, averaged over 3 x 3 places. Where features were
    known before, it is blended with the score of the recurrence before; the share is learnt.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.blend = nn.Parameter(torch.zeros(1))
        self.sharpness = nn.Parameter(torch.tensor(2.0))
        self.join = nn.Conv2d(2 * channels, channels, 1)

    def forward(self, x: Tensor, known: Tensor, before: Tensor | None) -> tuple[Tensor, Tensor]:
        """x (n, c, h, w), known (n, 1, h, w) before this recurrence, before (n, hw, h, w) -> x, scores."""
        count, channels, height, width = x.shape
        flat = x.flatten(2)
        unit = functional.normalize(flat, dim=1, eps=1e-4)
        scores = torch.bmm(unit.transpose(1, 2), unit).reshape(count, height * width, height, width)
        scores = functional.avg_pool2d(scores, 3, 1, 1, count_include_pad=False)
        if before is not None:
            share = torch.sigmoid(self.blend) * known
            scores = (1 - share) * scores + share * before
        weights = torch.softmax(scores.flatten(2) * torch.exp(self.sharpness), dim=1)
        mixed = torch.bmm(flat, weights).reshape(count, channels, height, width)
        joined: Tensor = self.join(torch.cat([x, mixed], dim=1))
        return joined, scores


class Reasoning(nn.Module):
    """One recurrence: the known area grows by its border, and features are thought up there."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.area1 = PartialConv(channels, channels, 3)
        self.area2 = PartialConv(channels, channels, 3)
        self.down = nn.Conv2d(channels, 2 * channels, 3, 2, 1)
        self.attention = ConsistentAttention(2 * channels)
        self.think = nn.Conv2d(2 * channels, 2 * channels, 3, 1, 1)
        self.up = nn.Conv2d(3 * channels, channels, 3, 1, 1)

    def forward(self, x: Tensor, known: Tensor, before: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """-> features 0 outside the known area, the known area, scores of the attention."""
        was_known = functional.interpolate(known, scale_factor=0.5, mode="area").floor()
        x, known = self.area1(x, known)
        x, known = self.area2(functional.leaky_relu(x, 0.2), known)
        x = functional.leaky_relu(x, 0.2)
        low = functional.leaky_relu(self.down(x), 0.2)
        low, scores = self.attention(low, was_known, before)
        low = functional.leaky_relu(self.think(functional.leaky_relu(low, 0.2)), 0.2)
        wide = functional.interpolate(low, size=x.shape[2:], mode="nearest")
        x = x + self.up(torch.cat([x, wide], dim=1))
        return x * known, known, scores


class RepairNetwork(nn.Module):
    """Whole pictures from covered ones.

    pixels: float (n, channels, height, width) of 0 .. 255, sides multiples of 4; visible: 0/1 (n, 1, h, w).
    """

    def __init__(self, channels: int, width: int, recurrences: int) -> None:
        super().__init__()
        self.recurrences = recurrences
        self.enter = PartialConv(channels, width, 5, 2)
        self.reasoning = Reasoning(width)
        self.widen = nn.Conv2d(width, width, 3, 1, 1)
        self.near = PartialConv(channels, width, 3)
        self.leave1 = nn.Conv2d(2 * width, width, 3, 1, 1)
        self.leave2 = nn.Conv2d(width, channels, 3, 1, 1)

    def forward(self, pixels: Tensor, visible: Tensor) -> Tensor:
        """What the network makes of the whole picture, (n, channels, h, w) of about 0 .. 255."""
        covered = (pixels / 128 - 1) * visible
        level = covered.sum(dim=(1, 2, 3), keepdim=True) / (
            visible.sum(dim=(1, 2, 3), keepdim=True) * pixels.shape[1]
        ).clamp(min=1)
        # Brightness is taken out and put back: the network has to know shapes only.
        covered = (covered - level) * visible
        x, known = self.enter(covered, visible)
        x = functional.leaky_relu(x, 0.2)
        scores: Tensor | None = None
        total, times = torch.zeros_like(x), torch.zeros_like(known)
        for _ in range(self.recurrences):
            x, known, scores = self.reasoning(x, known, scores)
            total, times = total + x, times + known
        merged = self.widen(total / times.clamp(min=1))
        wide = functional.interpolate(
            functional.leaky_relu(merged, 0.2), size=pixels.shape[2:], mode="bilinear", align_corners=False
        )
        near, _ = self.near(covered, visible)
        x = functional.leaky_relu(
            self.leave1(torch.cat([wide, functional.leaky_relu(near, 0.2)], dim=1)), 0.2
        )
        made: Tensor = self.leave2(x) + level
        return (made + 1) * 128
