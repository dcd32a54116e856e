"""What cloud S1 offers: models from owners, queries from users."""

from __future__ import annotations

from collections.abc import Sequence

from cloud_s1.models import ModelsS1
from cloud_s1.provision import ProvisionS1
from cloud_s1.queries import QueriesS1
from cloud_s1.tokens import Tokens
from cloud_s1.way_to_s2 import CloudS2, S2Address
from twinveil.cloud.dask_workers import dask_workers
from twinveil.crypto.native.level import describe
from twinveil.crypto.shared import own_workers
from twinveil.errors import BadConfiguration
from twinveil.parallel import Workers
from twinveil.services.inference import InferenceServicer
from twinveil.services.provision import ProvisionServicer
from twinveil.services.status import Facts, StatusServicer
from twinveil.start.settings import CloudS1Settings
from twinveil.transport.server import Service
from twinveil.views.recorder import recorder


def _workers(settings: CloudS1Settings) -> Workers:
    if settings.dask is None:
        return own_workers(settings.workers or None)
    if settings.dask_tls is None:
        raise BadConfiguration("--dask wants --dask-tls, certificates of this cloud's own authority")
    return dask_workers(settings.dask, settings.dask_tls)


def build(settings: CloudS1Settings) -> Sequence[Service]:
    """The services of this role, from its settings."""
    workers = _workers(settings)
    cloud_s2 = CloudS2(
        S2Address(
            settings.me(),
            settings.cloud_s2,
            settings.connect_wait,
            settings.round_deadline,
            settings.s2_key(),
        ),
        give_way=lambda: queries.stock.give_way(),
    )
    models = ModelsS1(settings.state / "models")
    observers = recorder(settings)
    queries = QueriesS1(
        models,
        cloud_s2,
        workers,
        settings.prepare,
        observers,
        settings.max_query_memory,
        Tokens(settings.failed_items, settings.failed_item_every),
        settings.user_share,
    )
    stock = queries.stock
    provision = ProvisionS1(models, cloud_s2, workers, observers, stock.forget, stock.ready)

    def facts() -> Facts:
        return Facts(cloud_s2.fingerprint, models.store.entries(), queries.running, stock.count, describe())

    return [
        StatusServicer(settings.role, facts),
        ProvisionServicer(provision),
        InferenceServicer(queries),
    ]
