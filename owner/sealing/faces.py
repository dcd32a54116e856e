"""ORL's faces, 40 people with ten pictures of 112 x 92 each, split by person: nobody is in two parts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from owner.training.datasets import load_data_set
from twinveil.errors import BadInput
from twinveil.sealing.pixels import Pixels, grey_square

SPLIT_SEED = 2019
TRAIN_SHARE, CHOOSE_SHARE = 0.6, 0.2


@dataclass(frozen=True, slots=True)
class Faces:
    """pictures: (n, height, width) grey; people: (n,) who is on each."""

    pictures: Pixels
    people: npt.NDArray[np.int64]

    def squares(self, side: int) -> npt.NDArray[np.int64]:
        """(n, side, side), 0 .. 255, as sealing sees them."""
        return np.stack([grey_square(picture, side) for picture in self.pictures])

    def only(self, keep: npt.NDArray[np.bool_]) -> Faces:
        return Faces(self.pictures[keep], self.people[keep])


@dataclass(frozen=True, slots=True)
class Split:
    """train: what networks learn from. choose: what the threshold is chosen on. report: what rates are of."""

    train: Faces
    choose: Faces
    report: Faces


def load_faces(name: str = "orl") -> Faces:
    """All pictures of a data set of faces, or of a folder with a sub-folder a person. Raises BadInput."""
    data = load_data_set(name, (1, 112, 92))
    pictures = np.concatenate([data.train, data.held_out])[:, 0]
    return Faces(pictures, np.concatenate([data.train_labels, data.held_out_labels]))


def split(faces: Faces, seed: int = SPLIT_SEED) -> Split:
    """By person. Raises BadInput for fewer than five people."""
    names = np.unique(faces.people)
    if len(names) < 5:
        raise BadInput(f"faces of {len(names)} people are too few: five are needed")
    order = np.random.default_rng(seed).permutation(names)
    first = round(len(names) * TRAIN_SHARE)
    second = first + max(1, round(len(names) * CHOOSE_SHARE))
    parts = (order[:first], order[first:second], order[second:])
    train, choose, report = (faces.only(np.isin(faces.people, part)) for part in parts)
    return Split(train, choose, report)
