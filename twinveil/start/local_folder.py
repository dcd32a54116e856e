"""How a command finds a cluster on this machine (twinveil.start.local_cluster): by its folder alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from twinveil.errors import BadConfiguration, TwinveilError
from twinveil.start.config import CLUSTER, path, settle, variable
from twinveil.start.settings import EVERY_SETTING, CallerSettings, RoleSettings
from twinveil.transport.identity import ROLES
from twinveil.wording import typed

ELSEWHERE = ("config", "tls", "insecure_plaintext")
"""Flags that say already how to reach the others."""

Settings = TypeVar("Settings", bound=RoleSettings | CallerSettings)


def settle_near(
    kind: type[Settings], flags: Mapping[str, Any], cluster: Path | None, environment: Mapping[str, str]
) -> Settings:
    """The settings of a role that may take part in a local cluster.

    cluster: of a flag, gives way to other flags. That of TWINVEIL_CLUSTER gives way to other variables, and
    counts unless a flag says already how to reach the others. Raises BadConfiguration.
    """
    if cluster is not None:
        given = {name: value for name, value in flags.items() if value is not None}
        flags = cluster_flags(cluster, kind.role) | given
    elif (folder := environment.get(CLUSTER)) and all(flags.get(name) is None for name in ELSEWHERE):
        try:
            found = cluster_flags(path(folder), kind.role)
        except TwinveilError as error:
            raise BadConfiguration(f"{CLUSTER}: {error}") from None
        environment = {variable(name): value for name, value in found.items()} | dict(environment)
    return settle(kind, kind.section or kind.role, flags, environment, EVERY_SETTING)


def cluster_flags(folder: Path, role: str) -> dict[str, str]:
    """Settings by which `role` takes part in the cluster of a folder: addresses, certificate, state.

    Raises BadConfiguration if no cluster ever ran there.
    """
    tls = folder / "tls" / role
    if not tls.is_dir():
        raise BadConfiguration(
            f"{folder} is no local cluster's folder: start one with "
            f"{typed('twinveil', 'serve', 'all', '--folder', folder)}"
        )
    flags = {name: f"file:{folder / 'run' / name}.json" for name in (*ROLES, "sealing")}
    return flags | {"tls": str(tls), "state": str(folder / role), "name": "local"}
