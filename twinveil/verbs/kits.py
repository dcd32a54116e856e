"""twinveil kits: a start-up kit for each role, from one description of the project."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from twinveil.cli.terminal import Terminal
from twinveil.errors import BadConfiguration
from twinveil.kits.dask import make_certificates
from twinveil.kits.making import AUTHORITY, Made, make_kits, renew
from twinveil.kits.project import read_project


def kits(
    project: Annotated[
        Path | None, typer.Argument(help="project.toml: names, hosts, ports, users, validity.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the kits.")] = Path("kits"),
    fingerprint: Annotated[
        str | None, typer.Option(help="Of S2's key (64 hexadecimal digits), into every kit that has none.")
    ] = None,
    renewed: Annotated[
        list[str] | None,
        typer.Option("--renew", help="Kit that gets a new certificate; 'user' is every user. Repeatable."),
    ] = None,
    discard_authority_key: Annotated[
        bool,
        typer.Option(
            "--discard-authority-key",
            help="Do not keep the authority's key: nothing can be renewed later.",
        ),
    ] = False,
    dask: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Instead of kits: certificates for S1's own Dask, into this new folder."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Make one folder per role with configuration, key, certificate and instructions; overwrites nothing."""
    if dask is not None and not (project or fingerprint or renewed or discard_authority_key):
        make_certificates(dask)
        Terminal().say(
            f"Carry {dask} to every machine on which Dask runs and no other: whoever has it is S1."
        )
        return
    if project is None or dask is not None:
        raise BadConfiguration("give a project.toml, or --dask FOLDER alone")
    described = read_project(project)
    if renewed:
        if fingerprint is not None or discard_authority_key:
            raise BadConfiguration("--renew goes alone: run twinveil kits again for the rest")
        made = renew(described, out, renewed)
    else:
        made = make_kits(described, out, fingerprint, keep_authority=not discard_authority_key)
    if as_json:
        rows = [{"kit": each.kit, "folder": str(each.folder), "what": each.what} for each in made]
        typer.echo(json.dumps(rows, indent=2))
        return
    terminal = Terminal()
    terminal.show(_table(made))
    for line in _advice(out):
        terminal.say(line)


def _table(made: list[Made]) -> Table:
    table = Table("kit", "folder", "")
    for each in made:
        table.add_row(each.kit, str(each.folder), each.what)
    return table


def _advice(out: Path) -> list[str]:
    folder = out / AUTHORITY
    if folder.exists():
        key = f"Whoever holds {folder}/key.pem can be anyone here: keep that folder offline and to yourself."
    else:
        key = "The authority's key was not kept: renewing or adding a kit means making all of them anew."
    return [key, "Carry each kit to its host; its README.md has the two commands to type."]
