"""What this role offers: classification for programs on the same machine, and only there."""

from __future__ import annotations

from collections.abc import Sequence

from twinveil.errors import BadConfiguration
from twinveil.services.gateway import GatewayServicer
from twinveil.services.status import Facts, StatusServicer
from twinveil.start.settings import UserSettings
from twinveil.transport.address import is_loopback, split
from twinveil.transport.server import Service
from user.contact import Contact
from user.gateway import Gateway


def build(settings: UserSettings) -> Sequence[Service]:
    """The services of this role, from its settings."""
    if not is_loopback(split(settings.listen)[0]):
        raise BadConfiguration(
            "--listen: the user's service sees pictures in the clear, so it listens on loopback only"
        )
    s2_key = settings.s2_key()
    gateway = Gateway(Contact.of(settings))

    def facts() -> Facts:
        return Facts(bytes.fromhex(s2_key.known()), running_queries=gateway.running)

    return [StatusServicer(settings.role, facts), GatewayServicer(gateway)]
