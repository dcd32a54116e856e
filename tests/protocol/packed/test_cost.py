"""Formulas of bytes and operations are what is sent and done."""

from __future__ import annotations

import numpy as np
import pytest

from tests.networks import random_image, random_model, small_icnn_model
from tests.protocol.packed.clouds import Opened
from tests.protocol.packed.default import default_plan
from twinveil.crypto.tally import Tally
from twinveil.network.plan import QuantisedModel
from twinveil.protocol.packed.cost import operations_s1, operations_s2
from twinveil.protocol.packed.layout import ItemLayout
from twinveil.protocol.packed.plan import ItemPlan
from twinveil.protocol.packed.powers import TABLE_BUDGET, table_group
from twinveil.protocol.packed.turns import import_turns, item_turns, opening_turn, query_turns
from twinveil.protocol.turns import COMMIT, Turn, messages, received, sent

pytestmark = pytest.mark.slow


def difference(after: Tally, before: dict[str, int]) -> Tally:
    return Tally({kind: count - before.get(kind, 0) for kind, count in after.as_dict().items()})


@pytest.mark.parametrize("model", [random_model(3), small_icnn_model(4)])
def test_an_item_and_a_picture(model: QuantisedModel) -> None:
    clouds = Opened(model)

    def said(turns: list[Turn]) -> None:
        sizes = [size for turn in turns for size in (turn.sent, turn.received)]
        assert [message.ByteSize() for message in clouds.messages] == sizes
        clouds.messages.clear()

    plan = clouds.plan
    said([*import_turns(clouds.layouts.packed), COMMIT])
    clouds.make_items(1)
    said([opening_turn(), *item_turns(plan, 0)])
    before = clouds.machine.tally.as_dict(), clouds.secret.tally.as_dict()
    clouds.make_items(1)
    said(item_turns(plan, 1))
    group = table_group(plan.layout, TABLE_BUDGET)
    assert difference(clouds.machine.tally, before[0]) == operations_s1(plan, group)
    assert difference(clouds.secret.tally, before[1]) == operations_s2(plan)
    clouds.make_items(1)
    images = np.stack([random_image(model.plan, each) for each in range(2)])
    clouds.messages.clear()
    clouds.classify(images)
    said(query_turns(plan, [0, 1], False))
    clouds.classify(images[:1], label_only=True)
    said(query_turns(plan, [2], True))


def test_the_default_network() -> None:
    for key_bits in (2048, 3072):
        plan = ItemPlan(ItemLayout(default_plan(), key_bits))
        ahead, online = item_turns(plan), query_turns(plan, [0], False)
        assert sent(ahead) + received(ahead) <= 22e6
        assert sent(online) + received(online) <= 4e6
        assert messages(online) <= 22
        halves = operations_s1(plan, 8)["modmul_n2_half"]
        assert halves <= 410_000
