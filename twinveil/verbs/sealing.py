"""twinveil sealing NAME: the owner's, a device's and the payer's commands, found by entry point."""

from __future__ import annotations

import typer

from twinveil.cli.main import Verbs


class SealingVerbs(Verbs):
    verbs = "twinveil.verbs.sealing"


sealing = typer.Typer(
    cls=SealingVerbs,
    add_completion=False,
    no_args_is_help=True,
    help="Sealed pictures: train, serve, register devices, enrol accounts, pay by face, measure.",
)


@sealing.callback()
def _sealing() -> None:
    """Sealed pictures: train, serve, register devices, enrol accounts, pay by face, measure."""
