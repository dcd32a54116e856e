"""The report of a small selection in headless Chromium, at phone width."""

from __future__ import annotations

from pathlib import Path

from owner.masks.drawing import draw_masks
from owner.masks.measure import Attacker, measure
from owner.masks.report import PEOPLE, render
from owner.masks.selection import select
from owner.masks.study import Study
from tests.browser import NEEDS_CHROMIUM, check_report
from tests.owner.masks.tiny import LENIENT, TINY

pytestmark = NEEDS_CHROMIUM


def test_the_report_on_a_phone(tmp_path: Path) -> None:
    study = Study.begin(tmp_path, TINY, draw_masks((8, 8), 2, 1))
    study.train()
    attacker = Attacker(study)
    selection = select(measure(study), attacker, LENIENT)
    assert selection.candidates
    assert selection.targets
    (tmp_path / "report.html").write_text(render(study, selection, attacker))
    check_report(tmp_path / "report.html", 1 + 3 * PEOPLE)
