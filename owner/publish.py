"""A trained model is published: to both clouds first, then into the catalogue that users read."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from owner.catalogue import CatalogueEntry, CatalogueFile
from owner.clouds import Clouds
from owner.outsource import Offer, outsource
from twinveil.errors import UnknownModel
from twinveil.network.card import check_name
from twinveil.network.folder import StoredModel
from twinveil.protocol.size import refuse_unrunnable
from twinveil.wording import Telling


def publish(
    stored: StoredModel,
    offer: Offer,
    clouds: Clouds,
    state: Path,
    report: Telling = lambda done, layers, layer: None,
    *,
    again: bool = False,
) -> CatalogueEntry:
    """Users are told of this import once this returns, and not at all when it raises.

    again: in the place of what the clouds hold under this name and version, in whatever state that is.
    """
    check_name(offer.name, offer.version)
    entry = CatalogueEntry(
        offer.name,
        offer.version,
        stored.model.plan,
        stored.card,
        tuple(offer.engines),
        offer.label_only,
        clouds.key.fingerprint,
        offer.import_id,
    )
    with CatalogueFile(state).adding(entry):
        if again:
            refuse_unrunnable(stored.model.plan, clouds.params, offer.engines)  # while the old one is there
            with suppress(UnknownModel):
                clouds.remove(offer.name, offer.version)
        outsource(stored.model, offer, clouds, report)
    return entry
