"""The main program of a role: read settings, build services, serve."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, TypeVar

from twinveil.errors import BadConfiguration
from twinveil.files import lock, private_folder
from twinveil.start.boundary import guarded, log_to_stderr
from twinveil.start.command_line import load
from twinveil.start.freed_memory import keep_freed_memory
from twinveil.start.settings import EVERY_SETTING, RoleSettings
from twinveil.transport.credentials import check_own
from twinveil.transport.server import Service, serve

Settings = TypeVar("Settings", bound=RoleSettings)


def run(kind: type[Settings], build: Callable[[Settings], Sequence[Service]]) -> int:
    """Runs a role until it is told to stop; returns the exit code.

    build: makes the role's services from its settings. What has to be freed at the end belongs to handlers.
    """

    section = kind.section or kind.role

    def main() -> None:
        settings = load(kind, section, sys.argv[1:], os.environ, EVERY_SETTING)
        log_to_stderr(settings.log_level)
        keep_freed_memory()
        server = settings.server()
        if server.tls is not None:
            check_own(server.tls, server.role)
        private_folder(settings.state)
        with _alone(settings.state, section):  # before anything there is touched
            serve(server, build(settings))

    return guarded(main)


def _alone(state: Path, section: str) -> IO[bytes]:
    try:
        return lock(state / f"{section}.lock")
    except BlockingIOError:
        raise BadConfiguration(
            f"{section} is running with {state} already: end it first, or give this one another --state"
        ) from None
