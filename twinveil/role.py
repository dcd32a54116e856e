"""The main program of a role: read settings, build services, serve."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

from twinveil.boundary import guarded
from twinveil.config import load
from twinveil.memory import keep_freed_memory
from twinveil.net.server import Service, serve
from twinveil.settings import EVERY_SETTING, RoleSettings

Settings = TypeVar("Settings", bound=RoleSettings)


def run(kind: type[Settings], build: Callable[[Settings], Sequence[Service]]) -> int:
    """Runs a role until it is told to stop; returns the exit code.

    build: makes the role's services from its settings. What has to be freed at the end belongs to handlers.
    """

    def main() -> None:
        settings = load(kind, kind.role, sys.argv[1:], os.environ, EVERY_SETTING)
        logging.basicConfig(
            level=settings.log_level.upper(),
            format="%(asctime)s %(levelname)s %(name)s: %(message)s",
            stream=sys.stderr,
        )
        keep_freed_memory()
        server = settings.server()
        settings.state.mkdir(parents=True, exist_ok=True)
        serve(server, build(settings))

    return guarded(main)
