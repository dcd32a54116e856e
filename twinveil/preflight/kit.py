"""A kit as its role will read it: settings, and whose kit it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from twinveil.errors import BadConfiguration
from twinveil.kits.making import CONFIG
from twinveil.services.keys import KnownKey
from twinveil.start.config import read_toml, settle
from twinveil.start.local_cluster import PEERS
from twinveil.start.settings import (
    EVERY_SETTING,
    CloudS1Settings,
    CloudS2Settings,
    OwnerSettings,
    RoleSettings,
    UserSettings,
)
from twinveil.transport.identity import ROLES

KINDS: Mapping[str, type[RoleSettings]] = {
    kind.role: kind for kind in (OwnerSettings, CloudS1Settings, CloudS2Settings, UserSettings)
}


@dataclass(frozen=True, slots=True)
class Kit:
    """folder: where it lies. peers: role -> address of those that this role calls."""

    folder: Path
    role: str
    settings: RoleSettings

    @property
    def peers(self) -> dict[str, str]:
        return {role: getattr(self.settings, role) for role in PEERS[self.role]}

    @property
    def s2_key(self) -> KnownKey:
        """How far S2's key is known."""
        return self.settings.s2_key()


def open_kit(folder: Path) -> Kit:
    """Raises BadConfiguration if this is no kit's folder or its configuration is wrong."""
    path = folder / CONFIG
    if not path.is_file():
        raise BadConfiguration(f"{folder} is no kit: {CONFIG} is missing (twinveil kits makes one)")
    content = read_toml(path)
    named = [role for role in ROLES if isinstance(content.get(role), dict)]
    if len(named) != 1:
        raise BadConfiguration(f"{path}: one table must name the role, such as [cloud_s1], not {len(named)}")
    [role] = named
    settings = settle(KINDS[role], role, {"config": str(path)}, {}, EVERY_SETTING)
    return Kit(folder, role, settings)
