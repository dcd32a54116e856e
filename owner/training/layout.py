"""How a folder of pictures is laid out.

FOLDER/CLASS/*
FOLDER/train/CLASS/* and FOLDER/test/CLASS/*, or val
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from twinveil.errors import BadInput
from twinveil.pictures.folders import visible

_TRAIN = ("train", "training")
_HELD_OUT = ("test", "testing", "val", "valid", "validation")
"""The first that has classes is held out."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Folders with one sub-folder a class. held_out: None if a part of each class is still to be drawn."""

    train: Path
    held_out: Path | None = None
    unused: tuple[Path, ...] = ()

    @property
    def words(self) -> str:
        """Which folder is for what; empty if there is only one."""
        unused = "".join(f"; {each} is not used" for each in self.unused)
        return f"{self.train} to learn from, {self.held_out} held out{unused}" if self.held_out else ""


def layout(folder: Path) -> Layout:
    """Raises BadInput for a folder that is laid out both ways, or neither."""
    found = folders_in(folder)
    train = [each for each in found if each.name.lower() in _TRAIN]
    others = sorted(
        (each for each in found if each.name.lower() in _HELD_OUT),
        key=lambda each: _HELD_OUT.index(each.name.lower()),
    )
    if not train or not others:
        return Layout(folder)
    if len(train) + len(others) < len(found):
        stray = next(each for each in found if each not in train + others)
        raise BadInput(
            f"{folder} has {stray.name} beside {train[0].name} and {others[0].name}: "
            "move classes into both of these, or rename them if they are classes"
        )
    with_classes = [each for each in others if folders_in(each)]
    if len(train) > 1 or not with_classes or not folders_in(train[0]):
        raise BadInput(
            f"{folder} has {' and '.join(each.name for each in train + others)}: "
            "one to learn from and one to hold out must have one sub-folder of pictures a class"
        )
    held_out = with_classes[0]
    return Layout(train[0], held_out, tuple(each for each in others if each != held_out))


def folders_in(folder: Path) -> list[Path]:
    """By name, hidden ones left out. Raises BadInput if it cannot be read."""
    return [each for each in visible(folder) if each.is_dir()]
