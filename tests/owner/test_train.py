"""Training on little: it learns, it repeats itself, and what it saves is what it measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from owner.training.augmentation import Distortions, distort
from owner.training.compile import compile_network
from owner.training.datasets import DataSet, load_data_set
from owner.training.icnn import TINY, Branches, Widths
from owner.training.train import (
    Trained,
    TrainOptions,
    TrainProgress,
    fixed_accuracy,
    float_accuracy,
    load_float_network,
    train,
    train_on,
)
from twinveil.errors import BadInput, ModelExists
from twinveil.network.fixed_point import Precision, prove
from twinveil.network.folder import load_model
from twinveil.network.plan import Relu
from twinveil.pictures.files import load_picture

pytestmark = pytest.mark.slow

NARROW = Widths(4, 4, 8, Branches(4, 4, 8, 4), Branches(6, 4, 8, 4))


@pytest.fixture(scope="module")
def digits() -> DataSet:
    return load_data_set("digits", (1, 12, 12))


@pytest.fixture(scope="module")
def seen() -> list[TrainProgress]:
    return []


@pytest.fixture(scope="module")
def trained(digits: DataSet, seen: list[TrainProgress]) -> Trained:
    return train_on(digits, TrainOptions(epochs=12, widths=NARROW, batch=32), seen.append)


def test_it_learns_and_fixed_point_loses_little(trained: Trained) -> None:
    assert trained.card.accuracy_float > 0.85
    assert trained.card.accuracy_fixed > 0.85
    assert abs(trained.card.accuracy_float - trained.card.accuracy_fixed) < 0.05


def test_progress_is_told_after_every_epoch(trained: Trained, seen: list[TrainProgress]) -> None:
    assert [progress.epoch for progress in seen] == list(range(1, 13))
    assert [progress.phase for progress in seen] == ["float"] * 9 + ["fixed"] * 3
    assert all(progress.epochs == 12 for progress in seen)
    assert seen[8].loss < seen[0].loss


def test_the_integers_are_proven_and_those_of_the_saved_weights(
    trained: Trained, digits: DataSet, tmp_path: Path
) -> None:
    prove(trained.model)
    trained.save(tmp_path / "digits")
    stored = load_model(tmp_path / "digits")
    network = load_float_network(tmp_path / "digits", stored.card.image_shape)
    again = compile_network(network, stored.card.image_shape)
    assert again.plan == stored.model.plan == trained.model.plan
    assert all((again.weights[n] == w).all() for n, w in stored.model.weights.items())
    assert all((again.biases[n] == b).all() for n, b in stored.model.biases.items())
    assert float_accuracy(network, digits) == stored.card.accuracy_float
    assert fixed_accuracy(stored.model, digits) == stored.card.accuracy_fixed


def test_the_card_says_what_was_done(trained: Trained) -> None:
    card = trained.card
    assert (card.name, card.version, card.data_set) == ("digits", "1", "digits")
    assert (card.seed, card.epochs) == (1, 12)
    assert (card.training_pictures, card.held_out_pictures) == (1442, 355)
    assert card.polarity == "light-on-dark"
    assert card.plan_hash == trained.model.plan.hash.hex()


@pytest.fixture(scope="module")
def few(digits: DataSet) -> DataSet:
    names, polarity = digits.class_names, digits.polarity
    return DataSet(
        "few",
        digits.train[:90],
        digits.train_labels[:90],
        digits.held_out,
        digits.held_out_labels,
        names,
        polarity,
    )


def test_equal_seeds_give_equal_weights_and_equal_plans_go_with_any(few: DataSet) -> None:
    first, second, other = (
        train_on(few, TrainOptions(epochs=2, widths=TINY, batch=32, seed=seed)) for seed in (5, 5, 6)
    )
    assert all((first.float_tensors[n] == t).all() for n, t in second.float_tensors.items())
    assert not all((first.float_tensors[n] == t).all() for n, t in other.float_tensors.items())
    # Widths and scales are public: they follow from the topology, never from weights.
    assert first.model.plan == other.model.plan


def test_coarser_numbers_train_to_a_proven_network_too(few: DataSet) -> None:
    model = train_on(few, TrainOptions(epochs=2, widths=TINY, precision=Precision(4, 5, 3))).model
    prove(model)
    assert {node.weight_bits for node in model.plan.linear_nodes} == {4}
    assert {node.bits for node in model.plan.nodes if isinstance(node, Relu)} == {5}


def test_training_leaves_torchs_own_state_alone(few: DataSet) -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    threads = torch.get_num_threads()
    train_on(few, TrainOptions(epochs=1, widths=TINY, threads=threads + 1))
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == threads


def test_a_folder_is_trained_saved_and_used_with_the_same_crop(tmp_path: Path) -> None:
    from PIL import Image

    for name, level in (("dark", 30), ("light", 220)):
        (tmp_path / "shades" / name).mkdir(parents=True)
        for index in range(12):
            pixels = np.random.default_rng(index).integers(level - 25, level + 25, (20, 24), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "shades" / name / f"{index}.png")
    options = TrainOptions(
        data=str(tmp_path / "shades"), image_shape=(1, 9, 9), widths=TINY, epochs=8, batch=4
    )
    result = train(options)
    result.save(tmp_path / "model")
    assert result.card.name == "shades"
    assert result.card.class_names == ("dark", "light")
    stored = load_model(tmp_path / "model")
    assert load_picture(tmp_path / "shades" / "dark" / "0.png", stored.card).shape == (1, 9, 9)
    with pytest.raises(ModelExists):
        result.save(tmp_path / "model")


@pytest.mark.parametrize(
    "options",
    [
        {"epochs": 0},
        {"seed": -1},
        {"batch": 1},
        {"learning_rate": 0.0},
        {"learning_rate": 2.0},
        {"threads": 0},
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(BadInput):
        TrainOptions(**options)  # type: ignore[arg-type]


def test_a_bad_name_is_found_before_training(few: DataSet) -> None:
    with pytest.raises(BadInput, match="name"):
        train_on(few, TrainOptions(name="No Such Name"), pytest.fail)


def test_distortions_repeat_with_the_seed_and_stay_pixels() -> None:
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (5, 3, 11, 8))).float()
    one, two = (distort(pixels, Distortions(), torch.Generator().manual_seed(4)) for _ in range(2))
    assert torch.equal(one, two)
    assert one.shape == pixels.shape
    assert torch.equal(one, one.round().clamp(0, 255))
    assert not torch.equal(one, pixels)
    still = distort(pixels, Distortions(0, 0, 0, 0, 0), torch.Generator())
    assert torch.equal(still, pixels)


@pytest.mark.heavy
def test_the_default_network_reads_ninety_seven_of_a_hundred_digits() -> None:
    card = train(TrainOptions()).card
    assert card.held_out_pictures == 1000
    assert card.accuracy_fixed >= 0.97
