"""A trained model is published: to both clouds first, then into the catalogue that users read."""

from __future__ import annotations

from pathlib import Path

from owner.catalogue import CatalogueEntry, CatalogueFile
from owner.clouds import Clouds
from owner.outsource import Offer, outsource
from twinveil.network.card import check_name
from twinveil.network.folder import StoredModel
from twinveil.wording import Telling


def publish(
    stored: StoredModel,
    offer: Offer,
    clouds: Clouds,
    state: Path,
    report: Telling = lambda done, layers, layer: None,
) -> CatalogueEntry:
    """Users are told of the model once this returns, and not at all when it raises."""
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
        outsource(stored.model, offer, clouds, report)
    return entry
