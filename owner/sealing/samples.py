"""Samples that networks learn from: cleaned of what shows no face, and paired noisy with clear.

What is covered has large parts without any texture where a face has its features; what is no face lies far
from face space (Turk, Pentland 1991): a few principal components of faces cannot rebuild it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from torch import Generator, Tensor, randn

from owner.sealing.faces import Faces
from twinveil.errors import BadInput

SIDE = 24
COMPONENTS = 20
TOLERANCE = 3.0
"""How many robust deviations above the median distance a face may lie."""
_ROUNDS = 3
MOST_FLAT = 0.25
"""Share of the centre's patches that may lack texture: no face of ORL has more than a fifth."""
_FLAT_SIDE, _PATCH, _FLAT_DEVIATION = 48, 4, 2.0
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
    """Remove covered or blank pictures, and those too far from the space of all others.

    The space is made of what is kept, three times over, so that what is removed no longer bends it.
    Raises BadInput if too few pictures are left to know a face by.
    """
    vectors = _vectors(faces)
    is_open = _is_open(faces)
    kept = is_open.copy()
    for _ in range(_ROUNDS):
        if kept.sum() <= 2 * COMPONENTS:
            raise BadInput(f"{int(kept.sum())} usable pictures are too few to learn from")
        distances = _distances(vectors, kept)
        middle = float(np.median(distances[kept]))
        deviation = 1.4826 * float(np.median(np.abs(distances[kept] - middle)))
        kept = is_open & (distances <= middle + TOLERANCE * deviation)
    return Cleaned(faces.only(kept), kept)


def noisy(clear: Tensor, source: Generator) -> Tensor:
    """The noisy half of pairs: pixels in -1 .. 1 with normal noise, clipped."""
    return (clear + NOISE * randn(clear.shape, generator=source)).clamp(-1, 1)


def _is_open(faces: Faces) -> npt.NDArray[np.bool_]:
    """Whether the centre of each picture, the middle half either way, has texture nearly everywhere."""
    edge, count = _FLAT_SIDE // 4, _FLAT_SIDE // 2 // _PATCH
    centre = faces.squares(_FLAT_SIDE)[:, edge:-edge, edge:-edge]
    patches = centre.reshape(-1, count, _PATCH, count, _PATCH)
    return np.asarray((patches.std(axis=(2, 4)) < _FLAT_DEVIATION).mean(axis=(1, 2)) <= MOST_FLAT)


def _vectors(faces: Faces) -> Vectors:
    """Every picture as a vector of mean 0 and length 1."""
    flat = faces.squares(SIDE).reshape(len(faces.people), -1).astype(np.float64)
    centred = flat - flat.mean(axis=1, keepdims=True)
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.asarray(centred / np.maximum(lengths, 1e-9), dtype=np.float64)


def _distances(vectors: Vectors, kept: npt.NDArray[np.bool_]) -> Vectors:
    mean = vectors[kept].mean(axis=0)
    _, _, axes = np.linalg.svd(vectors[kept] - mean, full_matrices=False)
    space = axes[:COMPONENTS]
    centred = vectors - mean
    return np.asarray(np.linalg.norm(centred - (centred @ space.T) @ space, axis=1), dtype=np.float64)
