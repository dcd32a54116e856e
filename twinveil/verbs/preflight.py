"""twinveil preflight: looks at a kit, this machine and the live peers, and says what to do."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from twinveil.cli.terminal import Terminal, styled
from twinveil.preflight.finding import Finding
from twinveil.preflight.here import look_around
from twinveil.preflight.kit import open_kit
from twinveil.preflight.peers import ask_around

COLOURS = {"ok": "green", "note": "yellow", "failure": "red"}


def preflight(
    kit: Annotated[Path, typer.Argument(help="A kit's folder.")],
    wait: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for each peer.")] = 5.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Check ports, names, certificates, clocks, versions, keys, memory, disk. Exits with 1 on a failure."""
    opened = open_kit(kit)
    found = [*look_around(opened), *ask_around(opened, wait)]
    failures = sum(each.state == "failure" for each in found)
    if as_json:
        typer.echo(json.dumps([asdict(each) for each in found], indent=2))
    else:
        terminal = Terminal()
        terminal.show(_table(opened.role, found))
        for each in found:
            if each.remedy:
                terminal.say(f"{each.check}: {each.seen}. What to do: {each.remedy}")
        terminal.say("ready" if not failures else f"not ready: {failures} of {len(found)} checks failed")
    if failures:
        raise typer.Exit(1)


def _table(role: str, found: list[Finding]) -> Table:
    table = Table(f"check of {role}", "", "seen")
    for each in found:
        table.add_row(each.check, styled(each.state, COLOURS[each.state]), each.seen)
    return table
