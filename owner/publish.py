"""A trained model goes out: to both clouds first, then into the catalogue that users read."""

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
    wanted: Offer,
    clouds: Clouds,
    state: Path,
    report: Telling = lambda done, layers, layer: None,
) -> CatalogueEntry:
    """Users are told of the model once this returns, and not at all when it raises."""
    check_name(wanted.name, wanted.version)
    made = CatalogueEntry(
        wanted.name,
        wanted.version,
        stored.model.plan,
        stored.card,
        tuple(wanted.engines),
        wanted.label_only,
        clouds.key.fingerprint,
    )
    with CatalogueFile(state).adding(made):
        outsource(stored.model, wanted, clouds, report)
    return made
