"""twinveil train says before training what would lose its result."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from PIL import Image

from twinveil.cli.main import main

pytestmark = pytest.mark.slow


class Refused:
    """What `twinveil train` says, run in a folder, in this process: torch is loaded once for all tests."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._capsys, self._monkeypatch = capsys, monkeypatch

    def __call__(self, folder: Path, code: int, *arguments: str) -> str:
        self._monkeypatch.chdir(folder)
        options = ("--epochs", "1", "--width", "0.25")
        self._monkeypatch.setattr(sys, "argv", ["twinveil", "train", *options, *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        said = self._capsys.readouterr().err
        assert ended.value.code == code, said
        assert "training on" not in said
        return " ".join(said.split())


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Refused:
    return Refused(capsys, monkeypatch)


@pytest.mark.parametrize(
    ("out", "code", "words"),
    [
        (".", 4, "holds no model: name another folder"),
        ("file/model", 2, "cannot be written: "),
    ],
)
def test_a_folder_that_cannot_be_written_is_found_before_training(
    refused: Refused, tmp_path: Path, out: str, code: int, words: str
) -> None:
    (tmp_path / "file").touch()
    assert words in refused(tmp_path, code, "digits", "--replace", "--out", str(tmp_path / out))


def test_a_held_out_folder_of_other_pictures_is_found_before_training(
    refused: Refused, tmp_path: Path
) -> None:
    _set(tmp_path / "set")
    (tmp_path / "held" / "cat").mkdir(parents=True)
    Image.new("L", (9, 9)).save(tmp_path / "held" / "cat" / "0.png")
    said = refused(tmp_path, 2, "set", "--out", "model", "--held-out", "held")
    assert "pictures: set/train to learn from, set/test held out" in said
    assert "held is there and does not hold the pictures" in said
    assert [path.name for path in (tmp_path / "held" / "cat").iterdir()] == ["0.png"]


def test_a_network_that_no_cloud_would_run_is_found_before_training(refused: Refused, tmp_path: Path) -> None:
    _set(tmp_path / "set")
    said = refused(tmp_path, 2, "set", "--out", "model", "--image-size", "1024")
    assert re.search(r"the network cannot be run: .* more than [\d,]+ values: take smaller pictures", said)
    assert not (tmp_path / "model").exists()


def _set(folder: Path) -> None:
    """Two classes of one picture each to learn from, and one each that is held out."""
    for name in ("train/cat", "train/dog", "test/cat", "test/dog"):
        (folder / name).mkdir(parents=True)
        Image.new("L", (9, 9)).save(folder / name / "0.png")
