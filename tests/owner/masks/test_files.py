"""Mask files: black and white only, of the right size and share, and known by their digest."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from tests.network.test_folder import card_of
from tests.networks import small_icnn_model
from twinveil.errors import BadInput
from twinveil.network.card import ModelCard
from twinveil.network.folder import load_model, save_model
from twinveil.pictures.masks import (
    GROUP_NAMES,
    GROUPS,
    Mask,
    group_of,
    load_mask,
    load_masks,
    load_model_mask,
    mask_for,
)


def half(size: tuple[int, int] = (8, 10), name: str = "half") -> Mask:
    """The left half is covered."""
    visible = np.ones(size, dtype=bool)
    visible[:, : size[1] // 2] = False
    return Mask(name, visible)


def covering(count: int, size: tuple[int, int] = (10, 100)) -> Mask:
    visible = np.ones(size[0] * size[1], dtype=bool)
    visible[:count] = False
    return Mask(f"m{count}", visible.reshape(size))


def saved(path: Path, pixels: npt.NDArray[np.uint8]) -> Path:
    Image.fromarray(pixels).save(path)
    return path


def test_covering_is_the_product() -> None:
    pictures = np.arange(3 * 8 * 10, dtype=np.uint8).reshape(3, 1, 8, 10)
    covered = half().cover(pictures)
    assert covered.dtype == np.uint8
    assert not covered[..., :5].any()
    assert (covered[..., 5:] == pictures[..., 5:]).all()


def test_a_picture_of_another_size_is_refused() -> None:
    with pytest.raises(BadInput, match="mask half is 8 x 10, the picture 10 x 8"):
        half().cover(np.zeros((1, 10, 8), np.uint8))


@pytest.mark.parametrize("kind", ["png", "pgm", "bmp"])
def test_a_mask_comes_back_from_its_file(tmp_path: Path, kind: str) -> None:
    path = saved(tmp_path / f"half.{kind}", half().visible.astype(np.uint8) * 255)
    found = load_mask(path, (8, 10))
    assert (found.name, found.size, found.share) == ("half", (8, 10), 0.5)
    assert found.digest == half().digest == load_mask(half().to_png()).digest


def test_noughts_and_ones_and_single_bits_are_masks_too(tmp_path: Path) -> None:
    ones = saved(tmp_path / "ones.png", half().visible.astype(np.uint8))
    Image.fromarray(half().visible).save(tmp_path / "bits.pbm")
    assert load_mask(ones).digest == load_mask(tmp_path / "bits.pbm").digest == half().digest


def test_the_digest_is_known_and_tells_shapes_apart() -> None:
    assert half().digest == "8822c3226e3a490eb1a54f1058f05f7537e8f81e10cd65a0c5a86837d5a6393b"
    assert half((8, 10)).digest == half((8, 10), "other name").digest
    flat = Mask("flat", np.ones((2, 8), dtype=bool))
    assert flat.digest != Mask("flat", np.ones((8, 2), dtype=bool)).digest


def test_what_is_not_binary_is_refused_in_one_line(tmp_path: Path) -> None:
    grey = half().visible.astype(np.uint8) * 255
    grey[0, 0] = 128
    coloured = np.zeros((8, 10, 3), np.uint8)
    (tmp_path / "text.png").write_text("no picture")
    for path, words in (
        (saved(tmp_path / "grey.png", grey), "is not binary: it has 3 levels of grey"),
        (saved(tmp_path / "colour.png", coloured), "is not binary: it has colours"),
        (tmp_path / "text.png", "not a picture"),
        (tmp_path / "none.png", "cannot be read"),
    ):
        with pytest.raises(BadInput, match=words) as refused:
            load_mask(path)
        assert str(path) in str(refused.value)
        assert "\n" not in str(refused.value)


def test_another_size_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "half.png", half().visible.astype(np.uint8) * 255)
    with pytest.raises(BadInput, match=r"half\.png is 8 x 10 pixels, not 32 x 32"):
        load_mask(path, (32, 32))


@pytest.mark.parametrize(
    ("count", "group"), [(10, 0), (99, 0), (100, 1), (399, 3), (400, 4), (499, 4), (500, 5), (600, 5)]
)
def test_groups_go_from_their_first_share_up_to_their_second(count: int, group: int) -> None:
    assert group_of(covering(count)) == group


@pytest.mark.parametrize("count", [0, 9, 601, 1000])
def test_shares_outside_the_groups_are_refused(count: int) -> None:
    with pytest.raises(BadInput, match=f"mask m{count} covers .* outside the groups from 1% to 60%"):
        group_of(covering(count))


def test_the_groups_are_the_published_ones() -> None:
    assert len(GROUPS) == len(GROUP_NAMES) == 6
    assert GROUP_NAMES[0] == "0.01-0.1"
    assert GROUP_NAMES[5] == "0.5-0.6"


def test_a_folder_of_masks_is_read_in_natural_order(tmp_path: Path) -> None:
    for number in (10, 2, 1):
        mask = covering(100 + number)
        (tmp_path / f"{number}.png").write_bytes(mask.to_png())
    (tmp_path / "notes.txt").write_text("not a mask")
    assert [mask.name for mask in load_masks(tmp_path, (10, 100))] == ["1", "2", "10"]


def test_folders_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="holds no masks"):
        load_masks(tmp_path, (8, 10))
    with pytest.raises(BadInput, match="cannot be read"):
        load_masks(tmp_path / "nowhere", (8, 10))
    (tmp_path / "a.png").write_bytes(half().to_png())
    (tmp_path / "b.png").write_bytes(half().to_png())
    with pytest.raises(BadInput, match=r"b\.png is the same as a: remove one"):
        load_masks(tmp_path, (8, 10))
    (tmp_path / "b.png").write_bytes(covering(0, (8, 10)).to_png())
    with pytest.raises(BadInput, match=r"mask b covers 0\.0%.*outside the groups"):
        load_masks(tmp_path, (8, 10))


def card(mask: Mask | None) -> ModelCard:
    model = small_icnn_model(1)
    return ModelCard(
        **{name: getattr(card_of(model), name) for name in ModelCard.__slots__ if name != "mask"},
        mask=None if mask is None else mask.digest,
    )


def test_a_model_takes_its_own_mask_and_no_other() -> None:
    mine = half((12, 12))
    assert mask_for(card(mine), mine) is mine
    assert mask_for(card(mine), mine.to_png()) is not None
    assert mask_for(card(None), None) is None
    other = Mask("other", ~mine.visible)
    for wanted, given, words in (
        (card(mine), None, "covered pictures only: give its mask"),
        (card(None), mine, "trained on whole pictures: it goes with no mask"),
        (card(mine), other, r"mask other \(.*\) is not the one of model small"),
        (card(mine), half((8, 10)), "is 8 x 10 pixels, model small 1.2 wants 12 x 12"),
        (card(mine), half((8, 10)).to_png(), "is 8 x 10 pixels, not 12 x 12"),
    ):
        with pytest.raises(BadInput, match=words) as refused:
            mask_for(wanted, given)
        assert "\n" not in str(refused.value)


def test_cards_without_a_mask_are_the_cards_of_before() -> None:
    plain = card(None)
    assert '"mask"' not in plain.to_json()
    assert ModelCard.from_json(plain.to_json()) == plain
    masked = card(half((12, 12)))
    assert ModelCard.from_json(masked.to_json()) == masked
    with pytest.raises(BadInput, match="mask must be a SHA-256"):
        ModelCard.from_json(masked.to_json().replace(half((12, 12)).digest, "short"))


def test_the_mask_is_kept_with_the_model(tmp_path: Path) -> None:
    model, mine = small_icnn_model(1), half((12, 12))
    save_model(tmp_path / "covered", model, card(mine), mask=mine)
    assert load_model(tmp_path / "covered").card.mask == mine.digest
    kept = load_model_mask(tmp_path / "covered")
    assert kept is not None
    assert (kept.visible == mine.visible).all()
    save_model(tmp_path / "whole", model, card(None))
    assert load_model_mask(tmp_path / "whole") is None
    with pytest.raises(BadInput, match="not the one that the card"):
        save_model(tmp_path / "without", model, card(mine))
    (tmp_path / "covered" / "mask.png").write_bytes(Mask("other", ~mine.visible).to_png())
    with pytest.raises(BadInput, match="is not the one of model"):
        load_model_mask(tmp_path / "covered")
