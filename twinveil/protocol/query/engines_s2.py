"""The engines by name, S2's side."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twinveil.crypto.secret_key import SecretKey
from twinveil.errors import BadInput, PeerMismatch, TooMuch
from twinveil.parallel import Workers
from twinveil.params import MAX_PICTURES, Params
from twinveil.protocol.conversation import Script
from twinveil.protocol.engine import EngineS2
from twinveil.protocol.garbled import Step
from twinveil.protocol.meter import Meter
from twinveil.protocol.model.layout import ENGINES
from twinveil.protocol.model.s2 import ModelS2
from twinveil.protocol.observer import NOBODY, Observer, Topic
from twinveil.protocol.packed.layout import PackedLayout
from twinveil.protocol.packed.s2 import PackedS2
from twinveil.protocol.packed.steps import steps as packed_steps
from twinveil.protocol.query.s2 import Claiming, query
from twinveil.protocol.textbook.s2 import TextbookS2
from twinveil.protocol.textbook.steps import TextbookLayout
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
    plan = model.plan
    if opening.layout != model.layout.digest:
        raise PeerMismatch(
            "cloud_s1 lays this model out in another way: install the same version of Twinveil on both clouds"
        )
    if not 1 <= opening.pictures <= MAX_PICTURES:
        raise TooMuch(f"a query has 1 to {MAX_PICTURES} pictures, not {opening.pictures}")
    engine: EngineS2
    steps: Sequence[Step]
    if opening.engine == "packed":
        layout = PackedLayout(plan, params.key_bits, params.sigma, opening.pictures)
        engine, steps = PackedS2(model, layout, key, workers, meter, observer), packed_steps(layout)
    elif opening.engine == "textbook" and opening.pictures == 1:
        textbook = TextbookLayout(plan, params)
        engine, steps = TextbookS2(textbook, key, workers, meter, observer), textbook.steps()
    else:
        raise BadInput(f"there is no engine {opening.engine!r}: use {' or '.join(ENGINES)}")
    watch(engine)
    observer.about(Topic("query", plan, opening.engine, opening.pictures, key.public_key.n, params.sigma))
    return query(opening, plan, engine, steps, key, workers, params, claim, label_only, meter, observer)
