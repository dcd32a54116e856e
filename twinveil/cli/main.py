"""The command `twinveil`: finds its verbs by entry point, loads only the one asked for, and ends cleanly.

A verb is a function with typer's annotations, or a typer app, named in the group `twinveil.verbs`. Roles
bring their own; a verb that cannot be loaded (the owner's without torch) says so and spoils no other.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import typer
import typer.core

from twinveil.cli.options import with_strict_numbers
from twinveil.errors import BadConfiguration
from twinveil.start.boundary import INTERRUPTED, guarded
from twinveil.start.extras import needs
from twinveil.start.renamed import hint, with_new_names
from twinveil.version import VERSION
from twinveil.wording import visible_lines

GROUP = "twinveil.verbs"
ORDER = (
    "demo",
    "train",
    "mask",
    "audit",
    "kits",
    "preflight",
    "outsource",
    "models",
    "remove",
    "serve",
    "classify",
    "status",
    "estimate",
    "bench",
    "views",
)
RENAMED = {(GROUP, "provision"): ("kits", {"--cluster": "--dask"})}
"""Verbs that had other names before: group and old name -> new name, and its old flags -> new."""
PASS_THROUGH = {"allow_extra_args": True, "ignore_unknown_options": True}


class Verbs(typer.core.TyperGroup):
    """Commands that are imported when they are called, or listed by --help."""

    verbs = GROUP
    """The group of entry points that has them."""

    def list_commands(self, ctx: Any) -> list[str]:
        names = {entry.name for entry in entry_points(group=self.verbs)}
        return sorted(names, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        for entry in entry_points(group=self.verbs, name=cmd_name):
            return _command(entry)
        return None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        old, *rest = args
        if (self.verbs, old) in RENAMED:
            new, flags = RENAMED[self.verbs, old]
            hint(f"twinveil {old}", f"twinveil {new}")
            args = [new, *with_new_names(rest, flags)]
        return super().resolve_command(ctx, args)


def _command(entry: EntryPoint) -> Any:
    try:
        verb = entry.load()
    except (ImportError, AttributeError) as error:
        return _as_command(entry.name, _unavailable(entry.name, error), PASS_THROUGH)
    if isinstance(verb, typer.Typer):
        return _named(entry.name, verb)
    return _as_command(entry.name, verb)


def _as_command(name: str, function: Callable[..., Any], context: dict[str, Any] | None = None) -> Any:
    app = typer.Typer(add_completion=False)
    app.command(name, context_settings=context)(function)
    return _named(name, app)


def _named(name: str, app: typer.Typer) -> Any:
    command = typer.main.get_command(app)
    command.name = name
    return with_strict_numbers(command)


def _unavailable(name: str, error: Exception) -> Callable[[], None]:
    def verb() -> None:
        missing = getattr(error, "name", None) or str(error)
        raise BadConfiguration(f"twinveil {name} is not available here: {needs('it', missing)}")

    verb.__doc__ = f"(not available here: {error})"
    return verb


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"twinveil {VERSION}")
        raise typer.Exit


app = typer.Typer(cls=Verbs, add_completion=False, no_args_is_help=True)


@app.callback()
def twinveil(
    version: bool = typer.Option(
        False, "--version", callback=_show_version, is_eager=True, help="Say which."
    ),
) -> None:
    """Classify pictures without anyone seeing them: private inference by two clouds that do not collude."""


def main() -> None:
    """The console script: runs a verb and exits with its code."""
    sys.exit(guarded(_run))


def _run() -> int:
    try:
        code = typer.main.get_command(app).main(prog_name="twinveil", standalone_mode=False)
    except typer.Abort:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        show = getattr(error, "show", None)  # a wrong command line, in typer's own words
        if show is None:
            raise
        if hasattr(error, "message"):  # with what was typed, which may be a file's name
            error.message = visible_lines(error.message)
        show()
        return int(getattr(error, "exit_code", 2))
    if code == INTERRUPTED:  # typer's answer to Ctrl-C
        print("interrupted", file=sys.stderr)
    return code if isinstance(code, int) else 0
