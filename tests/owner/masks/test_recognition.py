"""Recognition from the command line and as a call: by which mask, from anywhere, never by a relaxed rule."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
from PIL import Image

from owner.masks.recogniser import recognise
from owner.masks.recognition import Recognition
from owner.masks.results import NAME
from owner.masks.study import Study
from tests.owner.masks.tiny import Command, failing, failing_select, selected


def test_recognition_by_the_most_accurate_and_by_any_mask(
    trained: Study, mask_verb: Command, tmp_path: Path
) -> None:
    selected(trained, mask_verb)
    recognition = Recognition.load(trained.folder, rule="simple")
    numbers = json.loads((trained.folder / NAME).read_text())["selection"]
    third = {row["name"]: row["third"]["mean"] for row in numbers["masks"]}
    assert third[recognition.masks[0].name] == max(third[mask.name] for mask in recognition.masks)
    picture = trained.data.held_out[0]
    assert {each.mask for each in recognition.recognise([picture] * 5)} == {recognition.masks[0].name}
    chosen = [each.mask for each in recognition.recognise([picture] * 40, "random", 1)]
    assert len(set(chosen)) > 3
    assert chosen == [each.mask for each in recognition.recognise([picture] * 40, "random", 1)]

    Image.fromarray(picture[0]).save(tmp_path / "one.png")
    one = trained.folder / "masks" / f"{trained.masks[3].name}.png"
    code, shown, _ = mask_verb(
        "recognise", tmp_path / "one.png", "--folder", trained.folder, "--mask", one, "--json"
    )
    [row] = json.loads(shown)
    assert code == 0
    assert row["mask"] == trained.masks[3].name
    [alone] = Recognition.load(trained.folder, [trained.masks[3]]).recognise([tmp_path / "one.png"])
    assert (row["class_name"], row["label"]) == (alone.class_name, alone.label)
    hidden = np.where(trained.masks[3].visible, picture, 255 - picture)
    [same] = Recognition.load(trained.folder, [trained.masks[3]]).recognise([hidden])
    assert same == alone


def test_of_equally_accurate_masks_the_first_that_was_selected_is_used(
    trained: Study, mask_verb: Command
) -> None:
    selected(trained, mask_verb)
    path = trained.folder / NAME
    content = json.loads(path.read_text())
    for row in content["selection"]["masks"]:
        row["third"]["mean"] = 50.0
    names = sorted(content["selection"]["simple_targets"], reverse=True)
    content["selection"]["simple_targets"] = names
    path.write_text(json.dumps(content))
    assert [mask.name for mask in Recognition.load(trained.folder, rule="simple").masks] == names


def test_recognition_never_relaxes_an_empty_selection(
    trained: Study, mask_verb: Command, tmp_path: Path
) -> None:
    code, _, _ = mask_verb("select", "--folder", trained.folder, "--threshold1", "100")
    assert code == 0
    code, _, error = mask_verb("recognise", tmp_path / "any.png", "--folder", trained.folder)
    assert code == 2
    last = error.strip().splitlines()[-1]
    assert last.startswith("error: the published rule has selected no mask (no group is kept: ")
    assert last.endswith("): give --mask FILE")


def test_without_a_target_mask_the_next_step_is_named_and_asked_for(
    trained: Study, mask_verb: Command, tmp_path: Path
) -> None:
    """threshold 2 stops every mask; the simpler rule and the nearest candidate stay, each on request only."""
    Image.fromarray(trained.data.held_out[0][0]).save(tmp_path / "one.png")
    lenient = ("--threshold1=0", "--threshold2=100", "--floor=0", "--gain=0", "--candidates=2")
    simple = ("--simple-masked=0", "--simple-original=100")
    code, shown, _ = mask_verb("select", "--folder", trained.folder, *lenient, *simple)
    assert code == 0
    numbers = json.loads((trained.folder / NAME).read_text())["selection"]
    first = numbers["simple_targets"][0]
    assert "target masks: 0\n" in shown
    assert f"report: {trained.folder}/report.html" in shown
    assert f"next: twinveil mask recognise PICTURE --folder {trained.folder} --rule simple" in shown
    assert f"or: twinveil train digits --mask {trained.folder}/targets-simple/{first}.png" in shown
    use = ("recognise", tmp_path / "one.png", "--folder", trained.folder)
    code, _, error = mask_verb(*use)
    assert code == 2
    assert "no target mask: of " in error
    assert re.search(r"give --rule simple \(\d+\) or --rule nearest \(1\) or --mask FILE$", error.strip())
    for rule, place in (("simple", "simple_targets"), ("nearest", "nearest")):
        code, shown, _ = mask_verb(*use, "--rule", rule, "--json")
        assert code == 0
        assert json.loads(shown)[0]["mask"] == numbers[place][0]


def test_recognition_needs_no_pictures_and_writes_nothing(
    elsewhere: Study, mask_verb: Command, tmp_path: Path
) -> None:
    code, _, _ = mask_verb("select", "--folder", elsewhere.folder)
    assert code == 0
    mask, picture = elsewhere.masks[0], elsewhere.data.held_out[0]
    [label] = recognise(elsewhere.recogniser("masked", 1), mask.cover(picture[None]))
    (tmp_path / "faces").rename(tmp_path / "gone")
    before = {path: path.stat().st_mtime_ns for path in elsewhere.folder.rglob("*")}
    [found] = Recognition.load(elsewhere.folder, [mask]).recognise([picture])
    assert found.class_name == elsewhere.data.class_names[label] == f"p{label}"
    assert {path: path.stat().st_mtime_ns for path in elsewhere.folder.rglob("*")} == before
    assert "faces is neither a folder nor a known data set" in failing_select(mask_verb, elsewhere)


def test_a_mask_that_was_never_measured_is_refused(
    trained: Study, mask_verb: Command, tmp_path: Path
) -> None:
    selected(trained, mask_verb)
    Image.fromarray((np.arange(64).reshape(8, 8) % 2 * 255).astype(np.uint8)).save(tmp_path / "stripes.png")
    line = failing(
        mask_verb, "recognise", "x.png", "--folder", trained.folder, "--mask", tmp_path / "stripes.png"
    )
    assert "mask stripes is none of the masks of" in line
