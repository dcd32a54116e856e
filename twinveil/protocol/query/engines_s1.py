"""The engines by name, S1's side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from twinveil.crypto.nonces import Rerandomiser
from twinveil.errors import BadInput
from twinveil.net.counted import CountedPeer
from twinveil.net.peer import Peer
from twinveil.protocol.engine import EngineS1
from twinveil.protocol.garbled import Step
from twinveil.protocol.meter import Meter
from twinveil.protocol.model.layout import ENGINES
from twinveil.protocol.model.s1 import ModelS1
from twinveil.protocol.observer import NOBODY, Observer, Topic
from twinveil.protocol.packed.layout import PackedLayout
from twinveil.protocol.packed.s1 import PackedS1
from twinveil.protocol.packed.steps import steps as packed_steps
from twinveil.protocol.query.s1 import QueryS1, Tools
from twinveil.protocol.textbook.s1 import TextbookS1
from twinveil.protocol.textbook.steps import TextbookLayout


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
    plan, params = model.plan, tools.params
    counted = CountedPeer(peer)
    meter = Meter(counted)
    tools = replace(tools, rerandomiser=Rerandomiser(tools.key, meter.tally))
    engine: EngineS1
    steps: Sequence[Step]
    if engine_name == "packed":
        layout = PackedLayout(plan, params.key_bits, params.sigma, pictures)
        engine = PackedS1(model, layout, tools.key, tools.rerandomiser, tools.workers, meter)
        steps = packed_steps(layout)
    elif engine_name == "textbook":
        if pictures != 1:
            raise BadInput("the textbook engine classifies one picture at a time")
        textbook = TextbookLayout(plan, params)
        engine = TextbookS1(model, textbook, tools.key, tools.rerandomiser, meter.tally)
        steps = textbook.steps()
    else:
        raise BadInput(f"there is no engine {engine_name!r}: use {' or '.join(ENGINES)}")
    watch(engine)
    observer.about(Topic("query", plan, engine_name, pictures, tools.key.n, params.sigma))
    digest = model.layout.digest
    return QueryS1(
        counted, plan, digest, import_id, engine_name, engine, steps, tools, meter, pictures, observer
    )
