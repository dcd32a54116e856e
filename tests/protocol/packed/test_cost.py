"""Formulas of bytes and operations are what is sent and done."""

from __future__ import annotations

import numpy as np
import pytest

from tests.networks import random_image, random_model, small_icnn_model
from tests.protocol.packed.clouds import Opened
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

pytestmark = pytest.mark.slow

FRAME = 160
"""Tags, lengths and small fields of a message."""


def difference(after: Tally, before: dict[str, int]) -> Tally:
    return Tally({kind: count - before.get(kind, 0) for kind, count in after.as_dict().items()})


@pytest.mark.parametrize("model", [random_model(3), small_icnn_model(4)])
def test_an_item_and_a_picture(model: QuantisedModel) -> None:
    clouds = Opened(model)

    def close(traffic: Traffic) -> None:
        said = [each for pair in zip(traffic.sent, traffic.received, strict=True) for each in pair]
        for message, size in zip(clouds.messages, said, strict=True):
            assert 0 <= message.ByteSize() - size < FRAME
        clouds.messages.clear()

    clouds.make_items(0)
    clouds.messages.clear()
    clouds.make_items(1)
    plan, first = clouds.plan, item_traffic(clouds.plan)
    close(Traffic((first.sent[0] + FIRST_ITEM_BYTES, *first.sent[1:]), first.received))
    before = clouds.machine.tally.as_dict(), clouds.secret.tally.as_dict()
    clouds.make_items(1)
    close(first)
    group = table_group(plan.layout, TABLE_BUDGET)
    assert difference(clouds.machine.tally, before[0]) == operations_s1(plan.layout, group)
    assert difference(clouds.secret.tally, before[1]) == operations_s2(plan.layout)
    clouds.make_items(1)
    images = np.stack([random_image(model.plan, each) for each in range(2)])
    clouds.messages.clear()
    clouds.classify(images)
    close(online_traffic(plan, 2, False))
    clouds.classify(images[:1], label_only=True)
    close(online_traffic(plan, 1, True))


def test_the_default_network() -> None:
    for key_bits in (2048, 3072):
        plan = ItemPlan(ItemLayout(default_plan(), key_bits))
        ahead, online = item_traffic(plan), online_traffic(plan, 1, False)
        assert sum(ahead.sent) + sum(ahead.received) <= 22e6
        assert sum(online.sent) + sum(online.received) <= 4e6
        assert len(online.sent) + len(online.received) <= 22
        halves = operations_s1(plan.layout, 8)["modmul_n2_half"]
        assert halves <= 410_000
