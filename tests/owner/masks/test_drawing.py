"""Drawn masks: irregular, all different, each in its group, decided by the seed."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from owner.masks import drawing
from owner.masks.drawing import SHAPES, draw_masks
from twinveil.errors import BadInput
from twinveil.pictures.masks import GROUPS, Mask, group_of


def by_group(masks: list[Mask]) -> list[list[Mask]]:
    return [[mask for mask in masks if group_of(mask) == group] for group in range(len(GROUPS))]


@pytest.mark.parametrize("size", [(8, 8), (32, 32), (56, 46)])
def test_every_group_gets_its_masks_and_no_two_are_alike(size: tuple[int, int]) -> None:
    each = 3 if size == (8, 8) else 9
    masks = draw_masks(size, each, 5)
    assert [group_of(mask) for mask in masks] == [group for group in range(6) for _ in range(each)]
    assert [len(group) for group in by_group(masks)] == [each] * 6
    assert len({mask.digest for mask in masks}) == len({mask.name for mask in masks}) == 6 * each
    assert all(mask.size == size for mask in masks)


def test_the_seed_decides_everything() -> None:
    first, again, other = (draw_masks((16, 16), 3, seed) for seed in (1, 1, 2))
    assert [mask.digest for mask in first] == [mask.digest for mask in again]
    assert not {mask.digest for mask in first} & {mask.digest for mask in other}


def test_all_three_styles_are_drawn_and_shares_fill_their_groups() -> None:
    masks = draw_masks((32, 32), 18, 1)
    styles = [mask.name.split("-")[1] for mask in masks]
    assert {style: styles.count(style) for style in SHAPES} == dict.fromkeys(SHAPES, 36)
    for (low, high), group in zip(GROUPS, by_group(masks), strict=True):
        shares = [mask.share for mask in group]
        assert np.ptp(shares) > (high - low) / 2


def test_masks_that_repeat_are_not_taken_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    def always_alike(size: tuple[int, int], group: int, *_: object) -> npt.NDArray[np.bool_]:
        return np.arange(64).reshape(size) < 3 + 6.4 * group

    monkeypatch.setattr(drawing, "_draw", always_alike)
    assert len(draw_masks((8, 8), 1, 1)) == 6
    with pytest.raises(BadInput, match="2 different masks a group do not exist at 8 x 8 pixels"):
        draw_masks((8, 8), 2, 1)


def test_masks_are_irregular() -> None:
    """Rows of a covered region differ: none of the large ones is a mere rectangle."""
    for mask in by_group(draw_masks((32, 32), 6, 3))[5]:
        rows = {tuple(row) for row in mask.visible.tolist()}
        assert len(rows) > 8


@pytest.mark.parametrize(
    ("size", "each", "seed", "words"),
    [
        ((7, 32), 3, 1, "8 to 1024 pixels a side, not 7 x 32"),
        ((32, 32), 0, 1, "1 to 2000 masks"),
        ((32, 32), 3, -1, "seed"),
    ],
)
def test_what_cannot_be_drawn_is_refused(size: tuple[int, int], each: int, seed: int, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        draw_masks(size, each, seed)
