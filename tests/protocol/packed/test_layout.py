"""Where r, u, K1 and K2 sit: both sums come out in their slots, each once, and no slot uses its spare bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from tests.networks import random_model, small_icnn_model, tiny_plans
from tests.protocol.packed.layers import linear
from twinveil.crypto.slots import Slots
from twinveil.errors import BadPlan
from twinveil.network.plan import Conv, Dense, Plan, Relu
from twinveil.protocol.packed.geometry import Index
from twinveil.protocol.packed.layout import ItemLayout, LayerLayout
from twinveil.protocol.windows import windows
from twinveil.ring import Words

KEYS = (320, 512, 768)


def values(shape: tuple[int, ...], ring: int, source: np.random.Generator, largest: bool) -> Words:
    top = (1 << ring) - 1
    return np.full(shape, top, np.uint64) if largest else source.integers(0, top + 1, shape, np.uint64)


def placed(flat: Words, index: Index) -> list[list[int]]:
    zeroed: list[list[int]] = np.concatenate([[np.uint64(0)], flat.reshape(-1)])[index].tolist()
    return zeroed


def integers(rows: list[list[int]], slots: Slots) -> list[int]:
    return [sum(v << (slots.bits * j) for j, v in enumerate(row)) for row in rows]


def kernel_sums(layer: LayerLayout, kernel: Words, r: Words) -> list[int]:
    """conv(r, K2) as S1 would make it, on integers."""
    reads = np.array(placed(r, layer.kernel.reads), object)
    made = []
    for chunk in range(layer.kernel.chunks):
        bases = integers(placed(kernel, layer.kernel.weights(chunk)), layer.slots)
        made += [sum(b * int(e) for b, e in zip(bases, column, strict=True)) for column in reads.T]
    return made


def input_sums(layer: LayerLayout, kernel: Words, u: Words) -> list[int]:
    """conv(u, K1) likewise, shifts of channels included."""
    plaintexts = iter(integers(placed(u, layer.inputs.inputs), layer.slots))
    flat = kernel.reshape(len(kernel), -1)
    made = []
    for block in layer.inputs.blocks:
        bases = [next(plaintexts) for _ in block.taps]
        by_channel = [sum(b * int(k) for b, k in zip(bases, row[block.taps], strict=True)) for row in flat]
        width = layer.slots.bits * block.size
        for first in range(0, len(by_channel), block.folded):
            folded = by_channel[first : first + block.folded]
            made.append(sum(each << (width * place) for place, each in enumerate(folded)))
    return made


def check(layer: LayerLayout, made: list[int], outputs: Index, want: Words) -> None:
    slots, positions = layer.slots, layer.geometry.positions
    assert outputs.shape == (len(made), slots.count)
    assert sorted(outputs[outputs > 0]) == list(range(1, layer.geometry.channels * positions + 1))
    found = np.zeros(want.size + 1, object)
    for row, total in zip(outputs, made, strict=True):
        assert total.bit_length() <= slots.plaintext_bits
        for slot, output in enumerate(row):
            digit = (total >> (slots.bits * slot)) % (1 << slots.bits)
            assert digit < 1 << (slots.bits - 1), "the spare bit is used"
            found[output] = digit
    assert (found[1:] % (1 << layer.ring) == want.reshape(-1)).all()


def check_plan(plan: Plan, key_bits: int, seed: int, largest: bool) -> None:
    source = np.random.default_rng(seed)
    layout = ItemLayout(plan, key_bits, sigma=40)
    assert layout.sums <= 1 << (layout.margin - 40)
    for layer in layout.layers.values():
        assert layer.slots.mask_bits(layout.margin) <= key_bits - 2
        kernel = values(plan.weight_shape(layer.node), layer.ring, source, largest)
        x = values(plan.shapes[layer.node.source], layer.ring, source, largest)
        want = linear(x, kernel, layer.node)
        assert (layer.geometry.columns > 0).sum() == (windows(np.ones_like(x[:, None]), layer.node)).sum()
        check(layer, kernel_sums(layer, kernel, x), layer.kernel.outputs, want)
        check(layer, input_sums(layer, kernel, x), layer.inputs.outputs, want)
        assert len(layer.kernel.outputs) == layer.kernel.sums
        assert len(layer.kernel.reads) == layer.kernel.bases == len(layer.kernel.weights(0))
        assert len(layer.inputs.outputs) == layer.inputs.sums


@pytest.mark.parametrize("largest", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_sums_come_out_in_their_slots(seed: int, largest: bool) -> None:
    for key_bits in KEYS:
        check_plan(random_model(seed).plan, key_bits, seed, largest)


def test_a_narrow_icnn() -> None:
    for key_bits in KEYS:
        check_plan(small_icnn_model(1).plan, key_bits, 1, True)


@given(tiny_plans())
@settings(max_examples=15)
def test_any_plan(plan: Plan) -> None:
    check_plan(plan, 400, 0, True)


def wide(channels: int, side: int, kernel: int) -> Plan:
    """One layer of `channels` channels to as many, then a dense one."""
    conv = Conv("conv", "image", channels, (kernel, kernel), 1, kernel // 2, 8, 24)
    nodes = (conv, Relu("relu", "conv", 8, 8), Dense("dense", "relu", 2, 8, 24))
    return Plan((channels, side, side), 8, nodes, 0)


@pytest.mark.parametrize(("channels", "kernel"), [(64, 1), (64, 3), (128, 3), (256, 1), (200, 3)])
@pytest.mark.parametrize("key_bits", [2048, 3072])
def test_encrypted_kernels_of_wide_layers_are_short(channels: int, kernel: int, key_bits: int) -> None:
    """27 bytes a weight leave room for the rest of an import within 30."""
    layer = ItemLayout(wide(channels, 8, kernel), key_bits).layers["conv"]
    size = layer.kernel.bases * layer.kernel.chunks * key_bits // 4
    assert size <= 27 * channels * channels * kernel * kernel


def test_a_key_without_room_is_refused() -> None:
    with pytest.raises(BadPlan, match=r"layer conv: a masked sum of \d+ bits does not fit into the key"):
        _ = ItemLayout(wide(2, 4, 3), 112).layers
