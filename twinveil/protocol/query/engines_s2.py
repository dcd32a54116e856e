"""A query with the engine of its name, S2's side."""

from __future__ import annotations

from collections.abc import Callable

from twinveil.crypto.secret_key import SecretKey
from twinveil.errors import PeerMismatch
from twinveil.parallel import Workers
from twinveil.params import Params
from twinveil.protocol.engine import EngineS2
from twinveil.protocol.meter import Meter
from twinveil.protocol.model.s2 import ModelS2
from twinveil.protocol.packed.layout import PackedLayout
from twinveil.protocol.packed.s2 import PackedS2
from twinveil.protocol.query.engines import query_plan
from twinveil.protocol.query.s2 import Claiming, query
from twinveil.protocol.textbook.s2 import TextbookS2
from twinveil.rounds.observer import NOBODY, Observer, Topic
from twinveil.rounds.scripted import Script
from twinveil.rpc import rounds_pb2 as pb


def query_s2(
    opening: pb.OpenQuery,
    model: ModelS2,
    key: SecretKey,
    workers: Workers,
    params: Params,
    claim: Claiming,
    label_only: bool,
    meter: Meter,
    watch: Callable[[EngineS2], None] = lambda engine: None,
    observer: Observer = NOBODY,
) -> Script:
    """S2's conversation for one query of `model`. label_only is the owner's policy."""
    if opening.layout != model.layout.digest:
        raise PeerMismatch(
            "cloud_s1 lays this model out in another way: install the same version of Twinveil on both clouds"
        )
    planned = query_plan(model.plan, params, opening.engine, opening.pictures)
    layout = planned.layout
    engine: EngineS2
    if isinstance(layout, PackedLayout):
        engine = PackedS2(model, layout, key, workers, meter, observer)
    else:
        engine = TextbookS2(layout, key, workers, meter, observer)
    watch(engine)
    observer.about(
        Topic("query", planned.plan, planned.engine, planned.pictures, key.public_key.n, params.sigma)
    )
    return query(opening, planned, engine, key, workers, claim, label_only, meter, observer)
