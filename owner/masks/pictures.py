"""The pictures of a study: training and test pictures, split once and for all, equally many a class."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from owner.training.datasets import DataSet, load_data_set
from twinveil.errors import BadInput
from twinveil.network.plan import Shape

_SPLIT_SEED = 7


def study_pictures(name: str, image_shape: Shape | None, test_each: int) -> DataSet:
    """A data set by name or folder, with `test_each` pictures of every class held out, always the same.

    They are drawn from all pictures, also of a set that comes in two parts.

    Raises BadInput for an unusable set, or a class that would have no training picture left.
    """
    data = load_data_set(name, image_shape)
    pictures = np.concatenate([data.train, data.held_out])
    labels = np.concatenate([data.train_labels, data.held_out_labels])
    fewest = int(np.bincount(labels, minlength=len(data.class_names)).min())
    if not 1 <= test_each < fewest:
        raise BadInput(
            f"a class cannot have {test_each} test pictures: {data.name} has one of {fewest} pictures"
        )
    source = np.random.default_rng(_SPLIT_SEED)
    is_test = np.zeros(len(labels), dtype=bool)
    for label in range(len(data.class_names)):
        is_test[source.permutation(np.flatnonzero(labels == label))[:test_each]] = True
    return replace(
        data,
        train=pictures[~is_test],
        train_labels=labels[~is_test],
        held_out=pictures[is_test],
        held_out_labels=labels[is_test],
        split="",
    )
