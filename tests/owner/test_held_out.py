"""Held-out pictures as files: exactly those, all or none, and nothing of anybody's is lost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from owner.training.datasets import DataSet, load_data_set
from owner.training.held_out import write_held_out
from twinveil.errors import BadInput


def data_set(held_out: int = 4, seed: int = 0, channels: int = 1) -> DataSet:
    pixels = np.random.default_rng(seed).integers(0, 256, (held_out, channels, 6, 5), dtype=np.uint8)
    labels = np.arange(held_out) % 2
    return DataSet("some", pixels, labels, pixels, labels, ("cat", "dog"), "any")


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("channels", [1, 3])
def test_they_come_back_by_class(tmp_path: Path, channels: int) -> None:
    data = data_set(channels=channels)
    write_held_out(data, tmp_path / "deep" / "held")
    assert sorted(files(tmp_path / "deep" / "held")) == [
        "cat/00000.png",
        "cat/00002.png",
        "dog/00001.png",
        "dog/00003.png",
    ]
    pixels = np.asarray(Image.open(tmp_path / "deep" / "held" / "dog" / "00003.png"))
    assert (pixels.reshape(6, 5, channels).transpose(2, 0, 1) == data.held_out[3]).all()
    assert load_data_set(str(tmp_path / "deep" / "held"), (channels, 6, 5)).class_names == ("cat", "dog")


def test_the_same_pictures_may_be_there_already(tmp_path: Path) -> None:
    write_held_out(data_set(), tmp_path / "held")
    (tmp_path / "held" / ".DS_Store").write_bytes(b"x")
    before = files(tmp_path / "held")
    write_held_out(data_set(), tmp_path / "held")
    assert files(tmp_path / "held") == before
    (tmp_path / "empty").mkdir()
    write_held_out(data_set(), tmp_path / "empty")
    assert len(files(tmp_path / "empty")) == 4


@pytest.mark.parametrize("other", ["another-set", "fewer", "more", "a-class-more", "foreign"])
def test_a_folder_with_other_pictures_is_refused_and_stays(tmp_path: Path, other: str) -> None:
    folder = tmp_path / "held"
    write_held_out(data_set(seed=1 if other == "another-set" else 0), folder)
    match other:
        case "fewer":
            (folder / "dog" / "00003.png").unlink()
        case "more":
            (folder / "dog" / "00005.png").write_bytes((folder / "dog" / "00001.png").read_bytes())
        case "a-class-more":
            (folder / "bird").mkdir()
            (folder / "bird" / "a.jpg").write_bytes(b"x")
        case "foreign":
            (folder / "dog" / "00003.png").write_bytes(b"mine")
    before = files(folder)
    with pytest.raises(BadInput, match="remove it or name another folder"):
        write_held_out(data_set(), folder)
    assert files(folder) == before
    assert [path.name for path in tmp_path.iterdir()] == ["held"]


def test_links_are_followed_and_files_refused(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write_held_out(data_set(), tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert len(files(tmp_path / "real")) == 4
    (tmp_path / "file").write_text("mine")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    for name in ("file", "circle"):
        with pytest.raises(BadInput, match="cannot be written"):
            write_held_out(data_set(), tmp_path / name)
    assert (tmp_path / "file").read_text() == "mine"
