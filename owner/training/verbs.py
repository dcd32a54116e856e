"""twinveil train: a data set becomes a model folder."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from owner.training.picture_size import picture_size
from twinveil.cli.progress import steps
from twinveil.cli.reach import with_settings
from twinveil.cli.terminal import Terminal
from twinveil.errors import BadInput, BadPlan, TooMuch
from twinveil.network.card import ModelCard, Polarity, check_name
from twinveil.network.folder import check_folder
from twinveil.params import Params
from twinveil.pictures.masks import Mask, load_mask
from twinveil.protocol.size import refuse_unrunnable
from twinveil.start.settings import OwnerSettings
from twinveil.wording import typed

if TYPE_CHECKING:
    from owner.training.datasets import DataSet
    from owner.training.train import TrainOptions


@with_settings(OwnerSettings, "state")
def train(
    settings: OwnerSettings,
    data: Annotated[
        str,
        typer.Argument(
            help="mnist, digits, orl, fashion, or a folder with one sub-folder of pictures a class, "
            "or with train and test (or val) that have those."
        ),
    ] = "mnist",
    out: Annotated[
        Path | None, typer.Option(help="Folder to write the model to. Default: STATE/models/NAME@VERSION.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the model. Default: the data set's.")] = None,
    version: Annotated[str, typer.Option(help="Version of the model, such as 1 or 1.2.")] = "1",
    seed: Annotated[int, typer.Option(help="Equal seeds give equal models on one machine.")] = 1,
    epochs: Annotated[
        int | None, typer.Option(help="Passes over the training pictures. Default: by their number.")
    ] = None,
    image_size: Annotated[
        str | None, typer.Option(help="What every picture is cropped to: SIDE or HEIGHTxWIDTH.")
    ] = None,
    colour: Annotated[bool, typer.Option("--colour", help="Three channels instead of grey.")] = False,
    polarity: Annotated[
        Polarity | None, typer.Option(help="What the pictures of a folder look like. Default: any.")
    ] = None,
    width: Annotated[
        float, typer.Option(help="Channels of every layer, as a multiple of the published network's.")
    ] = 1.0,
    mask: Annotated[
        Path | None,
        typer.Option(help="Train on pictures covered by this mask; their size is then the mask's."),
    ] = None,
    held_out: Annotated[
        Path | None,
        typer.Option(help="Also write the held-out pictures to this folder, to classify them later."),
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Overwrite the model that is there.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the model card as JSON.")] = False,
) -> None:
    """Train the network on pictures and quantise it to integers. Nothing leaves this machine."""
    started = time.monotonic()
    with steps("loading the data set"):
        # Torch is loaded only here: the owner's other commands do without.
        from owner.training.datasets import load_data_set
        from owner.training.icnn import Widths
        from owner.training.train import TrainOptions, model_name

        covering = None if mask is None else load_mask(mask)
        shape = _shape(image_size, colour, covering)
        pictures = load_data_set(data, shape, polarity)
        options = TrainOptions(
            data, name, version, None, polarity, epochs, seed, widths=Widths().scaled(width), mask=covering
        )
        named = name or model_name(pictures.name)
        check_name(named, version)
    folder = out or settings.state / "models" / f"{named}@{version}"
    check_folder(folder, replace=replace)
    _refuse_unrunnable(pictures, options)
    if pictures.split:
        Terminal(stderr=True).say(f"pictures: {pictures.split}")
    card = _train(pictures, options, folder, held_out, replace)
    seconds = time.monotonic() - started
    if as_json:
        typer.echo(
            json.dumps({"folder": str(folder), "seconds": seconds, "card": json.loads(card.to_json())})
        )
    else:
        terminal = Terminal()
        terminal.show(_summary(card, folder, seconds))
        terminal.say(f"next: {typed('twinveil', 'outsource', folder)} with your --cluster or --config")


def _refuse_unrunnable(pictures: DataSet, options: TrainOptions) -> None:
    """Raises BadPlan where clouds with a key of the default length would refuse the trained network."""
    from owner.training.train import network_plan

    try:
        refuse_unrunnable(network_plan(pictures, options), Params(), ("packed",))
    except (BadPlan, TooMuch) as error:
        raise BadPlan(f"{error}: take smaller pictures (--image-size) or fewer channels (--width)") from None


def _train(
    data: DataSet, options: TrainOptions, folder: Path, held_out: Path | None, replace: bool
) -> ModelCard:
    from owner.training.held_out import write_held_out
    from owner.training.train import TrainProgress, train_on

    if held_out is not None:
        with steps("writing the held-out pictures"):
            write_held_out(data, held_out)
    with steps(f"training on {len(data.train)} pictures of {data.name}") as step:

        def show(progress: TrainProgress) -> None:
            label = f"{progress.phase}, loss {progress.loss:.3f}, accuracy {progress.accuracy:.1%}"
            step(progress.epoch, progress.epochs, label)

        trained = train_on(data, options, show)
        trained.save(folder, replace=replace)
    return trained.card


def _shape(size: str | None, colour: bool, mask: Mask | None) -> tuple[int, int, int] | None:
    """What pictures are cropped to; None: the data set's own size. Raises BadInput."""
    shape = _asked(size, colour)
    if mask is None:
        return shape
    if size is not None and shape is not None and shape[1:] != mask.size:
        raise BadInput(f"mask {mask.name} is {mask.size[0]} x {mask.size[1]} pixels, --image-size is {size}")
    return (3 if colour else 1, *mask.size)


def _asked(size: str | None, colour: bool) -> tuple[int, int, int] | None:
    channels = 3 if colour else 1
    if size is None:
        return (3, 32, 32) if colour else None
    return (channels, *picture_size(size))


def _summary(card: ModelCard, folder: Path, seconds: float) -> Table:
    channels, height, width = card.image_shape
    table = Table("model", f"{card.name} {card.version}", title="Trained", title_justify="left")
    for row in (
        (
            "data set",
            f"{card.data_set}: {card.training_pictures} pictures, {card.held_out_pictures} held out",
        ),
        ("pictures", f"{channels} x {height} x {width}, {len(card.class_names)} classes, {card.polarity}"),
        *([("mask", f"{card.mask[:12]}..., kept with the model")] if card.mask else []),
        ("accuracy, real numbers", f"{card.accuracy_float:.1%}"),
        ("accuracy, integers", f"{card.accuracy_fixed:.1%}"),
        ("seconds", f"{seconds:.0f}"),
        ("folder", str(folder)),
    ):
        table.add_row(*row)
    return table
