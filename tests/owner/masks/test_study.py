"""A study from the command line: trained once, resumed, selected, reported; bad input in one line."""

from __future__ import annotations

import json
import re
import shutil
import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from owner.masks import study as module
from owner.masks.drawing import draw_masks
from owner.masks.measure import Attacker, measure
from owner.masks.recogniser import Recogniser, recognise
from owner.masks.repair import pooled_psnr, repair
from owner.masks.report import render
from owner.masks.results import NAME
from owner.masks.selection import select
from owner.masks.study import KINDS, Study, StudySettings
from owner.masks.tables import Rules
from tests.owner.masks.tiny import LENIENT, TINY, Command, failing, failing_select, selected
from tests.private import open_to_others
from twinveil.errors import BadInput
from twinveil.pictures.files import Picture
from twinveil.pictures.folders import SUFFIXES
from twinveil.pictures.masks import Mask


def test_every_run_has_three_models_of_its_own(trained: Study) -> None:
    files = sorted(path.name for path in (trained.folder / "models").iterdir())
    assert len(files) == len(set(files)) == 2 * len(KINDS)
    assert trained.missing() == []
    assert set(trained.seconds()) == {f"{kind}-{seed}" for kind in KINDS for seed in (1, 2)}


def test_a_study_is_its_owners_alone(trained: Study, mask_verb: Command) -> None:
    selected(trained, mask_verb)
    assert open_to_others(trained.folder) == []


def test_an_interrupted_study_goes_on_where_it_was(
    trained: Study, masks: list[Mask], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = Study.begin(tmp_path, TINY, masks)
    whole = module.train_repair

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "train_repair", interrupted)
    with pytest.raises(KeyboardInterrupt):
        begun.train()
    assert len(begun.missing()) == 4
    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "models").iterdir()}
    monkeypatch.setattr(module, "train_repair", whole)
    Study.load(tmp_path).train()
    made = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "models").iterdir()}
    assert {name: made[name] for name in kept} == kept
    assert set(made) == {path.name for path in (trained.folder / "models").iterdir()}
    for path in (tmp_path / "models").iterdir():
        weights = path.read_bytes().partition(b"}}")[2]
        assert weights == (trained.folder / "models" / path.name).read_bytes().partition(b"}}")[2]


def test_more_runs_are_welcome_and_other_settings_are_not(trained: Study, masks: list[Mask]) -> None:
    more = StudySettings(**{name: getattr(TINY, name) for name in TINY.__slots__} | {"runs": 3})
    assert [seed for _, seed in Study.begin(trained.folder, more, masks).missing()] == [3, 3, 3]
    Study.begin(trained.folder, TINY, masks)
    other = StudySettings(**{name: getattr(TINY, name) for name in TINY.__slots__} | {"test_each": 5})
    with pytest.raises(BadInput, match="holds a study with other test_each: choose another --folder"):
        Study.begin(trained.folder, other, masks)
    with pytest.raises(BadInput, match="holds a study with other masks"):
        Study.begin(trained.folder, TINY, masks[1:])


def test_masks_of_another_size_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="is 12 x 12, the picture 8 x 8"):
        Study.begin(tmp_path / "study", TINY, draw_masks((12, 12), 2, 1))
    assert not (tmp_path / "study").exists()


def test_the_runs_are_trainings_with_different_seeds(trained: Study) -> None:
    for kind in ("original", "masked"):
        first, second = (trained.recogniser(kind, seed).dense.weight for seed in trained.settings.seeds)
        assert not torch.equal(first, second), kind
    one, other = (
        torch.cat([each.flatten() for each in trained.repairer(seed).parameters()]) for seed in (1, 2)
    )
    assert not torch.equal(one, other)


def hits(trained: Study, network: Recogniser, pictures: Picture) -> int:
    return int((recognise(network, pictures) == trained.data.held_out_labels).sum())


