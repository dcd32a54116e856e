"""The packed layout, without cryptography: both kinds of sums over slots give the layer exactly."""

from __future__ import annotations

import numpy as np
import pytest

from tests.networks import random_model, small_icnn_model
from tests.security.settle import products, textbook_values
from twinveil.network.plan import Conv, Dense, MaxPool, Plan, Relu
from twinveil.params import MAX_PICTURES, Params
from twinveil.protocol.packed.layout import PackedLayout
from twinveil.protocol.textbook.steps import TextbookLayout
from twinveil.protocol.windows import bilinear, windows
from twinveil.ring import modulo, uniform


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("pictures", [1, 3])
@pytest.mark.parametrize("key_bits", [512, 2048])
def test_sums_in_slots_are_the_layer(seed: int, pictures: int, key_bits: int) -> None:
    plan = random_model(seed).plan
    layout = PackedLayout(plan, key_bits, 40, pictures)
    for name, layer in layout.layers.items():
        node, bits = layer.node, layer.bits
        shape = plan.shapes[node.source]
        x = uniform((shape[0], pictures, *shape[1:]), bits)
        weights = uniform(plan.weight_shape(node), bits)
        want = bilinear(x, weights, node, bits)
        flat = weights.reshape(layer.out, -1)

        taps = layer.in_blocks(windows(x, node))
        assert not taps[~layer.tap_blocks].any()
        slots = np.einsum("ot,tbs->obs", flat, taps)
        if layer.folded > 1:
            folded = np.zeros((layer.online_sums, layer.online.count), np.uint64)
            for channel in range(layer.out):
                start = channel % layer.folded * layer.positions
                folded[channel // layer.folded, start : start + layer.positions] = slots[
                    channel, 0, : layer.positions
                ]
            slots = folded
        assert (modulo(layer.from_online(slots.reshape(-1, layer.online.count)), bits) == want).all(), name

        table = np.concatenate([weights.reshape(-1), [np.uint64(0)]])
        kernel = table[layer.kernel_slots]  # (chunks, bases, slots)
        columns = layer.ahead_columns(x)
        sums = np.einsum("kbs,bg->gks", kernel, columns)
        assert (modulo(layer.from_ahead(sums.reshape(-1, layer.ahead.count)), bits) == want).all(), name


@pytest.mark.parametrize("seed", range(6))
def test_widths_cover_the_extremes(seed: int) -> None:
    plan = random_model(seed).plan
    layout = PackedLayout(plan, 2048, 40)
    masked = 0
    for layer in layout.layers.values():
        taps, weights = plan.taps(layer.node), layer.node.weight_bits
        top = (1 << layer.bits) - 1
        masked += layer.online_sums * layer.online.count + layer.ahead_sums * layer.ahead.count
        online = taps * top * top
        ahead = taps * top * (1 << (weights - 1)) + (1 << (layer.bits - 1))
        for slots, low, high in ((layer.online, 0, online), (layer.ahead, -ahead, ahead)):
            assert slots.offset + low >= 0
            assert high + slots.offset + (1 << slots.mask_bits) <= 1 << (8 * slots.bytes)
            assert slots.count * slots.bytes * 8 < 2048
            assert (high - low + 1) << (40 + layout.count_bits) <= 1 << slots.mask_bits
    assert masked <= 1 << layout.count_bits


def test_a_large_query_needs_wider_masks() -> None:
    """Worked out by hand, of 16 pictures: sums made ahead are counted, too, or 13 bits would do."""
    layout = PackedLayout(Plan((1, 1, 1), 8, (Dense("dense", "image", 230, 8, 20),), 0), 2048, 40)
    # Online 20 + 20 + 40 + 14 bits and a carry in 12 bytes, 21 slots a plaintext: one plaintext a class.
    online = 230 * 21
    # Ahead 20 + 8 bits, a sign, 40 + 14 and a carry in 11 bytes, 23 slots: 10 plaintexts a picture.
    ahead = 16 * 10 * 23
    assert 1 << 12 < online < 1 << 13 < online + ahead < 1 << 14
    assert layout.count_bits == 14


def test_a_model_packed_once_serves_queries_of_any_size() -> None:
    plan = small_icnn_model(0, side=28).plan
    one, most = (PackedLayout(plan, 2048, 40, pictures) for pictures in (1, MAX_PICTURES))
    for name, layer in one.layers.items():
        assert layer.ahead == most.layers[name].ahead
        assert (layer.kernel_slots == most.layers[name].kernel_slots).all()


POOLS = (MaxPool("pool", "image", 3, 1, 1), MaxPool("last", "pool", 15, 15, 0))
NODES = (
    Conv("conv", "last", 1, (1, 1), 1, 0, 8, 20),
    Relu("relu", "conv", 4, 8),
    Dense("d", "relu", 2, 8, 20),
)
WIDE = Plan((1, 120, 120), 8, (*POOLS, *NODES), 0)
"""Few products of layers, and more values under masks than 2^16."""


@pytest.mark.parametrize("plan", [WIDE, *(random_model(seed).plan for seed in range(10))])
def test_textbook_masks_hide_all_values_of_a_query(plan: Plan) -> None:
    layout = TextbookLayout(plan, Params(), limit=None)
    outputs = sum(int(np.prod(plan.shapes[node.name])) for node in plan.nodes if isinstance(node, Relu))
    masked = int(np.prod(plan.image_shape)) + outputs + len(list(textbook_values(plan)))
    assert layout.mask_bits(8) == 8 + 40 + layout.count_bits
    assert masked <= 1 << layout.count_bits
    assert layout.products >= products(plan) >= sum(layout.smps.values())


def test_that_network_needs_wider_masks_than_others() -> None:
    assert TextbookLayout(WIDE, Params(), limit=None).count_bits == 18
