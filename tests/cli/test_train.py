"""twinveil train says before training what would lose its result."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TRAIN = ("train", "digits", "--epochs", "1", "--width", "0.25", "--replace", "--out")


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
    command = [sys.executable, "-m", "twinveil.cli", *TRAIN, str(tmp_path / out)]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path)
    assert shown.returncode == code, shown.stderr
    assert words in " ".join(shown.stderr.split())
    assert "training on" not in shown.stderr
