"""How a command finds a cluster on this machine (twinveil.net.cluster): by its folder alone."""

from __future__ import annotations

from pathlib import Path

from twinveil.commands import command
from twinveil.errors import BadConfiguration
from twinveil.net.identity import ROLES


def cluster_flags(folder: Path, role: str) -> dict[str, str]:
    """Settings by which `role` takes part in the cluster of a folder: addresses, certificate, state.

    Raises BadConfiguration if no cluster ever ran there.
    """
    tls = folder / "tls" / role
    if not tls.is_dir():
        raise BadConfiguration(
            f"{folder} is no local cluster's folder: start one with "
            f"{command('twinveil', 'serve', 'all', '--folder', folder)}"
        )
    flags = {name: f"file:{folder / 'run' / name}.json" for name in (*ROLES, "sealing") if name != role}
    return flags | {"tls": str(tls), "state": str(folder / role), "name": "local"}
