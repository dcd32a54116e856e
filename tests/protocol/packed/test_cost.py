"""Formulas of bytes and operations are what is sent and done."""

from __future__ import annotations

import numpy as np
import pytest

from tests.networks import random_image, random_model, small_icnn_model
from tests.protocol.packed.clouds import Engine, Imported
from tests.protocol.packed.default import default_plan
from twinveil.crypto.tally import Tally
from twinveil.network.plan import QuantisedModel
from twinveil.protocol.packed.cost import (
    FIRST_ITEM_BYTES,
    Traffic,
    item_traffic,
    online_traffic,
    operations_s1,
    operations_s2,
)
from twinveil.protocol.packed.layout import ItemLayout
from twinveil.protocol.packed.plan import ItemPlan
from twinveil.protocol.packed.powers import TABLE_BUDGET, table_group
from twinveil.rpc import rounds_pb2 as pb

pytestmark = pytest.mark.slow

FRAME = 160
"""Tags, lengths and small fields of a message."""


def difference(after: Tally, before: dict[str, int]) -> Tally:
    return Tally({kind: count - before.get(kind, 0) for kind, count in after.as_dict().items()})


@pytest.mark.parametrize("model", [random_model(3), small_icnn_model(4)])
def test_an_item_and_a_picture(model: QuantisedModel) -> None:
    engine = Engine(Imported(model))
    sizes: list[tuple[int, int]] = []
    ask = engine.peer.ask

    def watched(message: pb.Round) -> pb.Round:
        reply = ask(message)
        sizes.append((message.ByteSize(), reply.ByteSize()))
        return reply

    def close(traffic: Traffic) -> None:
        for (sent, received), said, answered in zip(sizes, traffic.sent, traffic.received, strict=True):
            assert 0 <= sent - said < FRAME
            assert 0 <= received - answered < FRAME
        sizes.clear()

    engine.peer.ask = engine.maker._ask = watched  # type: ignore[method-assign]
    engine.make()
    first = item_traffic(engine.plan)
    close(Traffic((first.sent[0] + FIRST_ITEM_BYTES, *first.sent[1:]), first.received))
    clouds = engine.clouds
    before = clouds.machine.tally.as_dict(), clouds.secret.tally.as_dict()
    engine.make()
    close(first)
    group = table_group(engine.plan.layout, TABLE_BUDGET)
    assert difference(clouds.machine.tally, before[0]) == operations_s1(engine.plan.layout, group)
    assert difference(clouds.secret.tally, before[1]) == operations_s2(engine.plan.layout)
    engine.make()
    images = np.stack([random_image(model.plan, each) for each in range(2)])
    sizes.clear()
    engine.classify(images)
    close(online_traffic(engine.plan, 2, False))
    engine.classify(images[:1], label_only=True)
    close(online_traffic(engine.plan, 1, True))


def test_the_default_network() -> None:
    for key_bits in (2048, 3072):
        plan = ItemPlan(ItemLayout(default_plan(), key_bits))
        ahead, online = item_traffic(plan), online_traffic(plan, 1, False)
        assert sum(ahead.sent) + sum(ahead.received) <= 22e6
        assert sum(online.sent) + sum(online.received) <= 4e6
        assert len(online.sent) + len(online.received) <= 22
        halves = operations_s1(plan.layout, 8)["modmul_n2_half"]
        assert halves <= 410_000
