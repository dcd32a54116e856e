"""The owner's commands on models at the clouds: twinveil outsource, models, remove."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from enum import StrEnum
from typing import Annotated

import typer
from rich.console import RenderableType
from rich.table import Table

from owner.catalogue import CatalogueFile
from owner.clouds import CloudAddresses, Placed, reach
from owner.outsource import Offer
from owner.publish import publish
from twinveil.cli.progress import steps
from twinveil.cli.reach import with_settings
from twinveil.cli.terminal import Terminal, styled
from twinveil.errors import UnknownModel
from twinveil.network.card import check_name
from twinveil.network.folder import find_model, load_model
from twinveil.start.settings import OwnerSettings
from twinveil.wording import typed

REACH = (
    "state",
    "cloud_s1",
    "cloud_s2",
    "fingerprint",
    "tls",
    "insecure_plaintext",
    "insecure_small_key",
    "connect_wait",
)


class Engine(StrEnum):
    """What typer can take several times; a Literal it cannot."""

    PACKED = "packed"
    TEXTBOOK = "textbook"


Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@with_settings(OwnerSettings, *REACH)
def outsource(
    settings: OwnerSettings,
    model: Annotated[str, typer.Argument(help="A model's folder, or NAME or NAME@VERSION of a trained one.")],
    name: Annotated[str | None, typer.Option(help="Name at the clouds. Default: the model card's.")] = None,
    version: Annotated[str | None, typer.Option(help="Version there. Default: the model card's.")] = None,
    engine: Annotated[
        list[Engine] | None,
        typer.Option(help="Engine to prepare the model for; may be repeated. Default: packed."),
    ] = None,
    label_only: Annotated[
        bool, typer.Option("--label-only", help="Users get the class and nothing more, never the scores.")
    ] = False,
    again: Annotated[
        bool,
        typer.Option(
            "--again",
            help="In place of what the clouds hold under this name; for the engines and answers it was "
            "outsourced for before, unless others are given.",
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Blind a trained model and give one half to each cloud; neither learns a weight."""
    stored = load_model(find_model(model, settings.state))
    name, version = name or stored.card.name, version or stored.card.version
    check_name(name, version)
    engines = [each.value for each in engine or [Engine.PACKED]]
    if again:
        before = CatalogueFile(settings.state).find(name, version)
        engines, label_only = engines if engine else [*before.engines], label_only or before.label_only
    offer = Offer(name, version, engines, label_only)
    started = time.monotonic()
    named = f"{name} {version}"
    with ExitStack() as stack:
        step = stack.enter_context(steps(f"outsourcing {named}"))
        step(0, 0, "reaching both clouds")
        clouds = stack.enter_context(reach(CloudAddresses.of(settings)))
        step(0, 0, f"blinding {len(stored.model.plan.linear_nodes)} layers")
        entry = publish(
            stored,
            offer,
            clouds,
            settings.state,
            lambda done, layers, layer: step(done, layers, f"importing {layer}"),
            again=again,
        )
    seconds = time.monotonic() - started
    if as_json:
        made = {"model": name, "version": version, "engines": offer.engines, "label_only": label_only}
        made |= {
            "plan_hash": entry.plan.hash.hex(),
            "key_fingerprint": entry.fingerprint,
            "seconds": seconds,
        }
        typer.echo(json.dumps(made))
    else:
        Terminal().say(f"{named} is at both clouds, after {seconds:.0f} s")


@with_settings(OwnerSettings, *REACH)
def models(settings: OwnerSettings, as_json: Json = False) -> None:
    """List the clouds' models, whether users are told of them, and how many items lie ready of your own."""
    with steps("asking both clouds"), reach(CloudAddresses.of(settings)) as clouds:
        placed = clouds.models()
    offered = {(each.name, each.version) for each in CatalogueFile(settings.state).all() if not each.trouble}
    rows = [_row(each, (each.entry.model, each.entry.version) in offered) for each in placed]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    table = Table("model", "version", "engines", "answers", "S1", "S2", "offered to users", "ready", "plan")
    for each, row in zip(placed, rows, strict=True):
        where = [_mark(bool(row[place])) for place in ("cloud_s1", "cloud_s2", "offered")]
        answers = "label only" if row["label_only"] else "class vector"
        table.add_row(
            str(row["model"]),
            str(row["version"]),
            " ".join(each.entry.engines),
            answers,
            *where,
            "-" if row["ready"] is None else str(row["ready"]),
            str(row["plan_hash"])[:12],
        )
    terminal = Terminal()
    if not rows:
        terminal.say("the clouds hold no model")
        return
    terminal.show(table)
    for row in rows:
        if not row["whole"]:
            name, version = str(row["model"]), str(row["version"])
            torn = f"{name} {version} is at one cloud only and of no use: "
            terminal.say(str(row["trouble"]) or torn + typed("twinveil", "remove", name, version))


@with_settings(OwnerSettings, *REACH)
def remove(
    settings: OwnerSettings,
    name: Annotated[str, typer.Argument(help="The model's name.")],
    version: Annotated[str, typer.Argument(help="Its version.")],
    as_json: Json = False,
) -> None:
    """Remove a model from both clouds; users are not told of it any more. The trained model stays here."""
    check_name(name, version)
    with steps("asking both clouds"), reach(CloudAddresses.of(settings)) as clouds:
        was_offered = CatalogueFile(settings.state).remove(name, version)
        try:
            clouds.remove(name, version)
        except UnknownModel:
            if not was_offered:
                raise
    if as_json:
        typer.echo(json.dumps({"model": name, "version": version, "removed": True}))
    else:
        Terminal().say(f"{name} {version} is removed")


def _row(placed: Placed, offered: bool) -> dict[str, object]:
    entry = placed.entry
    return {
        "model": entry.model,
        "version": entry.version,
        "engines": list(entry.engines),
        "label_only": entry.label_only,
        "plan_hash": entry.plan_hash.hex(),
        "cloud_s1": placed.at_s1,
        "cloud_s2": placed.at_s2,
        "whole": placed.whole,
        "trouble": placed.trouble,
        "offered": offered,
        "ready": entry.ready if entry.HasField("ready") else None,
    }


def _mark(there: bool) -> RenderableType:
    return styled("yes", "green") if there else styled("no", "red")
