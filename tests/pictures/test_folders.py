"""What other programs leave in folders is neither classified nor in the way; what is named is tried."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from owner.training.datasets import load_data_set
from twinveil.errors import BadInput
from twinveil.pictures.folders import SUFFIXES, pictures_below, pictures_in
from twinveil.pictures.masks import load_masks
from user.sealing.captures import Camera, listed
from user.verbs import _files

LEFTOVERS = (
    "._7.png",
    ".DS_Store",
    ".thumbnails/7.png",
    "Thumbs.db",
    "ehthumbs.db",
    "Desktop.ini",
    "@eaDir/7.png/SYNOFILE_THUMB_M.png",
    "__MACOSX/._7.png",
    "$RECYCLE.BIN/7.png",
)


def litter(folder: Path) -> None:
    for name in LEFTOVERS:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"\0\5\x16\7 no picture")


def draw(path: Path, level: int = 99) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((9, 9), level, np.uint8)).save(path)
    return path


def test_a_folders_pictures_are_classified_without_what_others_left(tmp_path: Path) -> None:
    expected = [draw(tmp_path / name) for name in ("a/2.JPG", "a/b/1.png", "a.png", "b.jfif")]
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "folder.png").mkdir()
    for folder in (tmp_path, tmp_path / "a", tmp_path / "a" / "b"):
        litter(folder)
    (tmp_path / "link").symlink_to(tmp_path / "a")
    assert list(_files([tmp_path])) == list(pictures_below(tmp_path)) == expected
    assert pictures_in(tmp_path) == listed([tmp_path]) == expected[2:]


def test_a_folder_may_be_hidden_itself_and_a_file_that_is_named_is_tried(tmp_path: Path) -> None:
    hidden = draw(tmp_path / ".twinveil" / "__MACOSX" / "7.png")
    assert list(_files([hidden.parent])) == [hidden]
    named = [tmp_path / ".twinveil" / "._7.png", tmp_path / "Thumbs.db", draw(tmp_path / "7.png")]
    for each in named[:2]:
        each.write_bytes(b"some")
    assert list(_files(named)) == listed(named) == named


def test_every_ending_is_one_list_for_all(tmp_path: Path) -> None:
    for suffix in SUFFIXES:
        (tmp_path / f"x{suffix.upper()}").touch()
    assert len(list(_files([tmp_path]))) == len(listed([tmp_path])) == len(SUFFIXES)


def test_a_camera_passes_over_what_others_left(tmp_path: Path) -> None:
    draw(tmp_path / "1.png", 7)
    litter(tmp_path)
    camera = Camera(tmp_path, wait=0, clock=lambda: 0.0, sleep=lambda _: None)
    assert camera.next() is not None
    assert camera.next() is None


def test_a_data_set_has_no_class_of_leftovers(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        for number in range(3):
            draw(tmp_path / name / f"{number}.png")
        litter(tmp_path / name)
    litter(tmp_path)
    data = load_data_set(str(tmp_path), (1, 9, 9))
    assert data.class_names == ("cat", "dog")
    assert len(data.train) + len(data.held_out) == 6


def test_masks_are_read_without_leftovers(tmp_path: Path) -> None:
    visible = np.full((10, 10), 255, np.uint8)
    visible[:3, :5] = 0
    Image.fromarray(visible).save(tmp_path / "mask.png")
    litter(tmp_path)
    assert [mask.name for mask in load_masks(tmp_path, (10, 10))] == ["mask"]


def test_a_folder_without_pictures_is_one_clear_line(tmp_path: Path) -> None:
    litter(tmp_path)
    with pytest.raises(BadInput, match="holds no pictures"):
        list(_files([tmp_path]))
    with pytest.raises(BadInput, match="cannot be read: Not a directory"):
        pictures_in(draw(tmp_path / "x.png"))
