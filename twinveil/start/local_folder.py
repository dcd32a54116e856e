"""The folder of a cluster on this machine (twinveil.start.local_cluster), and how a command finds it by that.

FOLDER/ROLE            what a role keeps
FOLDER/tls/ROLE        its certificate, the key of it, and the authority's certificate
FOLDER/run/NAME.json   where a role listens; "sealing" beside them, if it runs
FOLDER/logs/ROLE.log   its log
FOLDER/lock            taken while the cluster runs
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from twinveil.errors import BadConfiguration, TwinveilError
from twinveil.start.config import CLUSTER, path, settle, variable
from twinveil.start.settings import EVERY_SETTING, CallerSettings, RoleSettings
from twinveil.transport.identity import ROLES
from twinveil.wording import typed

ELSEWHERE = ("config", "tls", "insecure_plaintext")
"""Flags that say already how to reach the others."""

NAME = "local"
"""What every role of such a cluster is called in its certificate."""

Settings = TypeVar("Settings", bound=RoleSettings | CallerSettings)


@dataclass(frozen=True, slots=True)
class LocalFolder:
    """Where what lies in a local cluster's folder."""

    folder: Path

    def state(self, role: str) -> Path:
        return self.folder / role

    def tls(self, role: str) -> Path:
        return self.folder / "tls" / role

    def ready_file(self, name: str) -> Path:
        return self.folder / "run" / f"{name}.json"

    def log(self, role: str) -> Path:
        return self.folder / "logs" / f"{role}.log"

    @property
    def lock(self) -> Path:
        return self.folder / "lock"

    def check(self, role: str) -> None:
        """Raises BadConfiguration if no cluster ever ran there."""
        if not self.tls(role).is_dir():
            raise BadConfiguration(
                f"{self.folder} is no local cluster's folder: start one with "
                f"{typed('twinveil', 'serve', 'all', '--folder', self.folder)}"
            )


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
    local = LocalFolder(folder)
    local.check(role)
    flags = {name: f"file:{local.ready_file(name)}" for name in (*ROLES, "sealing")}
    return flags | {"tls": str(local.tls(role)), "state": str(local.state(role)), "name": NAME}
