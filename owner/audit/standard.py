"""Features made fit for learning, without losing any, and the best linear attack in closed form."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from owner.audit.inverse import is_spatial

MAX_FLAT = 2048
"""Flat features beyond this many are projected on what the samples span."""

_STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 1e3, 1e6)
"""Of the ridge, as multiples of the features' mean variance; the last one is the mean picture."""


@dataclass(frozen=True)
class Standard:
    """Mean 0 and variance 1 of the samples: by channel for spatial features, by feature for flat ones.

    basis (features, kept) or None: an orthonormal basis of the samples' span, for wide flat features. Nothing
    that a linear attack could learn from the samples is lost by it.
    """

    mean: Tensor
    scale: Tensor
    basis: Tensor | None

    @classmethod
    def of(cls, features: Tensor) -> Standard:
        if is_spatial(features.shape[1:]):
            axes: tuple[int, ...] = (0, 2, 3)
        else:
            features, axes = features.flatten(1), (0,)
        mean = features.mean(dim=axes, keepdim=True)
        deviation = features.std(dim=axes, keepdim=True)
        scale = torch.where(deviation > 1e-6 * deviation.max().clamp(min=1e-6), 1 / deviation, 0.0)
        basis = None
        if features.dim() == 2 and features.shape[1] > MAX_FLAT:
            basis = _span((features - mean) * scale)
        return cls(mean, scale, basis)

    def __call__(self, features: Tensor) -> Tensor:
        if self.mean.dim() == 2:
            features = features.flatten(1)
        standard = (features - self.mean) * self.scale
        return standard if self.basis is None else standard @ self.basis


def ridge(features: Tensor, wanted: Tensor, validation: tuple[Tensor, Tensor], mean: Tensor) -> Tensor:
    """Weights (pixels, features) of the ridge regression of `wanted` (n, pixels), zero mean, on `features`.

    Its strength is that of the least squared error on validation (features, pictures).
    """
    n, inputs = features.shape
    x, y = features.double(), wanted.double()
    primal = inputs <= n
    gram = x.T @ x if primal else x @ x.T
    values, vectors = torch.linalg.eigh(gram)
    right = vectors.T @ (x.T @ y if primal else y)
    level = gram.diagonal().mean()
    given, pictures = validation[0].flatten(1).double(), (validation[1] - mean).flatten(1).double()
    best, kept = float("inf"), torch.zeros(wanted.shape[1], inputs)
    for strength in _STRENGTHS:
        solved = vectors @ (right / (values.clamp(min=0) + strength * level).unsqueeze(1))
        weights = solved if primal else x.T @ solved
        error = float((given @ weights - pictures).square().mean())
        if error < best:
            best, kept = error, weights.T.float()
    return kept


def _span(features: Tensor) -> Tensor:
    """An orthonormal basis of the rows of (n, features), in order of their variance; at most MAX_FLAT."""
    values, vectors = torch.linalg.eigh((features @ features.T).double())
    keep = values > values.max() * 1e-6
    keep[-1] = True  # features that never vary have one direction, of nothing
    largest, directions = values[keep].flip(0)[:MAX_FLAT], vectors[:, keep].flip(1)[:, :MAX_FLAT]
    basis: Tensor = features.T.double() @ directions / largest.sqrt()
    return basis.float()
