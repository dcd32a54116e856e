"""twinveil views: what recorded clouds saw, and whether it says anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from twinveil.cli.progress import steps
from twinveil.cli.terminal import Terminal, styled
from twinveil.files import check_place, write_report
from twinveil.views.audit import ViewsReport, audit
from twinveil.views.chances import FALSE_ALARMS
from twinveil.views.collection import load


def views(
    folder: Annotated[Path, typer.Argument(help="Recordings, of twinveil demo --record FOLDER.")],
    report: Annotated[Path | None, typer.Option(help="Also write a page with pictures here.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")] = False,
) -> None:
    """Test what each cloud saw: structure, statistics of every masked field, a trained distinguisher.

    Exit code 1 if there is an alarm. Honest clouds raise one with probability 10^-6.
    """
    if report is not None:
        check_place(report)
    with steps("reading the views"):
        collection = load(folder)
    with steps(f"testing {len(collection.views)} views"):
        found = audit(collection.views, collection.classes)
    if report is not None:
        from twinveil.views.page import page

        write_report(report, page(found, collection))
    if as_json:
        typer.echo(json.dumps(found.as_dict(), indent=2))
    else:
        _show(found, Terminal())
    if not found.clean:
        raise typer.Exit(1)


def _show(found: ViewsReport, terminal: Terminal) -> None:
    head = ("cloud", "conversation", "views", "messages", "bytes", "decrypted", "structure")
    structure = Table(*head, box=None, padding=(0, 2, 0, 0), title="structure", title_justify="left")
    for kind in found.kinds:
        counts = [f"{each:,}" for each in (kind.views, kind.messages, kind.bytes, kind.decryptions)]
        structure.add_row(kind.cloud, kind.what, *counts, kind.differs or "the same")
    terminal.show(structure)
    for guess in found.guesses:
        low, high = guess.bounds
        terminal.say(
            f"{guess.cloud}, {guess.what}: a trained distinguisher of {guess.classes} was right in "
            f"{guess.right} of {guess.guesses} held-out views, {guess.accuracy:.0%} ({low:.0%} to {high:.0%})"
        )
    if not found.guesses:
        terminal.say("too few views of two classes of pictures to train a distinguisher")
    least = min(found.findings, key=lambda each: each.p, default=None)
    if least is not None:
        terminal.say(
            f"{len(found.findings):,} tests of {len({(f.cloud, f.field) for f in found.findings})} "
            f"fields; the least p is {least.p:.2g}: {least.cloud}, {least.field}, {least.test}"
        )
        terminal.say(
            f"one value outside its mask's range is an alarm among up to {found.lone:,} views of a kind"
        )
    if found.unfinished:
        terminal.say(
            f"{found.unfinished} views are of conversations that were broken off, tested as far as they go; "
            f"{found.not_shown}"
        )
    for alarm in found.alarms:
        terminal.say(styled("ALARM", "red"), f" {alarm}")
    verdict = styled("something shows", "red") if found.alarms else styled("nothing shows", "green")
    terminal.say(verdict, f" (any false alarm: {FALSE_ALARMS:g}, corrected by Holm's procedure)")
