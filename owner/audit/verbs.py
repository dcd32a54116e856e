"""twinveil audit: what a model gives away, measured before it is released."""

from __future__ import annotations

import json
import sys
import tempfile
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from twinveil.cli.progress import steps
from twinveil.cli.reach import with_settings
from twinveil.cli.terminal import Terminal, styled
from twinveil.errors import BadInput
from twinveil.files import check_place, write_report
from twinveil.network.folder import find_model, load_card
from twinveil.start.settings import OwnerSettings
from twinveil.wording import typed

if TYPE_CHECKING:
    from owner.audit.findings import Inverted
    from owner.audit.request import Request

audit = typer.Typer(
    add_completion=False, no_args_is_help=True, help="Measure what a model gives away, before it is released."
)


class Tried(StrEnum):
    """Attackers to train."""

    PLAIN = "plain"
    STRONG = "strong"
    BOTH = "both"


_ATTACKERS: dict[Tried, tuple[Literal["plain", "strong"], ...]] = {
    Tried.PLAIN: ("plain",),
    Tried.STRONG: ("strong",),
    Tried.BOTH: ("plain", "strong"),
}


class By(StrEnum):
    """What is never on both sides of the split."""

    PERSON = "person"
    PICTURE = "picture"


@audit.callback()
def _audit() -> None:
    """Keeps `inversion` a command of its own while it is the only one."""


@audit.command("inversion")
@with_settings(OwnerSettings, "state")
def inversion(
    settings: OwnerSettings,
    model: Annotated[
        str | None,
        typer.Option(help="A model's folder, or NAME or NAME@VERSION. Default: one is trained on the data."),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="orl, mnist, digits, fashion, or a folder of people's folders. Default: the model's, or orl."
        ),
    ] = None,
    layers: Annotated[
        str | None, typer.Option(help="Names with commas between; `picture`, `scores` and `label` are some.")
    ] = None,
    report: Annotated[Path | None, typer.Option(help="HTML file to write, with pictures.")] = None,
    as_json: Annotated[Path | None, typer.Option("--json", help="JSON file to write; - prints it.")] = None,
    seed: Annotated[int, typer.Option(help="Draws the split and trains the attackers.")] = 1,
    quick: Annotated[
        bool, typer.Option("--quick", help="Few epochs, few layers, no protocol: a first look.")
    ] = False,
    attacker: Annotated[
        Tried, typer.Option(help="The plain one, the stronger one, or both: validation decides.")
    ] = Tried.PLAIN,
    epochs: Annotated[
        int | None, typer.Option(help="Most epochs of an attacker. Default: 16, quick: 4.")
    ] = None,
    pictures: Annotated[
        int | None, typer.Option(help="Most pictures of the data set. Default: 1000, quick: 240.")
    ] = None,
    split: Annotated[By | None, typer.Option(help="Default: by picture for digits and clothing.")] = None,
    queries: Annotated[
        int | None,
        typer.Option(help="Pictures sent through the real protocol; 0: none. Default: 96, quick: 0."),
    ] = None,
    views: Annotated[
        Path | None, typer.Option(help="File to keep the clouds' views in, or to read them from.")
    ] = None,
    key_bits: Annotated[int, typer.Option(help="Key length of that protocol run; it has its own key.")] = 512,
    low: Annotated[float, typer.Option(help="A risk below this is low.")] = 0.1,
    high: Annotated[float, typer.Option(help="A risk from this on is high.")] = 0.4,
) -> None:
    """Rebuild people's pictures from what a model computes of them, and from what the clouds see."""
    with steps("loading"):
        from owner.audit.request import Request, Source
        from owner.audit.risk import Thresholds

        folder = None if model is None else find_model(model, settings.state)
        source = Source.of(None if folder is None else load_card(folder), data, quick)
        request = Request(
            folder=folder,
            source=source,
            layers=None if layers is None else _names(layers),
            seed=seed,
            quick=quick,
            attackers=_ATTACKERS[attacker],
            epochs=epochs,
            limit=pictures,
            by=None if split is None else split.value,
            queries=queries,
            views=views,
            key_bits=key_bits,
            thresholds=Thresholds(low, high),
        )
    for path in (report, as_json, views):
        if path is not None and path != Path("-"):
            check_place(path)
    with tempfile.TemporaryDirectory() as scratch:
        result = _run(request, Path(scratch))
    _write(result, request, report, as_json)
    if as_json != Path("-"):
        _print(result, Terminal())


def _names(layers: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in layers.split(",") if name.strip())
    if not names:
        raise BadInput("--layers names no layer: leave it out for the usual ones")
    return names


def _run(request: Request, scratch: Path) -> Inverted:
    from owner.audit.request import prepare

    with steps("the model") as step:
        prepared = prepare(request, scratch, step)
    Terminal(stderr=True).say(prepared.split.describe())
    with steps("the protocol's views") as step:
        seen = prepared.record(step)
    with steps("attacking") as step:
        return prepared.attack(seen, step)


def _write(result: Inverted, request: Request, report: Path | None, as_json: Path | None) -> None:
    from owner.audit.report import to_html
    from owner.audit.results import Subject, to_json

    subject = Subject(request.source.model, typed("twinveil", *sys.argv[1:]))
    if report is not None:
        write_report(report, to_html(result, subject))
    if as_json is not None:
        text = json.dumps(to_json(result, subject), indent=1) + "\n"
        if as_json == Path("-"):
            typer.echo(text, nl=False)
        else:
            write_report(as_json, text)


def _print(result: Inverted, terminal: Terminal) -> None:
    from owner.audit.advice import choices

    table = Table("layer", "features", "SSIM", "baseline", "risk (95 % interval)", "level", "found again")
    for each in result.layers:
        found = each.comparison.attack
        shape = " x ".join(map(str, each.shape))
        again = f"{found.recognised.mean():.0%} / {found.neighbour.mean():.0%}"
        table.add_row(
            each.name,
            shape,
            f"{found.ssim.mean():.3f}",
            f"{each.risk.baseline:.3f}",
            str(each.risk),
            each.level,
            again,
        )
    terminal.show(table)
    terminal.say("found again: by the recogniser / by the nearest neighbour")
    for strength in result.strengths:
        word = "strong enough" if strength.passed else "TOO WEAK"
        terminal.say(f"attacker on {strength.kind} features: SSIM {strength.ssim:.3f}, {word}")
    for view in result.views:
        terminal.say(
            f"{view.cloud}, {view.attack.name}: {view.verdict}, p {view.p:.5f}; risk {view.attack.risk}, "
            f"{view.in_clear} {view.control.risk}"
        )
    for choice in choices(result):
        terminal.say(styled(f"{choice.name}: {choice.level}.", "bold"), f" {choice.advice}")
