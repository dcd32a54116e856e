"""Who is on which side of the split."""

from __future__ import annotations

import numpy as np
import pytest

from owner.audit.subjects import MIN_SUBJECTS, split, spread
from tests.owner.audit.sets import digits, people
from twinveil.errors import BadInput


def test_no_person_is_on_two_sides() -> None:
    parts = split(people(20), 1)
    assert parts.by == "person"
    sides = [set(group.labels.tolist()) for group in (parts.sample, parts.validation, parts.target)]
    assert [len(side) for side in sides] == [13, 2, 5]
    assert len(set.union(*sides)) == 20
    assert len(parts.sample) + len(parts.validation) + len(parts.target) == 120
    assert "split by person" in parts.describe()


def test_digits_are_split_by_picture_and_it_is_said() -> None:
    parts = split(digits(), 1, limit=200)
    assert parts.by == "picture"
    assert len(parts.target) == 50
    assert set(parts.target.labels.tolist()) == set(parts.sample.labels.tolist()) == set(range(10))
    every = np.concatenate([group.pictures for group in (parts.sample, parts.validation, parts.target)])
    assert len({picture.tobytes() for picture in every}) == 200
    assert "by picture, not by person" in parts.describe()


def test_the_seed_decides() -> None:
    data = people(12)
    targets = [sorted(set(split(data, seed).target.labels.tolist())) for seed in (1, 1, 2, 3)]
    assert targets[0] == targets[1]
    assert targets[0] != targets[2] or targets[0] != targets[3]


def test_too_few_people() -> None:
    assert len(split(people(MIN_SUBJECTS), 1).sample)
    with pytest.raises(BadInput, match=f"has 5 people; an audit needs {MIN_SUBJECTS}"):
        split(people(MIN_SUBJECTS - 1), 1)
    with pytest.raises(BadInput, match="digits, limited to 30 of its 1797 pictures, has 30 pictures"):
        split(digits(), 1, limit=30)
    for limit in (0, -5):
        with pytest.raises(BadInput, match=f"at most {limit} pictures cannot be"):
            split(digits(), 1, limit=limit)


def test_a_limit_takes_from_every_class_alike() -> None:
    labels = np.repeat(np.arange(5), 20)
    chosen = labels[spread(labels, 23, np.random.default_rng(1))]
    assert sorted(np.bincount(chosen).tolist()) == [4, 4, 5, 5, 5]
