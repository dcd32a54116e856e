"""Samples that networks learn from: cleaned of what shows no face, and paired noisy with clear.

A face is known by its distance from face space (Turk, Pentland 1991): what a few principal components of
faces cannot rebuild is covered, or no face at all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Generator, Tensor, randn

from owner.sealing.faces import Faces
from twinveil.errors import BadInput
from twinveil.sealing.pixels import LEAST_CONTRAST

SIDE = 24
COMPONENTS = 20
TOLERANCE = 3.0
"""How many robust deviations above the median distance a face may lie."""
_ROUNDS = 3
NOISE = 0.25
"""Standard deviation of a noisy sample's noise, of pixels in -1 .. 1, as in twinveil.sealing.factors."""

Vectors = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Cleaned:
    """kept: of which pictures there is a face to learn from. removed: how many there is none of."""

    faces: Faces
    kept: npt.NDArray[np.bool_]

    @property
    def removed(self) -> int:
        return int((~self.kept).sum())


def clean(faces: Faces) -> Cleaned:
    """Remove pictures without contrast and those too far from the space of all others.

    The space is made of what is kept, three times over, so that what is removed no longer bends it.
    Raises BadInput if too few pictures are left to know a face by.
    """
    vectors, has_contrast = _vectors(faces)
    kept = has_contrast.copy()
    for _ in range(_ROUNDS):
        if kept.sum() <= 2 * COMPONENTS:
            raise BadInput(f"{int(kept.sum())} usable pictures are too few to learn from")
        distances = _distances(vectors, kept)
        middle = float(np.median(distances[kept]))
        deviation = 1.4826 * float(np.median(np.abs(distances[kept] - middle)))
        kept = has_contrast & (distances <= middle + TOLERANCE * deviation)
    return Cleaned(faces.only(kept), kept)


def noisy(clear: Tensor, source: Generator) -> Tensor:
    """The noisy half of pairs: pixels in -1 .. 1 with normal noise, clipped."""
    return (clear + NOISE * randn(clear.shape, generator=source)).clamp(-1, 1)


def _vectors(faces: Faces) -> tuple[Vectors, npt.NDArray[np.bool_]]:
    """Every picture as a vector of mean 0 and length 1, and whether it has any contrast."""
    flat = faces.squares(SIDE).reshape(len(faces.people), -1).astype(np.float64)
    centred = flat - flat.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    has_contrast = lengths[:, 0] >= LEAST_CONTRAST * SIDE
    return centred / np.maximum(lengths, 1e-9), has_contrast


def _distances(vectors: Vectors, kept: npt.NDArray[np.bool_]) -> Vectors:
    mean = vectors[kept].mean(axis=0)
    _, _, axes = np.linalg.svd(vectors[kept] - mean, full_matrices=False)
    space = axes[:COMPONENTS]
    centred = vectors - mean
    return np.asarray(np.linalg.norm(centred - (centred @ space.T) @ space, axis=1), dtype=np.float64)
