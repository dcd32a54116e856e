"""Holds a ledger against the plan: all that S2 saw is a value in its public range plus a draw of the planned
bits. Ranges and widths are worked out here, from the plan and sigma alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from tests.protocol.textbook.values import products, textbook_values
from tests.security.ledger import Ledger, Whole
from tests.security.world import World
from twinveil.halves.blinding import COUNT_BITS, GUARD_BITS, Segment, picture_segment
from twinveil.network.plan import Plan
from twinveil.network.schedule import schedule
from twinveil.protocol.textbook.model.layout import ImportLayout
from twinveil.protocol.packed.layout import LayerLayout, PackedLayout


def settle(ledger: Ledger, world: World, plan: Plan) -> None:
    """A packed query: every slot of every sum, every share."""
    layout = PackedLayout(plan, world.params.key_bits, world.params.sigma)
    assert ledger.settled()
    sums = iter(ledger.sums)
    due = [(layer, False) for layer in layout.layers.values()]
    due += [(layout.step(step), True) for stage in layout.schedule.stages for step in stage.linear]
    for layer, online in due:
        slots = layer.online if online else layer.ahead
        low, high = reach(layer, plan, online)
        for _ in range(layer.online_sums if online else layer.ahead_sums):
            masked = next(sums)
            values = masked.values()
            assert (masked.slots, masked.mask_bits) == (slots.count, slots.mask_bits)
            assert all(low <= value <= high for value in values)
            assert masked.offset + low >= 0
            assert high + masked.offset + (1 << masked.mask_bits) <= 1 << (8 * masked.slot_bytes)
            assert (high - low + 1) << world.params.sigma <= 1 << masked.mask_bits
    assert next(sums, None) is None
    _settle_distinct(masked.mask for masked in ledger.sums)
    _settle_distinct(mask for masked in ledger.sums for mask in masked.masks())
    _settle_shares(ledger, plan)
    _settle_flips(ledger, plan)


def reach(layer: LayerLayout, plan: Plan, online: bool) -> tuple[int, int]:
    """Least and largest sum of a layer, from public data."""
    taps, top = plan.taps(layer.node), (1 << layer.bits) - 1
    if online:
        return 0, taps * top * top
    most = taps * top * (1 << (layer.node.weight_bits - 1)) + (1 << (layer.bits - 1))
    return -most, most


def settle_picture(ledger: Ledger, world: World, plan: Plan, honest: bool) -> None:
    """The picture's whole plaintexts come first in a query. honest: P is what a client packs."""
    picture = picture_segment(plan, 1, key_bits=world.params.key_bits, sigma=world.params.sigma)
    _settle_plaintexts(ledger.wholes[: picture.plaintexts], [picture], world, honest)


def settle_textbook(ledger: Ledger, world: World, plan: Plan, honest: bool = True) -> None:
    """A textbook query: every value, every factor, every output of a circuit that is no record."""
    assert ledger.settled()
    assert not ledger.sums
    assert not ledger.shares
    settle_picture(ledger, world, plan, honest)
    picture = picture_segment(plan, 1, key_bits=world.params.key_bits, sigma=world.params.sigma)
    n, margin = int(world.public.n), world.params.sigma + COUNT_BITS
    due = list(textbook_values(plan))
    for (seen, mask, bits), (low, high) in zip(ledger.wholes[picture.plaintexts :], due, strict=True):
        # S1 adds a constant to what may be negative: the least power of two above it.
        value = seen - mask - (1 << high.bit_length() if low < 0 else 0)
        assert low <= value <= high
        assert (high - low + 1) << margin <= 1 << bits
    widest = max(high for _, high in due) + 1
    assert len(ledger.factors) == 2 * products(plan)
    for seen, mask, below in ledger.factors:
        assert below == n
        assert (seen - mask + widest) % n < 2 * widest
    pixels = int(np.prod(plan.image_shape))
    activations = [
        relu.bits
        for stage in schedule(plan).stages
        for relu in stage.relus
        for _ in range(int(np.prod(plan.shapes[relu.source])))
    ]
    _settle_outputs(ledger, [plan.image_bits] * pixels + activations, margin)
    _settle_distinct(each.mask for each in [*ledger.wholes, *ledger.factors])
    _settle_flips(ledger, plan)


def settle_import(ledger: Ledger, world: World, plan: Plan, honest: bool) -> None:
    """An import: the whole plaintexts, and every weight and bias as the circuits give it out."""
    assert ledger.settled()
    layout = ImportLayout(plan, world.params, ("packed",))
    parts = [part for node in plan.linear_nodes for part in layout.parts(node)]
    _settle_plaintexts(ledger.wholes, [each for part in parts for each in part], world, honest)
    sorted_parts = [sorted(part, key=lambda each: each.name) for part in parts]
    widths = [each.bits for part in sorted_parts for each in part for _ in range(each.count)]
    _settle_outputs(ledger, widths, world.params.sigma + (len(widths) - 1).bit_length())


def _settle_plaintexts(
    wholes: Sequence[Whole], segments: Sequence[Segment], world: World, honest: bool
) -> None:
    """z = P + mask modulo N, the mask wider than an honest P by sigma + COUNT_BITS bits."""
    n = int(world.public.n)
    _settle_distinct(each.mask for each in wholes)
    due = [each for each in segments for _ in range(each.plaintexts)]
    for (seen, mask, bits), segment in zip(wholes, due, strict=True):
        assert bits == segment.packed_bits + GUARD_BITS + world.params.sigma + COUNT_BITS
        assert mask < 1 << bits < n >> 1
        assert not honest or (seen - mask) % n >> segment.packed_bits == 1


def _settle_outputs(ledger: Ledger, widths: Sequence[int], margin: int) -> None:
    _settle_distinct(each.mask for each in ledger.outputs)
    for (seen, mask, bits), value_bits in zip(ledger.outputs, widths, strict=True):
        assert bits == value_bits + margin
        assert mask < 1 << bits
        assert 0 <= seen - mask < 1 << value_bits


def _settle_shares(ledger: Ledger, plan: Plan) -> None:
    """Every piece under a mask of its own, uniform over all that the circuit's output can be."""
    stages = schedule(plan)
    due = [name for stage in stages.stages for name in stage.outputs]
    assert sorted(each.name for each in ledger.shares) == sorted(due)
    for piece, seen, mask, width, bits in ledger.shares:
        assert bits == width
        assert not (mask >> np.uint64(bits)).any()
        values = (seen - mask) & np.uint64((1 << width) - 1)
        assert not (values >> np.uint64(stages.pieces[piece].bits)).any()


def _settle_flips(ledger: Ledger, plan: Plan) -> None:
    """Every label and record under bits of its own."""
    most = {"t": 1, "mr": 1, "label": plan.output.out_features - 1}
    for name, seen, mask, width, bits in ledger.flips:
        assert bits == width
        assert (seen ^ mask).max() <= most[name]


def _settle_distinct(masks: Iterable[int]) -> None:
    """Statistical masks are so wide that chance makes no two of a conversation equal."""
    drawn = list(masks)
    assert len(set(drawn)) == len(drawn)
