"""Holds a ledger against the plan: all that S2 saw is a value in its public range plus a draw of the planned
bits. Ranges and widths are worked out here, from the plan and sigma alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from tests.protocol.textbook.values import products, textbook_values
from tests.security.ledger import Ledger, Whole
from tests.security.world import World
from twinveil.halves.blinding import COUNT_BITS, GUARD_BITS, Segment, picture_segment
from twinveil.halves.ring import kernel_segments
from twinveil.network.plan import Plan
from twinveil.network.schedule import schedule
from twinveil.params import PACKED_SIGMA
from twinveil.protocol.packed.model.layout import ModelLayout
from twinveil.protocol.textbook.model.layout import ImportLayout


def settle(ledger: Ledger, world: World, plan: Plan) -> None:
    """An item and the query that spent it: every slot of every sum, every share.

    A sum is one of products of shares; whatever is in a slot, wanted or not, leaves its top bit alone.
    """
    assert ledger.settled()
    layout = ModelLayout(plan, world.params.key_bits)
    sums, count = iter(ledger.sums), len(ledger.sums)
    for node in (step.node for stage in layout.item.schedule.stages for step in stage.linear):
        bits = 2 * node.accumulator_bits + (plan.taps(node) - 1).bit_length() + 1
        layer = layout.item.layers[node.name]
        for _ in range(layer.kernel.sums + layer.inputs.sums):
            masked = next(sums)
            value = masked.seen - masked.mask
            slots = layer.slots.count
            assert layer.slots.bits == bits
            assert 0 <= value < 1 << (bits * slots - 1)
            assert not any(value >> (bits * slot + bits - 1) & 1 for slot in range(slots))
            assert masked.bits >= bits * slots - 1 + PACKED_SIGMA + (count - 1).bit_length()
            assert masked.seen < world.public.n >> 1
    assert next(sums, None) is None
    _settle_distinct(masked.mask for masked in ledger.sums)
    _settle_shares(ledger, plan)
    _settle_flips(ledger, plan)


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


def settle_import(
    ledger: Ledger, world: World, plan: Plan, honest: bool, engines: tuple[str, ...] = ("packed",)
) -> None:
    """An import: whole plaintexts; for textbook every weight and bias as the circuits give it out, too."""
    assert ledger.settled()
    if "packed" in engines:
        _settle_kernels(ledger, world, plan, honest)
    if "textbook" in engines:
        layout = ImportLayout(plan, world.params)
        parts = [part for node in plan.linear_nodes for part in layout.parts(node)]
        _settle_plaintexts(ledger.wholes, [each for part in parts for each in part], world, honest)
        sorted_parts = [sorted(part, key=lambda each: each.name) for part in parts]
        widths = [each.bits for part in sorted_parts for each in part for _ in range(each.count)]
        _settle_outputs(ledger, widths, world.params.sigma + (len(widths) - 1).bit_length())


def _settle_kernels(ledger: Ledger, world: World, plan: Plan, honest: bool) -> None:
    """z = P + mask modulo N, wider than an honest P by sigma and the plaintexts of a largest import."""
    segments = kernel_segments(plan, world.params.key_bits)
    due = [segments[node.name] for node in plan.linear_nodes for _ in range(segments[node.name].plaintexts)]
    for (seen, mask, bits), segment in zip(ledger.sums, due, strict=True):
        assert bits == segment.packed_bits + GUARD_BITS + PACKED_SIGMA + COUNT_BITS
        assert mask < 1 << bits < world.public.n >> 1
        value = (seen - mask) % int(world.public.n)
        assert not honest or value >> segment.packed_bits == 1
        assert not honest or not any(
            value >> (segment.bits * slot + segment.bits - 1) & 1 for slot in range(segment.per_plaintext)
        )
    _settle_distinct(masked.mask for masked in ledger.sums)


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
    """Every piece under a mask of its own, modulo the largest ring of its readers."""
    stages = schedule(plan)
    due = [name for stage in stages.stages for name in stage.outputs]
    assert sorted(each.name for each in ledger.shares) == sorted(due)
    for piece, seen, mask, width, bits in ledger.shares:
        assert bits == width == stages.pieces[piece].share_bits
        assert not (mask >> np.uint64(bits)).any()
        values = (seen + mask) & np.uint64((1 << width) - 1)
        assert not (values >> np.uint64(min(width, stages.pieces[piece].bits))).any()
    masks = [each.mask.tobytes() for each in ledger.shares if each.mask.size * each.width >= 40]
    assert len(set(masks)) == len(masks)


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
