"""twinveil mask: train the models of a study, select target masks, recognise pictures under them."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.table import Table

from owner.masks.tables import Rule, Rules
from owner.training.picture_size import picture_size
from twinveil.cli.progress import steps
from twinveil.cli.reach import with_settings
from twinveil.cli.terminal import Terminal, styled
from twinveil.files import check_place, write_report
from twinveil.pictures.masks import load_mask, load_masks
from twinveil.start.settings import OwnerSettings
from twinveil.wording import typed

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Choose and use recognition masks.")

_RULES = Rules()
Folder = Annotated[Path | None, typer.Option(help="Folder of the study. Default: STATE/masks.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@app.command()
@with_settings(OwnerSettings, "state")
def train(
    settings: OwnerSettings,
    data: Annotated[
        str, typer.Argument(help="A data set (orl, digits, ...) or a folder with one sub-folder a class.")
    ] = "orl",
    folder: Folder = None,
    masks: Annotated[
        Path | None, typer.Option(help="Folder of mask images: black covers, white shows. Default: drawn.")
    ] = None,
    masks_each: Annotated[int, typer.Option(help="Masks to draw for each of the six groups.")] = 20,
    masks_seed: Annotated[int, typer.Option(help="Which masks are drawn.")] = 1,
    image_size: Annotated[
        str, typer.Option(help="What pictures are cropped to: SIDE or HEIGHTxWIDTH.")
    ] = "32",
    colour: Annotated[bool, typer.Option("--colour", help="Three channels instead of grey.")] = False,
    test_each: Annotated[int, typer.Option(help="Test pictures a class; the others are trained on.")] = 3,
    runs: Annotated[int, typer.Option(help="Trainings of each model, each with a seed of its own.")] = 5,
    seed: Annotated[int, typer.Option(help="Seed of the first run; the others follow it.")] = 1,
    epochs: Annotated[int, typer.Option(help="Passes over the pictures, of both recognisers.")] = 100,
    width: Annotated[int, typer.Option(help="Channels of the recognisers' first stage.")] = 16,
    repair_epochs: Annotated[int, typer.Option(help="Passes over the pictures, of the repair network.")] = 80,
    repair_width: Annotated[int, typer.Option(help="Channels of the repair network.")] = 16,
    recurrences: Annotated[int, typer.Option(help="Recurrences of its reasoning.")] = 4,
    repair_data: Annotated[
        str, typer.Option(help="Other pictures to train it on. Default: the training pictures, distorted.")
    ] = "",
    held_out: Annotated[
        Path | None,
        typer.Option(help="Also write the test pictures to this folder, to recognise them later."),
    ] = None,
) -> None:
    """Train the original recogniser, the masked-image recogniser and the repair network, once for every run.

    Every training is kept: the same command goes on where an earlier one was interrupted.
    """
    place = folder or settings.state / "masks"
    started = time.monotonic()
    with steps("loading pictures and masks"):
        from owner.masks.drawing import draw_masks
        from owner.masks.recogniser import RecogniserSettings
        from owner.masks.repair import RepairSettings
        from owner.masks.study import Study, StudySettings
        from owner.training.held_out import write_held_out

        size = picture_size(image_size)
        asked = StudySettings(
            data,
            (3 if colour else 1, *size),
            test_each,
            repair_data,
            runs,
            seed,
            RecogniserSettings(width, epochs),
            RepairSettings(repair_width, recurrences, repair_epochs),
        )
        chosen = draw_masks(size, masks_each, masks_seed) if masks is None else load_masks(masks, size)
        study = Study.begin(place, asked, chosen)
        if held_out is not None:
            write_held_out(study.data, held_out)
    missing = len(study.missing())
    with steps(f"training {missing} of {3 * runs} models") as step:
        study.train(step)
    seconds = time.monotonic() - started
    Terminal().say(
        f"{3 * runs} models are in {place} ({missing} made now, {seconds:.0f} s); "
        f"next: {typed('twinveil', 'mask', 'select', '--folder', place)}"
    )


@app.command()
@with_settings(OwnerSettings, "state")
def select(
    settings: OwnerSettings,
    folder: Folder = None,
    threshold1: Annotated[
        float, typer.Option(help="Points that first minus second accuracy of a group must exceed.")
    ] = _RULES.threshold1,
    threshold2: Annotated[
        float, typer.Option(help="Points that fourth minus fifth accuracy of a mask must exceed.")
    ] = _RULES.threshold2,
    candidates: Annotated[
        int, typer.Option(help="Masks to keep in each group, two or more.")
    ] = _RULES.candidates,
    floor: Annotated[
        float, typer.Option(help="Per cent that the masked-image recogniser must exceed under a judged mask.")
    ] = _RULES.floor,
    gain: Annotated[
        float, typer.Option(help="dB by which the repair must beat filling with the mean.")
    ] = _RULES.gain,
    simple_masked: Annotated[
        float, typer.Option(help="Simpler rule: per cent for the masked-image recogniser to exceed.")
    ] = _RULES.simple_masked,
    simple_original: Annotated[
        float, typer.Option(help="Simpler rule: per cent for the original recogniser to stay below.")
    ] = _RULES.simple_original,
    report: Annotated[
        Path | None, typer.Option(help="HTML report. Default: report.html in the study's folder.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Select target masks in the published order and numbers, and by the simpler rule; write a report."""
    place = folder or settings.state / "masks"
    with steps("loading the study"):
        from owner.masks.measure import Attacker, measure
        from owner.masks.report import render
        from owner.masks.results import write_results
        from owner.masks.selection import select
        from owner.masks.study import Study
        from owner.masks.summary import show

        rules = Rules(threshold1, threshold2, candidates, floor, gain, simple_masked, simple_original)
        study = Study.load(place)
        page = report or place / "report.html"
        check_place(page)
    with steps("measuring both recognisers under every mask") as step:
        measured = measure(study, step)
    with steps("repair attack") as step:
        attacker = Attacker(study, lambda name: step(0, 0, f"mask {name}"))
        selection = select(measured, attacker, rules)
    path = write_results(study, selection)
    write_report(page, render(study, selection, attacker))
    if as_json:
        typer.echo(path.read_text(encoding="utf-8"))
    else:
        show(Terminal(), study, selection, page)


