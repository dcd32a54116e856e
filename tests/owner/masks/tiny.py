"""A study that takes seconds, and what its tests say to `twinveil mask`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from owner.masks.recogniser import RecogniserSettings
from owner.masks.repair import RepairSettings
from owner.masks.study import Study, StudySettings
from owner.masks.tables import Rules

TINY = StudySettings(
    data="digits",
    image_shape=(1, 8, 8),
    test_each=4,
    runs=2,
    recogniser=RecogniserSettings(width=4, epochs=1, batch=64),
    repair=RepairSettings(width=4, recurrences=2, epochs=1, batch=64),
)
LENIENT = Rules(
    threshold1=0, threshold2=0, candidates=2, floor=0, gain=0, simple_masked=0, simple_original=100
)


Command = Callable[..., tuple[int, str, str]]
"""ARGUMENTS -> code, stdout, stderr."""


def selected(trained: Study, mask_verb: Command) -> None:
    code, _, _ = mask_verb(
        "select",
        "--folder",
        trained.folder,
        "--simple-masked=0",
        "--simple-original=100",
        "--floor=0",
        "--gain=0",
    )
    assert code == 0


def failing_select(mask_verb: Command, study: Study) -> str:
    """The last line, after progress."""
    code, _, error = mask_verb("select", "--folder", study.folder)
    assert code == 2
    return error.strip().splitlines()[-1]


def failing(mask_verb: Command, *arguments: str | Path) -> str:
    """The one line that a failing command says, besides its progress."""
    code, out, error = mask_verb(*arguments)
    assert (code, out) == (2, "")
    lines = [line for line in error.splitlines() if not line.startswith("loading ")]
    assert len(lines) == 1
    return lines[0]
