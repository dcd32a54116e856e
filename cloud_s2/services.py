"""What cloud S2 offers: its public key, blindings from owners and users, conversations with S1."""

from __future__ import annotations

import json
from collections.abc import Sequence

from cloud_s2.conversations import Conversations
from cloud_s2.keys import own_key
from cloud_s2.models import ModelsS2
from cloud_s2.provision import ProvisionS2
from cloud_s2.queries import QueriesS2
from twinveil.cloud.budget import Budget, half_of_memory
from twinveil.crypto.native.level import describe
from twinveil.crypto.shared import own_workers
from twinveil.params import Params
from twinveil.protocol.packed.item.shelves import Shelves
from twinveil.services.inference import InferenceServicer
from twinveil.services.keys import KeysServicer
from twinveil.services.provision import ProvisionServicer
from twinveil.services.rounds import RoundsServicer
from twinveil.services.status import Facts, StatusServicer
from twinveil.start.settings import CloudS2Settings
from twinveil.transport.server import Service
from twinveil.views.recorder import recorder


def build(settings: CloudS2Settings) -> Sequence[Service]:
    """The services of this role, from its settings."""
    small = settings.insecure_small_key
    key = own_key(settings.state / "secret_key.json", settings.key_bits, insecure_small_key=small)
    public = key.public_key
    params = Params(public.bits, insecure_small_key=small)
    fingerprint = bytes.fromhex(public.fingerprint)
    workers = own_workers(settings.workers or None)
    models = ModelsS2(settings.state / "models")
    shelves = Shelves()
    provision = ProvisionS2(models, params, public, settings.unclaimed_half, shelves.forget)
    queries = QueriesS2(models, params, public.n, settings.unclaimed_half)
    memory = half_of_memory() if settings.max_query_memory is None else settings.max_query_memory
    conversations = Conversations(
        key,
        params,
        workers,
        models,
        provision,
        queries,
        shelves,
        Budget("cloud_s2", memory),
        recorder(settings),
    )

    def facts() -> Facts:
        return Facts(fingerprint, models.store.entries(), queries.running, shelves.count, describe())

    return [
        StatusServicer(settings.role, facts),
        KeysServicer(json.dumps(public.to_jwk()), fingerprint),
        ProvisionServicer(provision),
        InferenceServicer(queries),
        RoundsServicer(conversations.open),
    ]
