"""Where a report cannot be written is said before the work, not after it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from together.bench.verbs import bench
from together.demo import demo
from twinveil.errors import BadInput
from twinveil.verbs.views import views


@pytest.mark.parametrize(
    ("verb", "work"),
    [
        (lambda place: bench(json_file=place), "together.bench.verbs._wanted"),
        (lambda place: demo(json_file=place), "together.demo._train"),
        (lambda place: views(Path("recordings"), report=place), "twinveil.verbs.views.load"),
    ],
    ids=["bench", "demo", "views"],
)
def test_a_place_that_takes_no_report_is_refused_first(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, verb: Callable[[Path], None], work: str
) -> None:
    monkeypatch.setattr(work, lambda *_: pytest.fail("the work began"))
    with pytest.raises(BadInput, match=r"report cannot be written: give a file in a folder that is there$"):
        verb(tmp_path / "nowhere" / "report")
