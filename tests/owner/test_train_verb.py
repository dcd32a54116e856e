"""twinveil train says before training what would lose its result."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image


@pytest.mark.parametrize(
    ("out", "code", "words"),
    [
        (".", 4, "holds no model: name another folder"),
        ("file/model", 2, "cannot be written: "),
    ],
)
def test_a_folder_that_cannot_be_written_is_found_before_training(
    tmp_path: Path, out: str, code: int, words: str
) -> None:
    (tmp_path / "file").touch()
    assert words in refused(tmp_path, code, "digits", "--replace", "--out", str(tmp_path / out))


def test_a_held_out_folder_of_other_pictures_is_found_before_training(tmp_path: Path) -> None:
    for name in ("set/train/cat", "set/train/dog", "set/test/cat", "set/test/dog", "held/cat"):
        (tmp_path / name).mkdir(parents=True)
        Image.new("L", (9, 9)).save(tmp_path / name / "0.png")
    said = refused(tmp_path, 2, "set", "--out", "model", "--held-out", "held")
    assert "pictures: set/train to learn from, set/test held out" in said
    assert "held is there and does not hold the pictures" in said
    assert [path.name for path in (tmp_path / "held" / "cat").iterdir()] == ["0.png"]


def refused(folder: Path, code: int, *arguments: str) -> str:
    """What `twinveil train` says, run in a folder."""
    command = [sys.executable, "-m", "twinveil.cli", "train", "--epochs", "1", "--width", "0.25", *arguments]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=folder)
    assert shown.returncode == code, shown.stderr
    assert "training on" not in shown.stderr
    return " ".join(shown.stderr.split())
