"""twinveil status: asks every role who it is and how it is doing."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from twinveil.cli.terminal import Terminal, styled
from twinveil.errors import PeerUnavailable, TwinveilError
from twinveil.kits.texts import settings_of
from twinveil.rpc.types_pb2 import ModelEntry
from twinveil.start.config import read_toml, variable
from twinveil.start.local_folder import settle_near
from twinveil.start.settings import CallerSettings
from twinveil.transport.address import from_here
from twinveil.transport.channel import connect
from twinveil.transport.credentials import check_dates
from twinveil.transport.identity import ROLES

CLOUDS = ("cloud_s1", "cloud_s2")


@dataclass(frozen=True, slots=True)
class RoleStatus:
    """One role's answer, or why there is none."""

    role: str
    address: str
    error: str | None = None
    version: str = ""
    protocol: int = 0
    key_fingerprint: str = ""
    models: tuple[str, ...] = ()
    running_queries: int = 0
    ready_items: int = 0
    arithmetic: str = ""
    uptime_seconds: float = 0.0
    memory_bytes: int = 0
    pid: int = 0


def status(
    config: Annotated[Path | None, typer.Option(help="TOML file with settings.")] = None,
    cluster: Annotated[
        Path | None,
        typer.Option(help="Folder of a local cluster, such as the demo's: where, and how to ask."),
    ] = None,
    owner: Annotated[str | None, typer.Option(help="Address of the owner's service.")] = None,
    cloud_s1: Annotated[str | None, typer.Option(help="Address of cloud S1.")] = None,
    cloud_s2: Annotated[str | None, typer.Option(help="Address of cloud S2.")] = None,
    user: Annotated[str | None, typer.Option(help="Address of the user's service.")] = None,
    tls: Annotated[Path | None, typer.Option(help="Folder with certificate, key and authority.")] = None,
    insecure_plaintext: Annotated[bool, typer.Option(help="No TLS; loopback only.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Ask all four roles how they are. Exits with 5 if one of them does not answer."""
    flags = {
        "config": config,
        "owner": owner,
        "cloud_s1": cloud_s1,
        "cloud_s2": cloud_s2,
        "user": user,
        "tls": tls and str(tls),
        "insecure_plaintext": insecure_plaintext or None,
    }
    environment = (_own_address(config) if config else {}) | os.environ
    settings = settle_near(CallerSettings, flags, cluster, environment)
    if (own := settings.me().tls) is not None:
        check_dates(own)  # said once, and not in every role's row
    with ThreadPoolExecutor(len(ROLES)) as pool:
        answers = list(pool.map(lambda role: ask(settings, role), ROLES))
    if as_json:
        typer.echo(json.dumps([asdict(answer) for answer in answers], indent=2))
    else:
        Terminal().show(_table(answers))
    missing = [answer.error for answer in answers if answer.error]
    if missing:
        raise PeerUnavailable("; ".join(missing))


def _own_address(config: Path) -> dict[str, str]:
    """A kit names the others' addresses; its own role is where it listens. As an environment variable."""
    own = [role for role, table in read_toml(config).items() if role in ROLES and isinstance(table, dict)]
    listen = settings_of(config).get("listen")
    if len(own) != 1 or listen is None:
        return {}
    return {variable(own[0]): from_here(str(listen))}


def ask(settings: CallerSettings, role: str) -> RoleStatus:
    """One role's status; never raises for a role that is not there."""
    address = getattr(settings, role)
    try:
        with connect(settings.me(), role, address, settings.connect_wait) as link:
            reply = link.status
    except TwinveilError as error:
        return RoleStatus(role, address, error=str(error))
    return RoleStatus(
        role,
        link.peer.removeprefix(f"{role} at "),
        version=reply.twinveil_version,
        protocol=reply.protocol_version,
        key_fingerprint=reply.key_fingerprint.hex(),
        models=tuple(_named(entry) for entry in reply.models),
        running_queries=reply.running_queries,
        ready_items=reply.ready_items,
        arithmetic=reply.arithmetic,
        uptime_seconds=round(reply.uptime_seconds, 1),
        memory_bytes=reply.memory_bytes,
        pid=reply.pid,
    )


def _named(entry: ModelEntry) -> str:
    return f"{entry.model} {entry.version}" + (" (cannot be used)" if entry.trouble else "")


def _table(answers: list[RoleStatus]) -> Table:
    table = Table("role", "address", "how it is")
    for each in answers:
        table.add_row(each.role, each.address, styled("no answer", "red") if each.error else _facts(each))
    return table


def _facts(answer: RoleStatus) -> str:
    """In one cell, whose words find room in any terminal."""
    facts = [
        f"version {answer.version}",
        f"pid {answer.pid}",
        f"up {answer.uptime_seconds:.0f} s",
        f"{answer.memory_bytes / (1 << 20):.0f} MiB",
        f"key {answer.key_fingerprint[:8] or '-'}",
        f"queries {answer.running_queries}",
        f"models {', '.join(answer.models) or '-'}",
    ]
    if answer.role in CLOUDS:
        facts.append(f"items ready {answer.ready_items}")
    if answer.arithmetic:
        facts.append(f"arithmetic {answer.arithmetic}")
    return ", ".join(facts)