def test_measured_hits_are_those_of_the_models_of_their_run(trained: Study) -> None:
    measured = measure(trained)
    assert measured.pictures == 40
    tests = trained.data.held_out
    for kind, whole, found in (
        ("original", measured.original_whole, measured.original),
        ("masked", measured.masked_whole, measured.masked),
    ):
        networks = [trained.recogniser(kind, seed) for seed in (1, 2)]
        assert whole.tolist() == [hits(trained, each, tests) for each in networks]
        assert found.tolist() == [
            [hits(trained, each, mask.cover(tests)) for mask in trained.masks] for each in networks
        ]
        assert found[0].tolist() != found[1].tolist()


def test_attacks_are_those_of_the_models_of_their_run(trained: Study) -> None:
    """Over all masks the hits tell the runs, and both recognisers, apart."""
    tests, attacker = trained.data.held_out, Attacker(trained)
    made = [attacker(mask.name) for mask in trained.masks]
    seen = set()
    for run, seed in enumerate(trained.settings.seeds):
        repairer = trained.repairer(seed)
        whole = [repair(repairer, mask.cover(tests), mask) for mask in trained.masks]
        assert [each.repaired[run] for each in made] == [pooled_psnr(each, tests) for each in whole]
        for kind in ("masked", "original"):
            network = trained.recogniser(kind, seed)
            by_hand = [hits(trained, network, each) for each in whole]
            assert [getattr(each, kind)[run] for each in made] == by_hand, (kind, seed)
            seen.add(tuple(by_hand))
    assert len(seen) == 4


def test_select_writes_numbers_masks_and_a_report(trained: Study, mask_verb: Command) -> None:
    lenient = ("--threshold1", 0, "--threshold2", 0, "--floor", 0, "--gain", 0, "--candidates", 2)
    simple = ("--simple-masked", 0, "--simple-original", 100)
    code, shown, _ = mask_verb("select", "--folder", trained.folder, *map(str, lenient), *map(str, simple))
    assert code == 0
    assert "target masks:" in shown
    assert "drop of more than" in shown
    numbers = json.loads((trained.folder / NAME).read_text())
    assert numbers["study"]["runs"] == 2
    assert len(numbers["selection"]["masks"]) == 12
    assert all(len(row["third"]["runs"]) == 2 for row in numbers["selection"]["masks"])
    assert set(numbers["training_seconds"]) == set(trained.seconds())
    simple_masks = {path.stem for path in (trained.folder / "targets-simple").iterdir()}
    assert simple_masks == set(numbers["selection"]["simple_targets"])
    for place, rule in (("targets", "targets"), ("nearest", "nearest")):
        there = {path.stem for path in (trained.folder / place).iterdir()}
        assert there == set(numbers["selection"][rule])
    for each in numbers["selection"]["candidates"]:
        assert len(each["repaired_psnr"]["runs"]) == len(each["gain"]["runs"]) == 2
    assert "<h1>Recognition masks</h1>" in (trained.folder / "report.html").read_text()


