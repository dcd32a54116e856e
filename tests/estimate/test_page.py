"""The table "How far from the best" of docs/cost.md is what `twinveil estimate` prints now."""

from __future__ import annotations

from pathlib import Path

from owner.training.compile import default_plan
from twinveil.estimate.bounds import bounds
from twinveil.protocol.packed.layout import PackedLayout

PAGE = Path(__file__).parents[2] / "docs" / "cost.md"
HEAD = "| at 2048 bits, default network, 2 workers | ours | best known | ratio |"


def test_how_far_from_the_best() -> None:
    lines = PAGE.read_text().splitlines()
    start = lines.index(HEAD) + 2
    found = lines[start : lines.index("", start)]
    assert found == [
        f"| {bound.what} | {bound.ours:,} | {bound.best:,} | {bound.ratio:.2f} |"
        for bound in bounds(PackedLayout(default_plan(), 2048, 40), workers=2)
    ]
