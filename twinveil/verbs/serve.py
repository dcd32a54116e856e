"""twinveil serve ROLE: this process becomes `python -m ROLE`. No role is imported here."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import typer

from twinveil.start.process import command
from twinveil.verbs.serve_all import serve_all

PASS_THROUGH = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}

ROLES = {
    "owner": "Tells users about models: plan, model card, key fingerprint.",
    "cloud_s1": "Cloud S1: holds the encrypted models and computes on ciphertexts.",
    "cloud_s2": "Cloud S2: makes and keeps the secret key; sees masked values only.",
    "user": "Classifies on loopback for programs in other languages.",
    "sealing": "The owner's sealing server: enrols accounts, verifies sealed pictures.",
}

MODULES = {"sealing": "owner.sealing"}
"""Where a role's program is not the package of its name."""

serve = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Run one of the four roles on this host, or all of them, until told to stop. "
    "Each role lists its own options: twinveil serve cloud_s2 --help",
)


def _become(role: str) -> Callable[[typer.Context], None]:
    def run(context: typer.Context) -> None:
        os.execv(sys.executable, command(MODULES.get(role, role), *context.args))  # noqa: S606

    run.__doc__ = ROLES[role]
    return run


serve.command("all")(serve_all)
for _role in ROLES:
    serve.command(_role, context_settings=PASS_THROUGH)(_become(_role))
