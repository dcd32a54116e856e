"""What this role offers to the others: users ask it for plan, model card and key fingerprint."""

from __future__ import annotations

from collections.abc import Sequence

from owner.catalogue import Catalogue, CatalogueFile
from twinveil.services.catalogue import CatalogueServicer
from twinveil.services.status import Facts, StatusServicer
from twinveil.start.settings import OwnerSettings
from twinveil.transport.server import Service


def build(settings: OwnerSettings) -> Sequence[Service]:
    """The services of this role, from its settings."""
    s2_key = settings.s2_key()
    catalogue = Catalogue(CatalogueFile(settings.state))

    def facts() -> Facts:
        return Facts(bytes.fromhex(s2_key.known()), catalogue.list_models())

    return [StatusServicer(settings.role, facts), CatalogueServicer(catalogue)]
