"""twinveil mask: train the models of a study, select target masks, recognise pictures under them."""

from __future__ import annotations

import json
import re
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from twinveil.cli.contact import with_settings
from twinveil.cli.progress import steps
from twinveil.errors import BadInput
from twinveil.masks import load_mask, load_masks
from twinveil.settings import OwnerSettings

if TYPE_CHECKING:
    from owner.masks.selection import Selection

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Choose and use recognition masks.")

_SIZE = re.compile(r"([0-9]{1,4})(?:x([0-9]{1,4}))?")

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
    image_size: Annotated[str, typer.Option(help="What pictures are cropped to: SIDE or HEIGHTxWIDTH.")] = "32",
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
        Path | None, typer.Option(help="Also write the test pictures to this folder, to recognise them later.")
    ] = None,
) -> None:
    """Train the original recogniser, the masked-image recogniser and the repair network, once for every run.

    Every training is kept: the same command goes on where an earlier one was interrupted.
    """
    console = Console(stderr=True)
    place = folder or settings.state / "masks"
    started = time.monotonic()
    with steps("loading pictures and masks", console):
        from owner.masks.drawing import draw_masks
        from owner.masks.recogniser import RecogniserSettings
        from owner.masks.repair import RepairSettings
        from owner.masks.study import Study, StudySettings
        from owner.pictures import write_held_out

        height, width_of = _size(image_size)
        asked = StudySettings(
            data,
            (3 if colour else 1, height, width_of),
            test_each,
            repair_data,
            runs,
            seed,
            RecogniserSettings(width, epochs),
            RepairSettings(repair_width, recurrences, repair_epochs),
        )
        size = (height, width_of)
        chosen = draw_masks(size, masks_each, masks_seed) if masks is None else load_masks(masks, size)
        study = Study(place, asked, chosen)
        if held_out is not None:
            write_held_out(study.data, held_out)
    missing = len(study.missing())
    with steps(f"training {missing} of {3 * runs} models", console) as step:
        study.train(step)
    seconds = time.monotonic() - started
    Console().print(
        f"{3 * runs} models are in {place} ({missing} made now, {seconds:.0f} s); "
        f"next: twinveil mask select --folder {place}",
        soft_wrap=True,
        highlight=False,
    )


def _size(text: str) -> tuple[int, int]:
    match = _SIZE.fullmatch(text)
    if match is None:
        raise BadInput(f"--image-size must be like 32 or 56x48, not {text!r}")
    return int(match[1]), int(match[2] or match[1])
