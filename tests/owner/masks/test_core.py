"""Covered pictures in the core: an ICNN trained for a mask, and the clouds' answer on what it leaves."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from owner.masks.drawing import draw_masks
from owner.training import train
from owner.training.datasets import DataSet, load_data_set
from owner.training.icnn import TINY
from owner.training.train import Trained, TrainOptions, _Batches, train_on
from owner.training.verbs import _shape
from tests.crypto.crypto_keys import secret_key
from twinveil.cli.main import main
from twinveil.errors import BadInput
from twinveil.network import oracle
from twinveil.network.folder import load_model
from twinveil.pictures.masks import Mask, load_model_mask
from twinveil.rehearsal.clouds import Clouds

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def digits() -> DataSet:
    data = load_data_set("digits", (1, 12, 12))
    return DataSet(
        "few",
        data.train[:160],
        data.train_labels[:160],
        data.held_out[:60],
        data.held_out_labels[:60],
        data.class_names,
        data.polarity,
    )


@pytest.fixture(scope="module")
def mask() -> Mask:
    return draw_masks((12, 12), 1, 4)[4]


@pytest.fixture(scope="module")
def trained(digits: DataSet, mask: Mask) -> Trained:
    return train_on(digits, TrainOptions(epochs=3, widths=TINY, batch=32, mask=mask))


def test_the_card_names_the_mask_and_the_folder_keeps_it(
    trained: Trained, mask: Mask, tmp_path: Path
) -> None:
    assert trained.card.mask == mask.digest
    trained.save(tmp_path / "covered")
    assert load_model(tmp_path / "covered").card == trained.card
    kept = load_model_mask(tmp_path / "covered")
    assert kept is not None
    assert kept.digest == mask.digest


def test_accuracies_are_those_on_covered_pictures(trained: Trained, digits: DataSet, mask: Mask) -> None:
    hits = oracle.classify_batch(trained.model, mask.cover(digits.held_out)) == digits.held_out_labels
    assert trained.card.accuracy_fixed == np.mean(hits)


def test_both_networks_are_measured_on_covered_pictures(
    digits: DataSet, mask: Mask, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[DataSet] = []

    def measured(_: object, data: DataSet) -> float:
        seen.append(data)
        return 0.5

    for name in ("float_accuracy", "fixed_accuracy"):
        monkeypatch.setattr(train, name, measured)
    train_on(digits, TrainOptions(epochs=1, widths=TINY, batch=32, mask=mask))
    assert len(seen) == 2
    assert all((data.held_out == mask.cover(digits.held_out)).all() for data in seen)


def test_training_never_sees_what_is_covered(trained: Trained, digits: DataSet, mask: Mask) -> None:
    """Even ground shows what the network was shown: covered places are 0 in every batch."""
    batches = _Batches(digits, TrainOptions(mask=mask), torch.Generator().manual_seed(1))
    for pixels, _ in batches.epoch():
        assert not pixels[..., torch.from_numpy(~mask.visible)].any()
        assert pixels[..., torch.from_numpy(mask.visible)].any()


def test_a_mask_of_another_size_is_found_before_training(digits: DataSet) -> None:
    with pytest.raises(BadInput, match="is 16 x 16, the picture 12 x 12"):
        train_on(digits, TrainOptions(mask=draw_masks((16, 16), 1, 1)[0]), pytest.fail)


def test_the_encrypted_answer_is_the_oracles_on_the_covered_picture(
    trained: Trained, digits: DataSet, mask: Mask
) -> None:
    clouds = Clouds(trained.model, secret_key(512))
    whole = digits.held_out[:2]
    covered = mask.cover(whole)
    expected = oracle.run_batch(trained.model, covered)
    vectors = clouds.classify(covered).values
    assert (vectors == expected).all()
    assert not (expected == oracle.run_batch(trained.model, whole)).all()
    labels = clouds.classify(covered, label_only=True).values
    assert (labels == expected.argmax(axis=1)).all()


def test_train_takes_a_mask_and_its_size(
    mask: Mask, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mask.png").write_bytes(mask.to_png())
    small = ("train", "digits", "--epochs", "1", "--width", "0.1", "--mask", str(tmp_path / "mask.png"))
    command = ["twinveil", *small, "--out", str(tmp_path / "model"), "--json"]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as ended:
        main()
    shown = capsys.readouterr()
    assert not ended.value.code, shown.err
    card = json.loads(shown.out)["card"]
    assert (card["mask"], card["image_shape"]) == (mask.digest, [1, 12, 12])
    assert (tmp_path / "model" / "mask.png").is_file()


def test_the_masks_size_is_the_pictures_unless_another_was_asked_for(mask: Mask) -> None:
    assert _shape(None, False, mask) == _shape("12", False, mask) == (1, 12, 12)
    assert _shape(None, True, mask) == (3, 12, 12)
    with pytest.raises(BadInput, match=f"mask {mask.name} is 12 x 12 pixels, --image-size is 16"):
        _shape("16", False, mask)
