"""Widths of the textbook engine's masks: they hide all values of a query."""

from __future__ import annotations

import numpy as np
import pytest

from tests.networks import random_model
from tests.protocol.textbook.values import products, textbook_values
from twinveil.network.plan import Conv, Dense, MaxPool, Plan, Relu
from twinveil.params import Params
from twinveil.protocol.textbook.steps import TextbookLayout

POOLS = (MaxPool("pool", "image", 3, 1, 1), MaxPool("last", "pool", 15, 15, 0))
NODES = (
    Conv("conv", "last", 1, (1, 1), 1, 0, 8, 20),
    Relu("relu", "conv", 4, 8),
    Dense("d", "relu", 2, 8, 20),
)
WIDE = Plan((1, 120, 120), 8, (*POOLS, *NODES), 0)
"""Few products of layers, and more values under masks than 2^16."""


@pytest.mark.parametrize("plan", [WIDE, *(random_model(seed).plan for seed in range(10))])
def test_masks_hide_all_values_of_a_query(plan: Plan) -> None:
    layout = TextbookLayout(plan, Params(), limit=None)
    outputs = sum(int(np.prod(plan.shapes[node.name])) for node in plan.nodes if isinstance(node, Relu))
    masked = int(np.prod(plan.image_shape)) + outputs + len(list(textbook_values(plan)))
    assert layout.mask_bits(8) == 8 + 40 + layout.count_bits
    assert masked <= 1 << layout.count_bits
    assert layout.products >= products(plan) >= sum(layout.smps.values())


def test_that_network_needs_wider_masks_than_others() -> None:
    assert TextbookLayout(WIDE, Params(), limit=None).count_bits == 18
