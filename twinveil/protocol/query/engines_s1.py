"""A query with the engine of its name, S1's side."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from twinveil.protocol.engine import EngineS1
from twinveil.protocol.meter import Meter
from twinveil.protocol.model.s1 import ModelS1
from twinveil.protocol.packed.layout import PackedLayout
from twinveil.protocol.packed.s1 import PackedS1
from twinveil.protocol.query.engines import query_plan
from twinveil.protocol.query.s1 import QueryS1, Tools
from twinveil.protocol.textbook.s1 import TextbookS1
from twinveil.rounds.counted import CountedPeer
from twinveil.rounds.observer import NOBODY, Observer, Topic
from twinveil.rounds.peer import Peer
from twinveil.rounds.scripted import ROUNDS_VERSION, SESSION_BYTES
from twinveil.rpc import rounds_pb2 as pb


def query_s1(
    model: ModelS1,
    import_id: bytes,
    engine_name: str,
    tools: Tools,
    peer: Peer,
    pictures: int = 1,
    watch: Callable[[EngineS1], None] = lambda engine: None,
    observer: Observer = NOBODY,
) -> QueryS1:
    """A query of `model`, not yet prepared. watch sees the engine (tests look at its layers)."""
    planned = query_plan(model.plan, tools.params, engine_name, pictures)
    counted = CountedPeer(peer)
    meter = Meter(counted)
    layout, key = planned.layout, tools.key
    engine: EngineS1
    if isinstance(layout, PackedLayout):
        engine = PackedS1(model, layout, key, tools.workers, meter)
    else:
        engine = TextbookS1(model, layout, key, meter)
    watch(engine)
    observer.about(Topic("query", planned.plan, engine_name, pictures, key.n, tools.params.sigma))
    opening = pb.OpenQuery(
        protocol_version=ROUNDS_VERSION,
        session_id=secrets.token_bytes(SESSION_BYTES),
        import_id=import_id,
        layout=model.layout.digest,
        engine=engine_name,
        pictures=pictures,
    )
    return QueryS1(counted, opening, planned, engine, tools, meter, observer)
