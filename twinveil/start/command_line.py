"""Settings on a command line: an option for each, made of its own name and help; for roles and verbs.

Options hand their text on as it was typed: what it must be says the setting (twinveil.start.config).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, fields
from inspect import Parameter, Signature
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from twinveil.errors import BadConfiguration
from twinveil.start.config import flag, renamed, settle, truth
from twinveil.start.renamed import with_new_names

EPILOG = "Every option may also be given as TWINVEIL_OPTION in the environment or in the TOML file."

Settings = TypeVar("Settings")


def load(
    kind: type[Settings],
    section: str,
    argv: Sequence[str],
    environment: Mapping[str, str],
    known: frozenset[str] = frozenset(),
) -> Settings:
    """The settings of one role, from its command line. Raises BadConfiguration, naming what is at fault."""
    old = {flag(was): flag(name) for was, name in renamed(kind).items()}
    flags = _parse(kind, f"twinveil serve {section}", with_new_names(argv, old))
    return settle(kind, section, flags, environment, known)


def option(name: str, text: str, annotation: Any = str, panel: str | None = None) -> Parameter:
    """A parameter of a verb: an option that is None where it is not given."""
    made = typer.Option(flag(name), help=text, rich_help_panel=panel)
    return Parameter(
        name, Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[annotation | None, made]
    )


def option_of(each: Field[Any], panel: str | None = None) -> Parameter:
    """The option of a setting."""
    text, kind = each.metadata["help"], each.metadata["kind"]
    shown = "" if each.default in (MISSING, None, False) else f" (default: {each.default})"
    annotation = bool if kind is truth else str
    return option(each.name, f"{text[0].upper()}{text[1:]}{shown}.", annotation, panel)


def config_option(panel: str | None = None) -> Parameter:
    return option("config", "TOML file with settings.", Path, panel)


def chosen(flags: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the options that were given: a switch is on, or was not."""
    return {name: value for name, value in flags.items() if value not in (None, False)}


def _parse(kind: type, program: str, words: Sequence[str]) -> dict[str, Any]:
    def flags(**given: Any) -> dict[str, Any]:
        return chosen(given)

    options = [config_option(), *(option_of(each) for each in fields(kind))]
    flags.__signature__ = Signature(options)  # type: ignore[attr-defined]
    flags.__annotations__ = {}
    app = typer.Typer(add_completion=False)
    app.command(help=kind.__doc__, epilog=EPILOG)(flags)
    try:
        found = typer.main.get_command(app).main(list(words), prog_name=program, standalone_mode=False)
    except Exception as error:
        wrong = getattr(error, "format_message", None)  # typer's own, in whatever version
        if wrong is None:
            raise
        raise BadConfiguration(f"{wrong()} (--help lists the options)") from None
    if not isinstance(found, dict):  # it has shown the help
        raise SystemExit(found)
    return found
