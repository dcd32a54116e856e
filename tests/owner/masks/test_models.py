"""The three models on little: they learn, repeat with their seed, and see nothing of what is covered."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from owner.masks.drawing import draw_masks
from owner.masks.pictures import study_pictures
from owner.masks.recogniser import Recogniser, RecogniserSettings, recognise, train_recogniser
from owner.masks.repair import RepairSettings, fill_with_mean, pooled_psnr, repair, train_repair
from owner.masks.repair_network import ConsistentAttention, PartialConv, RepairNetwork
from owner.training.datasets import DataSet
from owner.training.psnr import MAX_PSNR
from twinveil.errors import BadInput
from twinveil.pictures.files import Picture
from twinveil.pictures.masks import Mask

pytestmark = pytest.mark.slow

SMALL = RecogniserSettings(width=8, epochs=14, learning_rate=6e-3)
SIZE = (16, 16)


def gradients(count: int, seed: int = 0) -> Picture:
    """Smooth pictures, so that what is hidden can be told from what is not."""
    source = np.random.default_rng(seed)
    y, x = np.mgrid[-1:1:16j, -1:1:16j]
    slopes = source.uniform(-70, 70, (count, 2, 1, 1))
    return np.rint(128 + slopes[:, :1] * y + slopes[:, 1:] * x).clip(0, 255).astype(np.uint8)


def stacked(masks: list[Mask]) -> Tensor:
    return torch.from_numpy(np.stack([mask.visible for mask in masks])[:, None]).float()


@pytest.fixture(scope="module")
def masks() -> list[Mask]:
    return draw_masks(SIZE, 2, 1)


@pytest.fixture(scope="module")
def digits() -> DataSet:
    data = study_pictures("digits", (1, *SIZE), 20)
    few = np.concatenate([np.flatnonzero(data.train_labels == label)[:30] for label in range(10)])
    return DataSet(
        "few",
        data.train[few],
        data.train_labels[few],
        data.held_out,
        data.held_out_labels,
        data.class_names,
        data.polarity,
    )


def accuracy(network: Recogniser, data: DataSet, mask: Mask | None = None) -> float:
    pictures = data.held_out if mask is None else mask.cover(data.held_out)
    return float(np.mean(recognise(network, pictures) == data.held_out_labels))


def test_training_under_masks_makes_the_difference(digits: DataSet, masks: list[Mask]) -> None:
    # Covered by white: under black, which is a digit's background, both recognisers lose alike.
    inverted = DataSet(
        "few",
        255 - digits.train,
        digits.train_labels,
        255 - digits.held_out,
        digits.held_out_labels,
        digits.class_names,
        "dark-on-light",
    )
    original, masked = (
        train_recogniser(inverted.train, inverted.train_labels, 10, SMALL, 1, shown)
        for shown in (None, stacked(masks))
    )
    assert accuracy(original, inverted) > 0.85
    large = masks[-4:]
    ours, theirs = (np.mean([accuracy(net, inverted, mask) for mask in large]) for net in (masked, original))
    assert ours > theirs + 0.15


def test_the_feature_vector_stands_before_the_classifier() -> None:
    network = Recogniser(1, 5, 8).eval()
    pixels = torch.rand(3, 1, *SIZE) * 255
    features = network.features(pixels)
    assert features.shape == (3, 32)
    assert torch.equal(network.dense(features), network(pixels))


def test_equal_seeds_give_equal_recognisers_and_torch_is_left_alone(digits: DataSet) -> None:
    short = RecogniserSettings(width=4, epochs=1)
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    first, again, other = (
        train_recogniser(digits.train[:64], digits.train_labels[:64], 10, short, seed) for seed in (1, 1, 2)
    )
    assert torch.equal(torch.rand(2), expected)
    assert torch.equal(first.dense.weight, again.dense.weight)
    assert not torch.equal(first.dense.weight, other.dense.weight)


def test_a_partial_convolution_sees_known_pixels_only() -> None:
    torch.manual_seed(1)
    conv = PartialConv(1, 2, 3)
    known = torch.zeros(1, 1, 6, 6)
    known[..., :3] = 1
    pixels = torch.rand(1, 1, 6, 6)
    made, area = conv(pixels, known)
    elsewhere, _ = conv(torch.where(known > 0, pixels, torch.rand(1, 1, 6, 6) * 9), known)
    assert torch.allclose(made, elsewhere)
    assert (area[0, 0] == torch.tensor([1.0, 1, 1, 1, 0, 0])).all()
    assert not made[..., 4:].any()


def test_a_partial_convolution_weighs_by_what_is_known() -> None:
    """Over even ground every known place gets the same answer, however much of its window is hidden."""
    conv = PartialConv(1, 1, 3)
    torch.nn.init.constant_(conv.conv.weight, 1.0)
    known = torch.ones(1, 1, 9, 9)
    known[..., 3:6, 3:6] = 0
    made, _ = conv(torch.full((1, 1, 9, 9), 5.0), known)
    seen = made[0, 0, 1:-1, 1:-1]
    assert torch.allclose(seen[seen > 0], torch.tensor(45.0))


def test_attention_agrees_with_the_recurrence_before_where_features_were_known() -> None:
    torch.manual_seed(1)
    attention = ConsistentAttention(4)
    torch.nn.init.constant_(attention.blend, 50.0)
    first, second = torch.rand(1, 4, 4, 4), torch.rand(1, 4, 4, 4)
    known = torch.zeros(1, 1, 4, 4)
    known[..., :2] = 1
    _, before = attention(first, known, None)
    _, after = attention(second, known, before)
    assert torch.allclose(after[..., :2], before[..., :2])
    assert not torch.allclose(after[..., 2:], before[..., 2:])


def test_the_repair_sees_nothing_of_what_is_covered(masks: list[Mask]) -> None:
    torch.manual_seed(1)
    network = RepairNetwork(1, 4, 2).eval()
    pictures, mask = gradients(3), masks[-1]
    visible = torch.from_numpy(mask.visible).float().expand(3, 1, *SIZE)
    noise = torch.from_numpy(np.where(mask.visible, pictures, 255 - pictures)).float()
    one, two = (network(pixels, visible) for pixels in (torch.from_numpy(pictures).float(), noise))
    assert torch.allclose(one, two)


def test_the_repair_learns_to_beat_the_mean_by_three_decibels(masks: list[Mask]) -> None:
    network = train_repair(
        gradients(96), RepairSettings(width=8, recurrences=3, epochs=10), 1, stacked(masks)
    )
    tests, mask = gradients(40, seed=9), masks[-1]
    covered = mask.cover(tests)
    made = repair(network, covered, mask)
    assert (made[..., mask.visible] == tests[..., mask.visible]).all()
    assert pooled_psnr(made, tests) >= pooled_psnr(fill_with_mean(covered, mask), tests) + 3


def test_equal_seeds_give_equal_repairs(masks: list[Mask]) -> None:
    short = RepairSettings(width=4, recurrences=1, epochs=1)
    first, again, other = (train_repair(gradients(16), short, seed, stacked(masks)) for seed in (1, 1, 2))
    assert torch.equal(first.leave2.weight, again.leave2.weight)
    assert not torch.equal(first.leave2.weight, other.leave2.weight)


def test_filling_with_the_mean_and_psnr() -> None:
    whole = np.full((2, 1, 4, 4), 100, np.uint8)
    whole[1] = 40
    visible = np.ones((4, 4), dtype=bool)
    visible[1, 1] = False
    mask = Mask("dot", visible)
    assert (fill_with_mean(mask.cover(whole), mask) == whole).all()
    assert pooled_psnr(whole, whole) == pytest.approx(MAX_PSNR)
    assert pooled_psnr(np.zeros((1, 1, 2, 2), np.uint8), np.full((1, 1, 2, 2), 255, np.uint8)) == 0


def test_test_pictures_are_as_many_as_asked_and_never_trained_on() -> None:
    data = study_pictures("digits", (1, 8, 8), 20)
    assert np.bincount(data.held_out_labels).tolist() == [20] * 10
    assert len(data.train) == 1597
    again = study_pictures("digits", (1, 8, 8), 20)
    assert (again.held_out == data.held_out).all()
    with pytest.raises(BadInput, match="a class cannot have 174 test pictures"):
        study_pictures("digits", (1, 8, 8), 174)


@pytest.mark.parametrize(
    "settings",
    [
        lambda: RecogniserSettings(width=1),
        lambda: RecogniserSettings(epochs=0),
        lambda: RepairSettings(width=0),
        lambda: RepairSettings(recurrences=0),
        lambda: RepairSettings(epochs=0),
    ],
)
def test_settings_that_cannot_be(settings: object) -> None:
    with pytest.raises(BadInput):
        settings()  # type: ignore[operator]
