"""What this role offers to the others."""

from __future__ import annotations

from collections.abc import Sequence

from twinveil.net.server import Service
from twinveil.net.servicers import StatusServicer
from twinveil.settings import CloudS2Settings


def build(settings: CloudS2Settings) -> Sequence[Service]:
    """The services of this role, from its settings."""
    return [StatusServicer(settings.role)]
