"""Where the other roles are for a user, from its settings."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from twinveil.errors import BadConfiguration
from twinveil.services.keys import KnownKey
from twinveil.start.local_folder import settle_near
from twinveil.start.settings import UserSettings
from twinveil.transport.channel import Me


@dataclass(frozen=True)
class Contact:
    """Where the other roles are, and how far S2's key is known."""

    me: Me
    owner: str
    cloud_s1: str
    cloud_s2: str
    s2_key: KnownKey
    wait: float = 10.0

    @classmethod
    def of(cls, settings: UserSettings) -> Contact:
        """As the user's settings say."""
        return cls(
            settings.me(),
            settings.owner,
            settings.cloud_s1,
            settings.cloud_s2,
            settings.s2_key(),
            settings.connect_wait,
        )

    @classmethod
    def configured(cls, cluster: str | Path | None = None, **settings: object) -> Contact:
        """From the environment and the TOML file that it names, as on the command line.

        cluster: folder of a local cluster. settings: fields of UserSettings, over everything else.
        Raises BadConfiguration.
        """
        unknown = settings.keys() - UserSettings.__dataclass_fields__.keys()
        if unknown:
            raise BadConfiguration(f"{', '.join(sorted(unknown))}: no such setting of a user")
        near = None if cluster is None else Path(cluster)
        return cls.of(settle_near(UserSettings, settings, near, os.environ))