def test_the_report_is_for_its_owners_eyes(trained: Study, mask_verb: Command, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("an older one")
    page.chmod(0o644)
    code, _, _ = mask_verb("select", "--folder", trained.folder, "--report", page)
    assert code == 0
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_a_report_that_cannot_be_written_is_refused_before_anything_is_measured(
    trained: Study, mask_verb: Command, tmp_path: Path
) -> None:
    """`failing` sees no line of measuring."""
    for place in (tmp_path, tmp_path / "none" / "page.html", trained.folder / "study.json" / "page.html"):
        line = failing(mask_verb, "select", "--folder", trained.folder, "--report", place)
        assert line == f"error: {place} cannot be written: give a file in a folder that is there"


def test_the_report_holds_itself_together(trained: Study) -> None:
    attacker = Attacker(trained)
    page = render(trained, select(measure(trained), attacker, LENIENT), attacker)
    assert not re.search(r"https?://|<script|<link|url\(", page)
    assert page.count("data:image/png;base64,") == 1 + 3 * 6
    for words in (
        "Table 1",
        "Table 2",
        "The simpler rule",
        ">original<",
        ">covered<",
        ">repaired<",
        "0.5-0.6",
    ):
        assert words in page
    strict = render(trained, select(measure(trained), attacker, Rules(threshold1=100)), attacker)
    assert "no group is kept" in strict
    assert "Nearest candidate: none." in strict
    stopped = select(measure(trained), attacker, replace(LENIENT, threshold2=100))
    assert f"Nearest candidate: {stopped.nearest[0]}." in render(trained, stopped, attacker)


def test_a_folder_of_pictures_is_found_from_anywhere(
    elsewhere: Study, mask_verb: Command, tmp_path: Path
) -> None:
    assert Study.load(elsewhere.folder).missing() == []
    code, _, _ = mask_verb("select", "--folder", elsewhere.folder)
    assert code == 0
    again = replace(TINY, data="../faces", repair_data="../faces", test_each=1, runs=1)
    assert Study.begin(elsewhere.folder, again, elsewhere.masks).missing() == []


def test_other_pictures_than_those_that_were_studied_are_refused(
    elsewhere: Study, mask_verb: Command, tmp_path: Path
) -> None:
    for file in (tmp_path / "faces" / "p1").iterdir():
        Image.fromarray(255 - np.asarray(Image.open(file))).save(file)
    line = failing_select(mask_verb, elsewhere)
    assert f"faces has other pictures than {elsewhere.folder} was made of: run twinveil mask train" in line


def test_a_damaged_study_goes_on_with_what_is_trained(
    trained: Study, masks: list[Mask], tmp_path: Path
) -> None:
    folder = shutil.copytree(trained.folder, tmp_path / "study")
    (folder / "study.json").write_text('{"settings": {}}')
    with pytest.raises(BadInput, match=r"remove it and run twinveil mask train again, which keeps what is"):
        Study.begin(folder, TINY, masks)
    (folder / "study.json").unlink()
    assert Study.begin(folder, TINY, masks).missing() == []


def test_bad_input_is_one_line(mask_verb: Command, trained: Study, tmp_path: Path) -> None:
    study, folder = tmp_path / "study", tmp_path / "masks"
    folder.mkdir()
    train = ("train", "digits", "--image-size", "8", "--folder", study, "--masks", folder)
    assert failing(mask_verb, *train).endswith(f"holds no masks ({', '.join(SUFFIXES)})")
    grey = np.full((8, 8), 255, np.uint8)
    grey[:4, :4] = 90
    Image.fromarray(grey).save(folder / "grey.png")
    assert "grey.png is not binary: it has 2 levels of grey" in failing(mask_verb, *train)
    Image.fromarray(np.eye(16, dtype=np.uint8) * 255).save(folder / "grey.png")
    assert "grey.png is 16 x 16 pixels, not 8 x 8" in failing(mask_verb, *train)
    Image.fromarray(np.eye(8, dtype=np.uint8) * 255).save(folder / "grey.png")
    assert "mask grey covers 87.5% of the picture, outside the groups" in failing(mask_verb, *train)
    assert not study.exists()
    for arguments, words in (
        (("train", "digits", "--image-size", "9", "--folder", study), "multiples of 4"),
        (
            ("train", "digits", "--image-size", "big", "--folder", study),
            "--image-size must be like 28 or 56x46",
        ),
        (("train", "nowhere", "--folder", study), "nowhere is neither a folder nor a known data set"),
        (("train", "digits", "--runs", "0", "--folder", study), "runs must be 1 to 31, not 0"),
        (("select", "--folder", study), "holds no study of masks: run twinveil mask train"),
        (("select", "--folder", trained.folder, "--candidates", "1"), "at least two candidates a group"),
        (("recognise", "x.png", "--folder", study), "has no selection: run twinveil mask select"),
    ):
        assert words in failing(mask_verb, *arguments)


def test_models_that_are_missing_or_damaged_are_named(masks: list[Mask], tmp_path: Path) -> None:
    begun = Study.begin(tmp_path, TINY, masks)
    with pytest.raises(BadInput, match="lacks the original model of seed 1: run twinveil mask train"):
        measure(begun)
    begun.train()
    file = next((tmp_path / "models").glob("masked-1-*"))
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(BadInput, match=r"masked-1-.* is damaged: remove it and train again"):
        begun.recogniser("masked", 1)
