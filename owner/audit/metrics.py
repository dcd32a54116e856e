"""How alike two pictures are. Pictures are tensors (n, channels, height, width) with values 0 .. 1.

SSIM is that of Wang, Bovik, Sheikh and Simoncelli 2004: Gaussian window of 11 x 11, sigma 1.5, K1 = 0.01,
K2 = 0.03, population moments, mean over all places where the window fits (smaller pictures: the largest odd
window that fits, the same sigma) and over channels.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

SSIM_WINDOW, SSIM_SIGMA = 11, 1.5
_C1, _C2 = 0.01**2, 0.03**2


def ssim(left: Tensor, right: Tensor) -> Tensor:
    """Structural similarity of each pair, (n,); 1 for equal pictures. Differentiable."""
    channels, window = left.shape[1], _window(left.shape[2:])
    kernel = _gaussian(window).to(left).repeat(channels, 1, 1, 1)

    def mean(values: Tensor) -> Tensor:
        return functional.conv2d(values, kernel, groups=channels)

    mu_l, mu_r = mean(left), mean(right)
    var_l, var_r = mean(left * left) - mu_l * mu_l, mean(right * right) - mu_r * mu_r
    covariance = mean(left * right) - mu_l * mu_r
    similarity = (2 * mu_l * mu_r + _C1) * (2 * covariance + _C2)
    similarity = similarity / ((mu_l * mu_l + mu_r * mu_r + _C1) * (var_l + var_r + _C2))
    return similarity.flatten(1).mean(dim=1)


def cosine(left: Tensor, right: Tensor) -> Tensor:
    """Cosine of each pair, each picture's own mean taken away, (n,): contrast and brightness do not count."""
    flat_l, flat_r = (
        picture.flatten(1) - picture.flatten(1).mean(1, keepdim=True) for picture in (left, right)
    )
    return functional.cosine_similarity(flat_l, flat_r, dim=1, eps=1e-6)


def nearest_neighbour(reconstructions: Tensor, originals: Tensor, identities: Tensor) -> Tensor:
    """Whether the original most like each reconstruction (by cosine) shows the same identity, (n,) bool.

    The search runs over all originals except the attacked picture itself, where its identity has others; so
    it asks for the person, not for the shot.
    """
    flat_r, flat_o = (
        functional.normalize(picture.flatten(1) - picture.flatten(1).mean(1, keepdim=True), dim=1)
        for picture in (reconstructions, originals)
    )
    alike = flat_r @ flat_o.T
    same = identities[:, None] == identities[None]
    has_others = same.sum(dim=1) > 1
    alike[torch.diag(has_others)] = -2.0
    return identities[alike.argmax(dim=1)] == identities


def _window(sides: torch.Size) -> int:
    smallest = min(sides)
    return min(SSIM_WINDOW, smallest if smallest % 2 else smallest - 1)


def _gaussian(window: int) -> Tensor:
    places = torch.arange(window, dtype=torch.float64) - window // 2
    line = torch.exp(-places.square() / (2 * SSIM_SIGMA**2))
    line = line / line.sum()
    return (line[:, None] * line[None]).reshape(1, 1, window, window)
