"""Who plays whom: the attacker trains on sample subjects and is measured on targets, who are others.

person    by class: nobody whose picture is attacked has a picture among those the attacker trains on
picture   by picture: classes (digits, clothing) are on both sides, pictures never
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from owner.training.datasets import DataSet, Labels
from twinveil.errors import BadInput
from twinveil.pictures.files import Picture
from twinveil.values import check_word

SplitBy = Literal["person", "picture"]

BY_PICTURE = frozenset({"mnist", "digits", "fashion"})
"""Data sets whose classes are no persons."""

TARGET_SHARE, VALIDATION_SHARE = 0.25, 0.1
MIN_SUBJECTS = 6
MIN_PICTURES = 40


@dataclass(frozen=True)
class SubjectGroup:
    """Pictures uint8 (n, channels, height, width) with the class and the subject of each, both (n,).

    A subject is what confidence is counted by: a person, or a single picture.
    """

    pictures: Picture
    labels: Labels
    subjects: Labels

    def __len__(self) -> int:
        return len(self.pictures)

    def take(self, places: npt.NDArray[np.integer] | Sequence[int]) -> SubjectGroup:
        return SubjectGroup(self.pictures[places], self.labels[places], self.subjects[places])


@dataclass(frozen=True)
class Split:
    """sample: trains the attacker; validation: tells it when to stop; target: is attacked.

    class_names: of the data set, in the order of the labels.
    """

    name: str
    by: SplitBy
    sample: SubjectGroup
    validation: SubjectGroup
    target: SubjectGroup
    class_names: tuple[str, ...]

    def describe(self) -> str:
        if self.by == "person":
            counts = [
                f"{len(np.unique(group.subjects))} {what}"
                for what, group in (("to learn from", self.sample), ("to stop by", self.validation))
            ]
            targets = len(np.unique(self.target.subjects))
            return f"split by person: {', '.join(counts)}, {targets} others attacked"
        return (
            f"split by picture, not by person (classes are on both sides): {len(self.sample)} to learn from, "
            f"{len(self.validation)} to stop by, {len(self.target)} others attacked"
        )


def split(data: DataSet, seed: int, by: SplitBy | None = None, limit: int | None = None) -> Split:
    """Sample, validation and target of all pictures of a data set, drawn by `seed`.

    by: by default "picture" for digits and clothing, "person" for anything else. limit: at most so many
    pictures, spread over the classes. Raises BadInput if there are too few subjects to keep the three apart.
    """
    if limit is not None and limit < 1:
        raise BadInput(f"an audit of at most {limit} pictures cannot be: give a number from 1 on")
    if by is not None:
        check_word("split by", by, SplitBy)
    by = by or ("picture" if data.name in BY_PICTURE else "person")
    pictures = np.concatenate([data.train, data.held_out])
    labels = np.concatenate([data.train_labels, data.held_out_labels])
    source = np.random.default_rng(seed)
    everything = len(labels)
    count = everything if limit is None else min(limit, everything)
    chosen = spread(labels, count, source)
    pictures, labels = pictures[chosen], labels[chosen]
    subjects = labels if by == "person" else np.arange(len(labels), dtype=np.int64)
    known = source.permutation(np.unique(subjects))
    least, what = (MIN_SUBJECTS, "people") if by == "person" else (MIN_PICTURES, "pictures")
    if len(known) < least:
        limited = f", limited to {count} of its {everything} pictures," if count < everything else ""
        raise BadInput(
            f"data set {data.name}{limited} has {len(known)} {what}; an audit needs {least}, to keep those "
            "that the attacker learns from apart from those attacked"
        )
    targets = max(2, round(len(known) * TARGET_SHARE))
    validation = max(1, round(len(known) * VALIDATION_SHARE))
    everyone = SubjectGroup(pictures, labels, subjects)
    parts = np.split(known, [targets, targets + validation])
    target, stop, sample = (everyone.take(np.flatnonzero(np.isin(subjects, part))) for part in parts)
    return Split(data.name, by, sample, stop, target, data.class_names)


def spread(labels: Labels, count: int, source: np.random.Generator) -> npt.NDArray[np.int64]:
    """`count` places, as many of every class as can be, drawn at random; in ascending order."""
    order = source.permutation(len(labels))
    rank = np.zeros(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        mine = order[labels[order] == label]
        rank[mine] = np.arange(len(mine))
    chosen: npt.NDArray[np.int64] = order[np.argsort(rank[order], kind="stable")][:count]
    return np.sort(chosen)