@app.command()
@with_settings(OwnerSettings, "state")
def recognise(
    settings: OwnerSettings,
    pictures: Annotated[list[Path], typer.Argument(help="Picture files.")],
    folder: Folder = None,
    mask: Annotated[
        list[Path] | None,
        typer.Option(help="A mask of the study, as a file; may be repeated. Default: those of --rule."),
    ] = None,
    choose: Annotated[
        Literal["accurate", "random"],
        typer.Option(help="Of several masks: the most accurate, or any of them for every picture."),
    ] = "accurate",
    rule: Annotated[
        Rule,
        typer.Option(
            help="Whose masks: the published order's targets, the simpler rule's, or the nearest candidate, "
            "which loses most by repair whether or not that passes threshold 2."
        ),
    ] = "published",
    seed: Annotated[int | None, typer.Option(min=0, help="Makes random choices repeat.")] = None,
    as_json: Json = False,
) -> None:
    """Cover pictures with a mask and recognise what is left to see."""
    with steps("loading the recogniser"):
        from owner.masks.recognition import Recognition

        recognition = Recognition.load(
            folder or settings.state / "masks", [load_mask(each) for each in mask or ()], rule
        )
        found = recognition.recognise(pictures, choose, seed)
    if as_json:
        rows = [{"picture": str(file), **asdict(each)} for file, each in zip(pictures, found, strict=True)]
        typer.echo(json.dumps(rows, indent=2))
        return
    table = Table("picture", "class", "share", "mask")
    for file, each in zip(pictures, found, strict=True):
        table.add_row(str(file), styled(each.class_name, "bold"), f"{each.share:.1%}", each.mask)
    Terminal().show(table)
