"""Options that verbs share: where the other roles are and how to reach them. Flag over environment over TOML.

    @with_settings(OwnerSettings, "state", "cloud_s1", "cloud_s2")
    def models(settings: OwnerSettings, as_json: ...) -> None:

The options are made of the settings' own names and help texts; --config and --cluster come with them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from twinveil.errors import BadConfiguration
from twinveil.start.command_line import chosen, config_option, option, option_of
from twinveil.start.local_folder import settle_near
from twinveil.start.settings import RoleSettings

PANEL = "Where the others are, and how to reach them"

Settings = TypeVar("Settings", bound=RoleSettings)
Verb = Callable[..., None]


def with_settings(kind: type[Settings], *names: str) -> Callable[[Verb], Verb]:
    """Give a verb `settings`, and the command line an option for each of the settings named."""

    def decorate(verb: Verb) -> Verb:
        hints = get_type_hints(verb, include_extras=True)
        own = [
            each.replace(annotation=hints[each.name], kind=Parameter.KEYWORD_ONLY)
            for each in signature(verb).parameters.values()
            if each.name != "settings"
        ]

        @wraps(verb)
        def run(**given: Any) -> None:
            flags = {name: given.pop(name) for name in (*names, "config")}
            verb(settings=_settled(kind, flags, given.pop("cluster")), **given)

        run.__signature__ = Signature([*own, *_options(kind, names)])  # type: ignore[attr-defined]
        run.__annotations__ = {}
        return run

    return decorate


def _options(kind: type[RoleSettings], names: tuple[str, ...]) -> list[Parameter]:
    known = {each.name: each for each in fields(kind)}
    cluster = "Folder of a local cluster (serve all, demo): then nothing else is needed here."
    return [
        option("cluster", cluster, Path, PANEL),
        config_option(PANEL),
        *(option_of(known[name], PANEL) for name in names),
    ]


def _settled(kind: type[Settings], flags: Mapping[str, Any], cluster: Path | None) -> Settings:
    settings = settle_near(kind, chosen(flags), cluster, os.environ)
    if "tls" in flags and settings.tls is None and not settings.insecure_plaintext:
        raise BadConfiguration(
            "say how to reach the others: --cluster FOLDER (a local cluster), --tls FOLDER (certificates) or "
            "--insecure-plaintext (loopback only)"
        )
    return settings
