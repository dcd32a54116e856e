"""twinveil serve all: the four roles on this machine, in the foreground, until Ctrl-C."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.table import Table

from twinveil.cli.progress import steps
from twinveil.cli.terminal import Terminal
from twinveil.params import KEY_BITS, MIN_KEY_BITS
from twinveil.start.config import variable
from twinveil.start.local_cluster import LocalCluster, Options
from twinveil.transport.identity import ROLES
from twinveil.wording import typed

CHECK_SECONDS = 0.5


SmallKey = Annotated[
    bool,
    typer.Option(
        "--insecure-small-key",
        envvar=variable("insecure_small_key"),
        help=f"Allow a key below {MIN_KEY_BITS} bits, for tests only.",
    ),
]
"""An option of every command that starts a local cluster."""


def serve_all(
    folder: Annotated[
        Path, typer.Option(help="For keys, models, certificates and logs; found again the next time.")
    ] = Path(".twinveil/local"),
    key_bits: Annotated[
        int | None,
        typer.Option(
            envvar=variable("key_bits"),
            help=f"Length of the Paillier modulus of a new key, {KEY_BITS} by default. A key that is there "
            "is kept.",
        ),
    ] = None,
    insecure_small_key: SmallKey = False,
) -> None:
    """All four roles as processes of this machine, over mutual TLS, until Ctrl-C."""
    cluster = LocalCluster(folder, cluster_options(key_bits, insecure_small_key))
    terminal = Terminal()
    try:
        with steps("starting four processes"):
            cluster.start()
        terminal.show(_table(cluster))
        for line in _next(folder, insecure_small_key):
            terminal.say(line)
        watch(cluster)
    except KeyboardInterrupt:
        cluster.stop()
        terminal.say("all four roles have ended")
    finally:
        cluster.stop()


def watch(cluster: LocalCluster) -> NoReturn:
    """Until Ctrl-C, or until a role ends by itself, which raises PeerUnavailable."""
    while True:
        cluster.check()
        time.sleep(CHECK_SECONDS)


def cluster_options(key_bits: int | None, insecure_small_key: bool, record: Path | None = None) -> Options:
    """What the roles of a local cluster are told beside their addresses."""
    common = ["--insecure-small-key"] if insecure_small_key else []
    clouds = [*common, f"--record={record.absolute()}"] if record else common
    key = [] if key_bits is None else [f"--key-bits={key_bits}"]
    special = {"cloud_s1": clouds, "cloud_s2": [*clouds, *key]}
    return {role: special.get(role, common) for role in ROLES}


def _table(cluster: LocalCluster) -> Table:
    folder = str(cluster.folder)
    table = Table("role", "address", "process", "log", title=folder, title_justify="left")
    for role in ROLES:
        log = cluster.log(role).relative_to(cluster.folder)
        table.add_row(role, cluster.addresses[role], str(cluster.pids[role]), str(log))
    return table


def _next(folder: Path, insecure_small_key: bool) -> list[str]:
    near = ["--cluster", folder]
    where = [*near, *(["--insecure-small-key"] if insecure_small_key else [])]
    commands = (
        ["train", "mnist", *near],
        ["outsource", "mnist", *where],
        ["classify", "digit.png", "--model", "mnist", *where],
        ["status", *near],
    )
    lines = [f"  {typed('twinveil', *words)}" for words in commands]
    return ["In another terminal:", *lines, "Ctrl-C ends all four."]
