"""twinveil classify: pictures in, classes out; neither cloud sees a picture or a class."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from twinveil.cli.progress import steps
from twinveil.cli.reach import with_settings
from twinveil.cli.terminal import Terminal, styled
from twinveil.errors import BadInput
from twinveil.params import MAX_PICTURES, Engine
from twinveil.pictures.files import Invert
from twinveil.pictures.folders import SUFFIXES, pictures_below
from twinveil.services.inference import PREPARING
from twinveil.start.settings import UserSettings
from twinveil.wording import Telling
from user.client import BATCH, Classification, Client
from user.contact import Contact

TOP = 3
WAITED = (
    "not everything lay ready: part of this time the clouds prepared what a picture takes, "
    "which the next ones may find (twinveil estimate --burst says how much)"
)

REACH = (
    "owner",
    "cloud_s1",
    "cloud_s2",
    "state",
    "fingerprint",
    "tls",
    "insecure_plaintext",
    "insecure_small_key",
    "connect_wait",
)


@with_settings(UserSettings, *REACH)
def classify(
    settings: UserSettings,
    pictures: Annotated[list[Path], typer.Argument(help="Picture files, or folders of them.")],
    model: Annotated[str, typer.Option(help="Name of the model to ask.")],
    version: Annotated[str, typer.Option(help="Its version. Default: the newest.")] = "",
    label_only: Annotated[
        bool, typer.Option("--label-only", help="Ask for the class and nothing more, not even scores.")
    ] = False,
    engine: Annotated[
        Engine,
        typer.Option(
            help="packed, or the published formulas one ciphertext a value (hours on real networks)."
        ),
    ] = "packed",
    invert: Annotated[
        Invert, typer.Option(help="Whether pictures are inverted; auto: as the model card suggests.")
    ] = "auto",
    mask: Annotated[
        Path | None,
        typer.Option(
            help="Cover pictures with this mask before they are blinded; the model's card names it."
        ),
    ] = None,
    batch: Annotated[int, typer.Option(min=1, max=MAX_PICTURES, help="Pictures that share a query.")] = BATCH,
    vector: Annotated[bool, typer.Option("--vector", help="Show every class's score.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Classify pictures by two clouds that see neither the pictures nor the answer."""
    files = list(_files(pictures))
    title = f"classifying {len(files)} picture{'s' * (len(files) != 1)}"
    with ExitStack() as stack:
        step = stack.enter_context(steps(title))
        step(0, 0, "reaching owner and clouds")
        client = stack.enter_context(Client(Contact.of(settings)))
        heard: set[str] = set()
        made = client.classify(
            files,
            model,
            version,
            label_only=label_only,
            engine=engine,
            invert=invert,
            mask=mask,
            batch=batch,
            report=_hearing(step, heard),
        )
        names = client.model(model, version).card.class_names
    if as_json:
        rows = [{"picture": str(file), **asdict(each)} for file, each in zip(files, made, strict=True)]
        typer.echo(json.dumps(rows, indent=2))
    else:
        terminal = Terminal()
        terminal.show(_table(files, made, names, vector))
        if any(label.endswith(PREPARING) for label in heard):
            terminal.say(WAITED)


def _hearing(step: Telling, heard: set[str]) -> Telling:
    """Also keeps what was at work."""

    def told(done: int, total: int, label: str) -> None:
        heard.add(label)
        step(done, total, label)

    return told


def _files(given: Sequence[Path]) -> Iterator[Path]:
    """Files as they are; of a folder every picture below it. Raises BadInput if there is nothing."""
    for path in given:
        if not path.is_dir():
            if not path.exists():
                raise BadInput(f"{path} is not there")
            yield path
            continue
        found = list(pictures_below(path))
        if not found:
            raise BadInput(f"{path} holds no pictures ({', '.join(SUFFIXES)})")
        yield from found


def _table(
    files: Sequence[Path], made: Sequence[Classification], names: Sequence[str], vector: bool
) -> Table:
    has_scores = any(each.scores for each in made)
    table = Table("picture", "class", *(["scores"] if has_scores else []), "seconds")
    for file, each in zip(files, made, strict=True):
        scores = [_scores(each, names, vector)] if has_scores else []
        table.add_row(str(file), styled(each.class_name, "bold"), *scores, f"{each.seconds:.2f}")
    return table


def _scores(made: Classification, names: Sequence[str], vector: bool) -> str:
    order: Any = range(len(made.scores))
    if not vector:
        order = sorted(order, key=lambda index: (-made.scores[index], index))[:TOP]
    return ", ".join(f"{names[index]}: {made.scores[index]:.2f}" for index in order)
