"""A tiny study, trained once; and one thread for torch: threads that wait for each other cost tenfold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from PIL import Image

from owner.masks.drawing import draw_masks
from owner.masks.study import Study
from owner.masks.verbs import app
from owner.training.threads import torch_threads
from tests.owner.masks.tiny import TINY, Command
from twinveil.pictures.masks import Mask
from twinveil.start.boundary import guarded


@pytest.fixture(autouse=True, scope="session")
def single_thread() -> Iterator[None]:
    with torch_threads():
        yield


@pytest.fixture(scope="session")
def masks() -> list[Mask]:
    return draw_masks((8, 8), 2, 1)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, masks: list[Mask]) -> Study:
    made = Study.begin(tmp_path_factory.mktemp("study"), TINY, masks)
    made.train()
    return made


@pytest.fixture
def mask_verb(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """`twinveil mask ARGUMENTS` in this process: code, stdout, stderr."""
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        command = typer.main.get_command(app)
        code = guarded(lambda: command.main([str(each) for each in arguments], standalone_mode=False) or 0)
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return run


@pytest.fixture
def elsewhere(trained: Study, masks: list[Mask], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """A study of a folder of pictures, begun beside it and trained; the program now runs somewhere else."""
    data = trained.data
    for place, (picture, label) in enumerate(zip(data.train[:60], data.train_labels[:60], strict=True)):
        file = tmp_path / "faces" / f"p{label}" / f"{place}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture[0]).save(file)
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path)
    settings = replace(TINY, data="faces", repair_data="faces", test_each=1, runs=1)
    made = Study.begin(tmp_path / "study", settings, masks)
    made.train()
    monkeypatch.chdir(tmp_path / "home")
    return made
